#include "exact/cp_placement.h"

#include <algorithm>

namespace opweave::exact {

bool CpPlacement::Truth::holds(std::span<const std::int64_t> values) const {
  if (!literal) return can_hold;
  return (values[static_cast<std::size_t>(literal->variable())] != 0) != literal->is_negated();
}

void CpPlacement::Truth::decide(bool value, std::vector<std::int64_t>& values) const {
  if (literal) values[static_cast<std::size_t>(literal->variable())] = value != literal->is_negated() ? 1 : 0;
}

CpPlacement::CpPlacement(const ScheduleSpace& space, CpModel& model) {
  const Problem& problem = space.problem();
  chosen_.resize(problem.group_count());
  on_.resize(problem.group_count());
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    add_options(space, GroupId(g), model);
    add_places(space, GroupId(g), model);
  }
  const auto literal_of = [&](const Truth& truth) { return truth.literal.value_or(model.always()); };
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    for (const GroupId other : problem.apart_from(GroupId(g))) {
      if (other.index() <= g) continue;
      for (const auto& [device, placed] : on_[g]) {
        const Truth also = on(other, device);
        if (!also.can_hold) continue;
        model.add_choice(CpModel::Choice::Kind::kAtMostOne, {literal_of(placed), literal_of(also)});
      }
    }
  }
}

void CpPlacement::add_options(const ScheduleSpace& space, GroupId group, CpModel& model) {
  const std::size_t count = space.options(group).size();
  std::vector<Truth>& chosen = chosen_[group.index()];
  if (count == 1) {
    chosen = {Truth{true, std::nullopt}};
  } else if (count == 2) {
    const Literal first = model.add_literal();
    chosen = {Truth{true, first}, Truth{true, first.negated()}};
  } else {
    std::vector<Literal> literals;
    for (std::size_t o = 0; o < count; ++o) {
      literals.push_back(model.add_literal());
      chosen.push_back({true, literals.back()});
    }
    model.add_choice(CpModel::Choice::Kind::kExactlyOne, std::move(literals));
  }
}

void CpPlacement::add_places(const ScheduleSpace& space, GroupId group, CpModel& model) {
  const std::vector<Truth>& chosen = chosen_[group.index()];
  auto& places = on_[group.index()];
  for (const DeviceId device : space.devices(group)) {
    const std::vector<std::uint32_t> options = space.options_on(group, device);
    if (options.size() == chosen.size()) {
      places.emplace_back(device, Truth{true, std::nullopt});
    } else if (options.size() == 1) {
      places.emplace_back(device, chosen[options.front()]);
    } else {
      const Literal placed = model.add_literal();
      std::vector<Literal> any = {placed.negated()};
      for (const std::uint32_t o : options) {
        model.add_implication({*chosen[o].literal}, placed);
        any.push_back(*chosen[o].literal);
      }
      model.add_choice(CpModel::Choice::Kind::kAtLeastOne, std::move(any));
      places.emplace_back(device, Truth{true, placed});
    }
  }
}

CpPlacement::Truth CpPlacement::on(GroupId group, DeviceId device) const {
  const auto& places = on_[group.index()];
  const auto found = std::lower_bound(places.begin(), places.end(), device,
                                      [](const auto& place, DeviceId wanted) { return place.first < wanted; });
  return found != places.end() && found->first == device ? found->second : Truth{};
}

std::vector<std::uint32_t> CpPlacement::express(const ScheduleSpace& space, const Schedule& schedule,
                                                std::vector<std::int64_t>& values) const {
  const Problem& problem = space.problem();
  std::vector<std::uint32_t> option_of(chosen_.size());
  for (std::size_t g = 0; g < chosen_.size(); ++g) {
    const TaskId first = problem.tasks_of(GroupId(g)).front();
    const ModeIndex mode = schedule.tasks[first.index()].mode;
    const auto count = static_cast<std::uint32_t>(chosen_[g].size());
    while (option_of[g] + 1 < count && space.mode(first, option_of[g]) != mode) ++option_of[g];
    for (std::uint32_t o = 0; o < count; ++o) {
      if (count != 2 || o == 0) chosen_[g][o].decide(o == option_of[g], values);
    }
    const auto& devices = space.options(GroupId(g))[option_of[g]].devices;
    for (const auto& [device, placed] : on_[g]) {
      placed.decide(std::binary_search(devices.begin(), devices.end(), device), values);
    }
  }
  return option_of;
}

std::uint32_t CpPlacement::option(GroupId group, std::span<const std::int64_t> values) const {
  const std::vector<Truth>& chosen = chosen_[group.index()];
  std::uint32_t option = 0;
  while (option + 1 < chosen.size() && !chosen[option].holds(values)) ++option;
  return option;
}

}  // namespace opweave::exact
