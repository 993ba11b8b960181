#include "placement_search/routing_limits.h"

#include <algorithm>
#include <utility>

namespace opweave::routing {

PlacementLimits::PlacementLimits(std::shared_ptr<const Model> model, std::vector<std::uint32_t> options)
    : model_(std::move(model)),
      option_(std::move(options)),
      readers_(model_->problem().graph().parameters().size() * model_->problem().cluster().device_count(), 0),
      persistent_(model_->problem().cluster().device_count(), 0) {
  for (std::uint32_t g = 0; g < option_.size(); ++g) place(g);
}

std::uint32_t& PlacementLimits::readers(ParameterId parameter, DeviceId device) {
  return readers_[parameter.index() * persistent_.size() + device.index()];
}

std::uint32_t PlacementLimits::readers(ParameterId parameter, DeviceId device) const {
  return readers_[parameter.index() * persistent_.size() + device.index()];
}

void PlacementLimits::place(std::uint32_t group) {
  for (const DeviceId device : model_->devices(group, option_[group])) {
    for (const ParameterId parameter : model_->problem().parameters_of(GroupId(group))) {
      if (readers(parameter, device)++ == 0) {
        persistent_[device.index()] += model_->problem().persistent_bytes(parameter).value();
      }
    }
  }
}

void PlacementLimits::remove(std::uint32_t group) {
  for (const DeviceId device : model_->devices(group, option_[group])) {
    for (const ParameterId parameter : model_->problem().parameters_of(GroupId(group))) {
      if (--readers(parameter, device) == 0) {
        persistent_[device.index()] -= model_->problem().persistent_bytes(parameter).value();
      }
    }
  }
}

void PlacementLimits::move(std::uint32_t group, std::uint32_t option) {
  remove(group);
  option_[group] = option;
  place(group);
}

bool PlacementLimits::allows(std::uint32_t group, std::uint32_t option) const {
  if (option == option_[group]) return true;
  const Problem& problem = model_->problem();
  const auto here = model_->devices(group, option_[group]);
  for (const DeviceId device : model_->devices(group, option)) {
    for (const GroupId other : problem.apart_from(GroupId(group))) {
      const auto there = model_->devices(static_cast<std::uint32_t>(other.index()), option_[other.index()]);
      if (std::ranges::find(there, device) != there.end()) return false;
    }
    const std::optional<Bytes> capacity = problem.capacity(device);
    if (!capacity || std::ranges::find(here, device) != here.end()) continue;
    std::int64_t bytes = persistent_[device.index()];
    for (const ParameterId parameter : problem.parameters_of(GroupId(group))) {
      if (readers(parameter, device) == 0) bytes += problem.persistent_bytes(parameter).value();
    }
    if (bytes > capacity->value()) return false;
  }
  return true;
}

}  // namespace opweave::routing
