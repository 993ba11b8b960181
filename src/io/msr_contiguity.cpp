#include <algorithm>
#include <map>

#include "opweave/msr.h"

namespace opweave {
namespace {

/// The devices can be lined up along the precedence.
bool is_ordered(const MsrInstance& instance, const MsrPlacement& placement) {
  const std::size_t devices = placement.empty() ? 0 : *std::max_element(placement.begin(), placement.end()) + 1U;
  std::vector<std::vector<std::uint32_t>> after(devices);
  for (const auto& [a, b] : msr_precedence(instance)) {
    if (placement[a] != placement[b]) after[placement[a]].push_back(placement[b]);
  }
  std::vector<std::uint32_t> waiting_for(devices);
  for (std::vector<std::uint32_t>& list : after) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    for (const std::uint32_t next : list) ++waiting_for[next];
  }
  std::vector<std::uint32_t> ready;
  for (std::uint32_t device = 0; device < devices; ++device) {
    if (waiting_for[device] == 0) ready.push_back(device);
  }
  for (std::size_t i = 0; i < ready.size(); ++i) {
    for (const std::uint32_t next : after[ready[i]]) {
      if (--waiting_for[next] == 0) ready.push_back(next);
    }
  }
  return ready.size() == devices;
}

std::vector<std::uint32_t> topological_order(const MsrInstance& instance) {
  std::vector<std::uint32_t> waiting_for(instance.nodes.size());
  for (const auto& list : instance.successors) {
    for (const std::uint32_t next : list) ++waiting_for[next];
  }
  std::vector<std::uint32_t> order;
  for (std::uint32_t node = 0; node < waiting_for.size(); ++node) {
    if (waiting_for[node] == 0) order.push_back(node);
  }
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (const std::uint32_t next : instance.successors[order[i]]) {
      if (--waiting_for[next] == 0) order.push_back(next);
    }
  }
  return order;
}

/// No path of forward nodes leaves a device and comes back. All devices at once, a bit each.
bool is_convex(const MsrInstance& instance, const MsrPlacement& placement) {
  const std::size_t devices = placement.empty() ? 0 : *std::max_element(placement.begin(), placement.end()) + 1U;
  const std::size_t words = (devices + 63) / 64;
  std::vector<std::uint64_t> left(placement.size() * words);  // by node: devices that some path to it has left
  for (const std::uint32_t node : topological_order(instance)) {
    if (instance.nodes[node].is_backward) continue;
    const std::uint32_t device = placement[node];
    if ((left[node * words + device / 64] >> device % 64 & 1) != 0) return false;
    for (const std::uint32_t next : instance.successors[node]) {
      if (instance.nodes[next].is_backward) continue;
      for (std::size_t w = 0; w < words; ++w) left[next * words + w] |= left[node * words + w];
      if (placement[next] != device) left[next * words + device / 64] |= std::uint64_t{1} << device % 64;
    }
  }
  return true;
}

}  // namespace

std::string_view to_string(Contiguity contiguity) {
  switch (contiguity) {
    case Contiguity::kNone:
      return "none";
    case Contiguity::kConvex:
      return "convex";
    case Contiguity::kOrdered:
      return "ordered";
  }
  return "";
}

std::string_view to_string(MsrObjective objective) {
  return objective == MsrObjective::kLatency ? "latency" : "throughput";
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> msr_precedence(const MsrInstance& instance) {
  const std::size_t count = instance.nodes.size();
  std::map<std::int64_t, std::uint32_t> first_of_color;
  std::vector<std::uint32_t> label;
  std::vector<bool> has_forward(count);  // by label
  for (std::uint32_t i = 0; i < count; ++i) {
    const MsrInstance::Node& node = instance.nodes[i];
    label.push_back(node.color_class ? first_of_color.emplace(*node.color_class, i).first->second : i);
    if (!node.is_backward) has_forward[label[i]] = true;
  }
  std::vector<std::pair<std::uint32_t, std::uint32_t>> result;
  for (std::uint32_t a = 0; a < count; ++a) {
    for (const std::uint32_t b : instance.successors[a]) {
      if (!instance.nodes[b].is_backward) {
        result.emplace_back(a, b);
      } else if (instance.nodes[a].is_backward && !(has_forward[label[a]] && has_forward[label[b]])) {
        result.emplace_back(b, a);
      }
    }
  }
  return result;
}

Contiguity msr_contiguity(const MsrInstance& instance, const MsrPlacement& placement) {
  if (is_ordered(instance, placement)) return Contiguity::kOrdered;
  return is_convex(instance, placement) ? Contiguity::kConvex : Contiguity::kNone;
}

}  // namespace opweave
