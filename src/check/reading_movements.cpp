#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "check/reading.h"

namespace opweave::checking {

void Reading::number_units() {
  std::map<std::pair<bool, std::string_view>, std::size_t> named;  // by unit, or else by layer
  for (const Operator& op : graph_.operators()) {
    if (op.unit.empty() && op.layer.empty()) {
      unit_of_.push_back(unit_count_++);
      continue;
    }
    const auto [entry, is_new] =
        named.try_emplace({op.unit.empty(), op.unit.empty() ? op.layer : op.unit}, unit_count_);
    if (is_new) ++unit_count_;
    unit_of_.push_back(entry->second);
  }
}

const Run* Reading::again(const Run& run) const {
  if (again_.empty()) return nullptr;
  const std::size_t index = again_[static_cast<std::size_t>(&run - runs_.data())];
  return index == 0 ? nullptr : &runs_[index];
}

bool Reading::reads_again(const Run& run, std::size_t value) const {
  if (mode(value) == MemoryMode::kKeep) return false;
  const Phase phase = graph_.at(run.op).phase;
  return run.again || (phase != Phase::kForward && phase != Phase::kNone);
}

void Reading::file_modes(ViolationList& violations) {
  if (plan_.modes.empty()) return;
  modes_.resize(value_count(), MemoryMode::kKeep);
  for (const PlannedMode& planned : plan_.modes) {
    if (planned.tensor.index() >= graph_.tensors().size() || planned.copy >= copies(planned.tensor)) {
      violations.add(Rule::kModes, [&] {
        return fmt::format("plan gives a mode to copy {} of tensor {}, which does not exist", planned.copy,
                           planned.tensor.index());
      });
      continue;
    }
    MemoryMode& mode = modes_[value(planned.tensor, planned.copy)];
    if (mode != MemoryMode::kKeep) {
      violations.add(Rule::kModes,
                     [&] { return fmt::format("tensor {} has two modes", name(planned.tensor, planned.copy)); });
    }
    mode = planned.mode;
  }
}

void Reading::file_movements(ViolationList& violations) {
  if (plan_.movements.empty()) return;
  // Places of the devices are taken once all are there.
  std::vector<std::size_t> first_device;
  for (const PlannedMovement& movement : plan_.movements) {
    first_device.push_back(moved_on_.size());
    for (const DeviceId device : movement.devices) {
      if (device.index() < cluster_.device_count()) moved_on_.push_back(device);
    }
    std::sort(moved_on_.begin() + static_cast<std::ptrdiff_t>(first_device.back()), moved_on_.end());
  }
  first_device.push_back(moved_on_.size());
  again_.assign(runs_.size(), 0);
  for (std::size_t i = 0; i < plan_.movements.size(); ++i) {
    const PlannedMovement& movement = plan_.movements[i];
    const auto devices = std::span(moved_on_).subspan(first_device[i], first_device[i + 1] - first_device[i]);
    if (movement.kind == MovementKind::kAllReduce) {
      if (movement.parameter.index() < graph_.parameters().size() && devices.size() == movement.devices.size()) {
        reductions_.push_back({movement.parameter, devices, movement.start, movement.end});
        continue;
      }
      violations.add(Rule::kReduction, [&] {
        return fmt::format("movement {} (all_reduce) names a parameter or a device that does not exist", i);
      });
      continue;
    }
    const bool is_to_host = is_copy(movement.kind);
    const bool has_copy =
        is_to_host ? movement.tensor.index() < graph_.tensors().size() && movement.copy < copies(movement.tensor)
                   : movement.op.index() < graph_.operators().size() && movement.copy < copies(movement.op);
    const bool exists = has_copy && devices.size() == movement.devices.size();
    if (!exists) {
      violations.add(Rule::kModes, [&] {
        return fmt::format("movement {} ({}) names an operator, a tensor, a copy or a device that does not exist", i,
                           to_string(movement.kind));
      });
      continue;
    }
    if (is_to_host) {
      host_copies_.push_back({value(movement.tensor, movement.copy), movement.tensor, movement.copy,
                              movement.kind == MovementKind::kCopyOut, devices, movement.start, movement.end});
      continue;
    }
    std::size_t& entry = again_[first_run_[movement.op.index()] + movement.copy];
    if (entry != 0) {
      violations.add(Rule::kModes,
                     [&] { return fmt::format("task {} runs again twice", name(movement.op, movement.copy)); });
      continue;
    }
    entry = runs_.size();
    const std::uint32_t replica = per_replica(movement.op) ? movement.copy : training().replica_of(movement.copy);
    runs_.push_back({movement.op, movement.copy, replica, devices, movement.start, movement.end, true, true});
  }
}

}  // namespace opweave::checking
