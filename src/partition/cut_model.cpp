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

std::vector<std::vector<std::uint32_t>> CutModel::nets_of_vertices() const {
  std::vector<std::vector<std::uint32_t>> result(vertex_count());
  for (std::uint32_t n = 0; n < nets.size(); ++n) {
    for (const Vertex vertex : nets[n].pins) result[vertex].push_back(n);
  }
  return result;
}

std::vector<double> loads(const CutModel& model, const Assignment& assignment) {
  std::vector<double> load(model.device_count());
  std::vector<const DeviceKind*> kind;
  for (std::size_t device = 0; device < load.size(); ++device) kind.push_back(&model.kind_of(device));
  for (Vertex vertex = 0; vertex < assignment.size(); ++vertex) {
    load[assignment[vertex]] += kind[assignment[vertex]]->work[vertex];
  }
  std::vector<std::uint32_t> devices;
  for (const Net& net : model.nets) {
    devices.clear();
    for (const Vertex vertex : net.pins) devices.push_back(assignment[vertex]);
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
  for (Vertex vertex = 0; vertex < assignment.size(); ++vertex) bytes[assignment[vertex]] += model.bytes[vertex];
  for (std::size_t device = 0; device < bytes.size(); ++device) {
    if (bytes[device] > model.kind_of(device).capacity) return std::numeric_limits<double>::infinity();
  }
  const std::vector<double> load = loads(model, assignment);
  return load.empty() ? 0 : *std::max_element(load.begin(), load.end());
}

Assignment Contraction::expand(const Assignment& assignment) const {
  Assignment result;
  result.reserve(vertex_of.size());
  for (const Vertex vertex : vertex_of) result.push_back(assignment[vertex]);
  return result;
}

Contraction merge(const CutModel& model, const std::vector<std::uint32_t>& label) {
  Contraction result;
  // Vertices keep the order of the first that has their label.
  std::map<std::uint32_t, Vertex> vertex_of_label;
  for (const std::uint32_t l : label) {
    result.vertex_of.push_back(vertex_of_label.emplace(l, static_cast<Vertex>(vertex_of_label.size())).first->second);
  }
  const std::size_t count = vertex_of_label.size();
  CutModel& merged = result.model;
  merged.bytes.resize(count);
  for (Vertex u = 0; u < label.size(); ++u) merged.bytes[result.vertex_of[u]] += model.bytes[u];
  for (const DeviceKind& kind : model.kinds) {
    DeviceKind& copy = merged.kinds.emplace_back(kind);
    copy.work.assign(count, 0);
    for (Vertex u = 0; u < label.size(); ++u) copy.work[result.vertex_of[u]] += kind.work[u];
  }
  std::map<std::vector<Vertex>, double> cost_of_pins;
  for (const Net& net : model.nets) {
    std::vector<Vertex> pins;
    for (const Vertex u : net.pins) pins.push_back(result.vertex_of[u]);
    std::sort(pins.begin(), pins.end());
    pins.erase(std::unique(pins.begin(), pins.end()), pins.end());
    if (pins.size() > 1 && net.cost > 0) cost_of_pins[std::move(pins)] += net.cost;
  }
  for (const auto& [pins, cost] : cost_of_pins) merged.nets.push_back({pins, cost});
  for (const auto& [a, b] : model.precedence) {
    if (result.vertex_of[a] != result.vertex_of[b])
      merged.precedence.emplace_back(result.vertex_of[a], result.vertex_of[b]);
  }
  std::sort(merged.precedence.begin(), merged.precedence.end());
  merged.precedence.erase(std::unique(merged.precedence.begin(), merged.precedence.end()), merged.precedence.end());
  return result;
}

Contraction merge_circles(const CutModel& model) {
  // Strongly connected components by two depth-first searches (Kosaraju; Sharir 1981), without recursion.
  const std::size_t count = model.vertex_count();
  std::vector<std::vector<Vertex>> after(count);
  std::vector<std::vector<Vertex>> before(count);
  for (const auto& [a, b] : model.precedence) {
    after[a].push_back(b);
    before[b].push_back(a);
  }
  std::vector<Vertex> finished;
  std::vector<std::uint8_t> seen(count);
  std::vector<std::pair<Vertex, std::size_t>> stack;
  for (Vertex root = 0; root < count; ++root) {
    if (seen[root] != 0) continue;
    seen[root] = 1;
    stack.emplace_back(root, 0);
    while (!stack.empty()) {
      auto& [vertex, next] = stack.back();
      if (next == after[vertex].size()) {
        finished.push_back(vertex);
        stack.pop_back();
        continue;
      }
      const Vertex child = after[vertex][next++];
      if (seen[child] != 0) continue;
      seen[child] = 1;
      stack.emplace_back(child, 0);
    }
  }
  constexpr auto kNone = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::uint32_t> label(count, kNone);
  std::vector<Vertex> open;
  for (std::size_t i = count; i-- > 0;) {
    if (label[finished[i]] != kNone) continue;
    label[finished[i]] = finished[i];
    open.push_back(finished[i]);
    while (!open.empty()) {
      const Vertex vertex = open.back();
      open.pop_back();
      for (const Vertex other : before[vertex]) {
        if (label[other] != kNone) continue;
        label[other] = finished[i];
        open.push_back(other);
      }
    }
  }
  return merge(model, label);
}

}  // namespace opweave::partition
