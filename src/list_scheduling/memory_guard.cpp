#include "list_scheduling/memory_guard.h"

#include <algorithm>
#include <functional>

namespace opweave {

bool MemoryGuard::has_room_for_all(const PlacedProblem& placed) {
  std::vector<std::int64_t> bytes = placed.persistent();
  for (std::uint32_t r = 0; r < placed.residence_count(); ++r) {
    bytes[placed.residence(r).device.index()] += placed.residence(r).bytes;
  }
  std::vector<std::int64_t> workspace(bytes.size(), 0);  // the largest, which each stream may hold at once
  for (ActivityId task = 0; task < placed.task_count(); ++task) {
    for (const DeviceId device : placed.devices(task)) {
      workspace[device.index()] = std::max(workspace[device.index()], placed.workspace(task));
    }
  }
  const auto streams = static_cast<std::int64_t>(placed.problem().cluster().stream_names().size());
  for (std::size_t d = 0; d < bytes.size(); ++d) bytes[d] += streams * workspace[d];
  return std::ranges::equal(bytes, placed.capacity(), std::less_equal());
}

MemoryGuard::MemoryGuard(const PlacedProblem& placed, const ReferenceOrder& reference)
    : placed_(placed),
      resident_(placed.persistent()),
      live_(placed.residence_count(), false),
      finished_(placed.activity_count(), false) {
  number_steps(reference);
  lay_out_lifetimes();
}

void MemoryGuard::number_steps(const ReferenceOrder& reference) {
  std::vector<std::uint32_t> steps(resident_.size(), 0);
  std::vector<std::vector<Place>> places(placed_.activity_count());
  for (const ActivityId activity : reference.activities) {
    const auto touch = [&](DeviceId device) { places[activity].push_back({device, steps[device.index()]++}); };
    if (placed_.is_task(activity)) {
      for (const DeviceId device : placed_.devices(activity)) touch(device);
    } else {
      touch(placed_.transfer(activity).source);
      touch(placed_.transfer(activity).destination);
    }
  }
  places_.items.reserve(placed_.activity_count() * 2);
  for (const std::vector<Place>& list : places) {
    places_.items.insert(places_.items.end(), list.begin(), list.end());
    places_.close_list();
  }
  for (std::size_t d = 0; d < steps.size(); ++d) {
    serial_.emplace_back(steps[d]);
    serial_.back().add(0, steps[d], resident_[d]);
  }
}

std::uint32_t MemoryGuard::step_on(ActivityId activity, DeviceId device) const {
  for (const Place& place : places_[activity]) {
    if (place.device == device) return place.step;
  }
  return 0;  // unreachable: a residence is only used by activities that touch its device
}

void MemoryGuard::lay_out_lifetimes() {
  first_step_.resize(placed_.residence_count());
  uses_.resize(placed_.residence_count());
  users_left_.resize(placed_.residence_count());
  for (std::uint32_t r = 0; r < placed_.residence_count(); ++r) {
    const Residence& residence = placed_.residence(r);
    std::vector<Use>& uses = uses_[r];
    for (const ActivityId user : placed_.users(r)) uses.push_back({step_on(user, residence.device), user});
    std::sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) { return a.step < b.step; });
    users_left_[r] = static_cast<std::uint32_t>(uses.size());
    first_step_[r] = residence.is_graph_input ? uses.front().step : step_on(residence.maker, residence.device);
    const std::uint32_t last = uses.empty() ? first_step_[r] : uses.back().step;
    serial_[residence.device.index()].add(first_step_[r], last + 1, residence.bytes);
  }
  for (ActivityId task = 0; task < placed_.task_count(); ++task) {
    if (placed_.workspace(task) == 0) continue;
    for (const Place& place : places_[task]) {
      serial_[place.device.index()].add(place.step, place.step + 1, placed_.workspace(task));
    }
  }
}

void MemoryGuard::collect_demand(ActivityId activity) {
  demand_.clear();
  const auto at = [&](DeviceId device) -> Demand& {
    for (Demand& demand : demand_) {
      if (demand.device == device) return demand;
    }
    return demand_.emplace_back(Demand{device, 0, 0});
  };
  for (const std::uint32_t r : placed_.made(activity)) {
    Demand& demand = at(placed_.residence(r).device);
    demand.now += placed_.residence(r).bytes;
    if (users_left_[r] > 0) demand.later += placed_.residence(r).bytes;
  }
  for (const std::uint32_t r : placed_.used(activity)) {
    if (live_[r] || !placed_.residence(r).is_graph_input) continue;
    Demand& demand = at(placed_.residence(r).device);
    demand.now += placed_.residence(r).bytes;
    demand.later += placed_.residence(r).bytes;
  }
  if (placed_.is_task(activity) && placed_.workspace(activity) > 0) {
    for (const DeviceId device : placed_.devices(activity)) at(device).now += placed_.workspace(activity);
  }
}

bool MemoryGuard::admits(ActivityId activity) {
  collect_demand(activity);
  for (const Demand& demand : demand_) {
    const std::size_t d = demand.device.index();
    if (resident_[d] + demand.now > placed_.capacity()[d]) return false;
    if (demand.later > 0 &&
        serial_[d].max(0, step_on(activity, demand.device)) + demand.later > placed_.capacity()[d]) {
      return false;
    }
  }
  return true;
}

void MemoryGuard::start(ActivityId activity) {
  collect_demand(activity);
  for (const Demand& demand : demand_) resident_[demand.device.index()] += demand.now;
  const auto extend_to_now = [&](std::uint32_t r) {
    live_[r] = true;
    if (users_left_[r] > 0) {
      serial_[placed_.residence(r).device.index()].add(0, first_step_[r], placed_.residence(r).bytes);
    }
  };
  for (const std::uint32_t r : placed_.made(activity)) extend_to_now(r);
  for (const std::uint32_t r : placed_.used(activity)) {
    if (!live_[r]) extend_to_now(r);
  }
  for (const Place& place : places_[activity]) serial_[place.device.index()].remove(place.step);
}

void MemoryGuard::release(DeviceId device, std::int64_t bytes) {
  resident_[device.index()] -= bytes;
  if (std::find(freed_.begin(), freed_.end(), device) == freed_.end()) freed_.push_back(device);
}

void MemoryGuard::finish_activity(ActivityId activity) {
  freed_.clear();
  finished_[activity] = true;
  for (const std::uint32_t r : placed_.made(activity)) {
    if (placed_.users(r).empty()) release(placed_.residence(r).device, placed_.residence(r).bytes);
  }
  for (const std::uint32_t r : placed_.used(activity)) {
    const Residence& residence = placed_.residence(r);
    RangeMax& serial = serial_[residence.device.index()];
    std::vector<Use>& uses = uses_[r];
    const std::uint32_t old_last = uses.back().step;
    --users_left_[r];
    // Users finish in any order; the value is needed until the last of those that have not.
    while (!uses.empty() && finished_[uses.back().activity]) uses.pop_back();
    if (uses.empty()) {
      serial.add(0, old_last + 1, -residence.bytes);
      release(residence.device, residence.bytes);
    } else if (uses.back().step < old_last) {
      serial.add(uses.back().step + 1, old_last + 1, -residence.bytes);
      // No byte is free yet, but later steps now look better: waiting activities may be admitted.
      release(residence.device, 0);
    }
  }
  if (placed_.is_task(activity) && placed_.workspace(activity) > 0) {
    for (const DeviceId device : placed_.devices(activity)) release(device, placed_.workspace(activity));
  }
}

}  // namespace opweave
