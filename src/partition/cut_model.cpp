#include "partition/cut_model.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace opweave::partition {

std::size_t CutModel::device_count() const { return first_device(kinds.size()); }

std::size_t CutModel::first_device(std::size_t kind) const {
  std::size_t first = 0;
  for (std::size_t k = 0; k < kind; ++k) first += kinds[k].count;
  return first;
}

const DeviceKind& CutModel::kind_of(std::size_t device) const {
  std::size_t kind = 0;
  while (device >= kinds[kind].count) device -= kinds[kind++].count;
  return kinds[kind];
}

std::vector<std::vector<std::uint32_t>> CutModel::nets_of_units() const {
  std::vector<std::vector<std::uint32_t>> result(unit_count());
  for (std::uint32_t n = 0; n < nets.size(); ++n) {
    for (const Unit unit : nets[n].pins) result[unit].push_back(n);
  }
  return result;
}

std::vector<double> loads(const CutModel& model, const Assignment& assignment) {
  std::vector<double> load(model.device_count());
  std::vector<const DeviceKind*> kind;
  for (std::size_t device = 0; device < load.size(); ++device) kind.push_back(&model.kind_of(device));
  for (Unit unit = 0; unit < assignment.size(); ++unit) {
    load[assignment[unit]] += kind[assignment[unit]]->work[unit];
  }
  std::vector<std::uint32_t> devices;
  for (const Net& net : model.nets) {
    devices.clear();
    for (const Unit unit : net.pins) devices.push_back(assignment[unit]);
    std::sort(devices.begin(), devices.end());
    devices.erase(std::unique(devices.begin(), devices.end()), devices.end());
    if (devices.size() == 1) continue;
    for (const std::uint32_t device : devices) {
      if (kind[device]->pays_transfers) load[device] += net.cost;
    }
  }
  return load;
}

double largest_load(const CutModel& model, const Assignment& assignment) {
  std::vector<double> bytes(model.device_count());
  for (Unit unit = 0; unit < assignment.size(); ++unit) bytes[assignment[unit]] += model.bytes[unit];
  for (std::size_t device = 0; device < bytes.size(); ++device) {
    if (bytes[device] > model.kind_of(device).capacity) return std::numeric_limits<double>::infinity();
  }
  const std::vector<double> load = loads(model, assignment);
  return load.empty() ? 0 : *std::max_element(load.begin(), load.end());
}

Assignment Contraction::expand(const Assignment& assignment) const {
  Assignment result;
  result.reserve(unit_of.size());
  for (const Unit unit : unit_of) result.push_back(assignment[unit]);
  return result;
}

Contraction merge(const CutModel& model, const std::vector<std::uint32_t>& label) {
  Contraction result;
  // Units keep the order of the first that has their label.
  std::map<std::uint32_t, Unit> unit_of_label;
  for (const std::uint32_t l : label) {
    result.unit_of.push_back(unit_of_label.emplace(l, static_cast<Unit>(unit_of_label.size())).first->second);
  }
  const std::size_t count = unit_of_label.size();
  CutModel& merged = result.model;
  merged.bytes.resize(count);
  for (Unit u = 0; u < label.size(); ++u) merged.bytes[result.unit_of[u]] += model.bytes[u];
  for (const DeviceKind& kind : model.kinds) {
    DeviceKind& copy = merged.kinds.emplace_back(kind);
    copy.work.assign(count, 0);
    for (Unit u = 0; u < label.size(); ++u) copy.work[result.unit_of[u]] += kind.work[u];
  }
  std::map<std::vector<Unit>, double> cost_of_pins;
  for (const Net& net : model.nets) {
    std::vector<Unit> pins;
    for (const Unit u : net.pins) pins.push_back(result.unit_of[u]);
    std::sort(pins.begin(), pins.end());
    pins.erase(std::unique(pins.begin(), pins.end()), pins.end());
    if (pins.size() > 1 && net.cost > 0) cost_of_pins[std::move(pins)] += net.cost;
  }
  for (const auto& [pins, cost] : cost_of_pins) merged.nets.push_back({pins, cost});
  for (const auto& [a, b] : model.precedence) {
    if (result.unit_of[a] != result.unit_of[b]) merged.precedence.emplace_back(result.unit_of[a], result.unit_of[b]);
  }
  std::sort(merged.precedence.begin(), merged.precedence.end());
  merged.precedence.erase(std::unique(merged.precedence.begin(), merged.precedence.end()), merged.precedence.end());
  return result;
}

Contraction merge_circles(const CutModel& model) {
  // Strongly connected components by two depth-first searches (Kosaraju; Sharir 1981), without recursion.
  const std::size_t count = model.unit_count();
  std::vector<std::vector<Unit>> after(count);
  std::vector<std::vector<Unit>> before(count);
  for (const auto& [a, b] : model.precedence) {
    after[a].push_back(b);
    before[b].push_back(a);
  }
  std::vector<Unit> finished;
  std::vector<std::uint8_t> seen(count);
  std::vector<std::pair<Unit, std::size_t>> stack;
  for (Unit root = 0; root < count; ++root) {
    if (seen[root] != 0) continue;
    seen[root] = 1;
    stack.emplace_back(root, 0);
    while (!stack.empty()) {
      auto& [unit, next] = stack.back();
      if (next == after[unit].size()) {
        finished.push_back(unit);
        stack.pop_back();
        continue;
      }
      const Unit child = after[unit][next++];
      if (seen[child] != 0) continue;
      seen[child] = 1;
      stack.emplace_back(child, 0);
    }
  }
  constexpr auto kNone = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::uint32_t> label(count, kNone);
  std::vector<Unit> open;
  for (std::size_t i = count; i-- > 0;) {
    if (label[finished[i]] != kNone) continue;
    label[finished[i]] = finished[i];
    open.push_back(finished[i]);
    while (!open.empty()) {
      const Unit unit = open.back();
      open.pop_back();
      for (const Unit other : before[unit]) {
        if (label[other] != kNone) continue;
        label[other] = finished[i];
        open.push_back(other);
      }
    }
  }
  return merge(model, label);
}

}  // namespace opweave::partition
