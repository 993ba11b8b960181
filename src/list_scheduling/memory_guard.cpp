#include "list_scheduling/memory_guard.h"

#include <algorithm>

namespace opweave {

MemoryGuard::MemoryGuard(const PlacedProblem& placed, const ReferenceOrder& reference)
    : placed_(placed),
      resident_(placed.persistent()),
      live_(placed.residence_count(), false),
      finished_(placed.item_count(), false) {
  number_steps(reference);
  lay_out_lifetimes();
}

void MemoryGuard::number_steps(const ReferenceOrder& reference) {
  std::vector<std::uint32_t> steps(resident_.size(), 0);
  std::vector<std::vector<Place>> places(placed_.item_count());
  for (const ItemId item : reference.items) {
    const auto touch = [&](DeviceId device) { places[item].push_back({device, steps[device.index()]++}); };
    if (placed_.is_task(item)) {
      for (const DeviceId device : placed_.devices(item)) touch(device);
    } else {
      touch(placed_.transfer(item).source);
      touch(placed_.transfer(item).destination);
    }
  }
  places_.items.reserve(placed_.item_count() * 2);
  for (const std::vector<Place>& list : places) {
    places_.items.insert(places_.items.end(), list.begin(), list.end());
    places_.close_list();
  }
  for (std::size_t d = 0; d < steps.size(); ++d) {
    serial_.emplace_back(steps[d]);
    serial_.back().add(0, steps[d], resident_[d]);
  }
}

std::uint32_t MemoryGuard::step_on(ItemId item, DeviceId device) const {
  for (const Place& place : places_[item]) {
    if (place.device == device) return place.step;
  }
  return 0;  // unreachable: a residence is only used by items that touch its device
}

void MemoryGuard::lay_out_lifetimes() {
  first_step_.resize(placed_.residence_count());
  uses_.resize(placed_.residence_count());
  users_left_.resize(placed_.residence_count());
  for (std::uint32_t r = 0; r < placed_.residence_count(); ++r) {
    const Residence& residence = placed_.residence(r);
    std::vector<Use>& uses = uses_[r];
    for (const ItemId user : placed_.users(r)) uses.push_back({step_on(user, residence.device), user});
    std::sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) { return a.step < b.step; });
    users_left_[r] = static_cast<std::uint32_t>(uses.size());
    first_step_[r] = residence.is_graph_input ? uses.front().step : step_on(residence.maker, residence.device);
    const std::uint32_t last = uses.empty() ? first_step_[r] : uses.back().step;
    serial_[residence.device.index()].add(first_step_[r], last + 1, residence.bytes);
  }
  for (ItemId task = 0; task < placed_.task_count(); ++task) {
    if (placed_.workspace(task) == 0) continue;
    for (const Place& place : places_[task]) {
      serial_[place.device.index()].add(place.step, place.step + 1, placed_.workspace(task));
    }
  }
}

void MemoryGuard::collect_demand(ItemId item) {
  demand_.clear();
  const auto at = [&](DeviceId device) -> Demand& {
    for (Demand& demand : demand_) {
      if (demand.device == device) return demand;
    }
    return demand_.emplace_back(Demand{device, 0, 0});
  };
  for (const std::uint32_t r : placed_.made(item)) {
    Demand& demand = at(placed_.residence(r).device);
    demand.now += placed_.residence(r).bytes;
    if (users_left_[r] > 0) demand.later += placed_.residence(r).bytes;
  }
  for (const std::uint32_t r : placed_.used(item)) {
    if (live_[r] || !placed_.residence(r).is_graph_input) continue;
    Demand& demand = at(placed_.residence(r).device);
    demand.now += placed_.residence(r).bytes;
    demand.later += placed_.residence(r).bytes;
  }
  if (placed_.is_task(item) && placed_.workspace(item) > 0) {
    for (const DeviceId device : placed_.devices(item)) at(device).now += placed_.workspace(item);
  }
}

bool MemoryGuard::admits(ItemId item) {
  collect_demand(item);
  for (const Demand& demand : demand_) {
    const std::size_t d = demand.device.index();
    if (resident_[d] + demand.now > placed_.capacity()[d]) return false;
    if (demand.later > 0 && serial_[d].max(0, step_on(item, demand.device)) + demand.later > placed_.capacity()[d]) {
      return false;
    }
  }
  return true;
}

void MemoryGuard::start(ItemId item) {
  collect_demand(item);
  for (const Demand& demand : demand_) resident_[demand.device.index()] += demand.now;
  const auto extend_to_now = [&](std::uint32_t r) {
    live_[r] = true;
    if (users_left_[r] > 0) {
      serial_[placed_.residence(r).device.index()].add(0, first_step_[r], placed_.residence(r).bytes);
    }
  };
  for (const std::uint32_t r : placed_.made(item)) extend_to_now(r);
  for (const std::uint32_t r : placed_.used(item)) {
    if (!live_[r]) extend_to_now(r);
  }
  for (const Place& place : places_[item]) serial_[place.device.index()].remove(place.step);
}

void MemoryGuard::release(DeviceId device, std::int64_t bytes) {
  resident_[device.index()] -= bytes;
  if (std::find(freed_.begin(), freed_.end(), device) == freed_.end()) freed_.push_back(device);
}

void MemoryGuard::finish_item(ItemId item) {
  freed_.clear();
  finished_[item] = true;
  for (const std::uint32_t r : placed_.made(item)) {
    if (placed_.users(r).empty()) release(placed_.residence(r).device, placed_.residence(r).bytes);
  }
  for (const std::uint32_t r : placed_.used(item)) {
    const Residence& residence = placed_.residence(r);
    RangeMax& serial = serial_[residence.device.index()];
    std::vector<Use>& uses = uses_[r];
    const std::uint32_t old_last = uses.back().step;
    --users_left_[r];
    // Users finish in any order; the value is needed until the last of those that have not.
    while (!uses.empty() && finished_[uses.back().item]) uses.pop_back();
    if (uses.empty()) {
      serial.add(0, old_last + 1, -residence.bytes);
      release(residence.device, residence.bytes);
    } else if (uses.back().step < old_last) {
      serial.add(uses.back().step + 1, old_last + 1, -residence.bytes);
      // No byte is free yet, but later steps now look better: waiting items may be admitted.
      release(residence.device, 0);
    }
  }
  if (placed_.is_task(item) && placed_.workspace(item) > 0) {
    for (const DeviceId device : placed_.devices(item)) release(device, placed_.workspace(item));
  }
}

}  // namespace opweave
