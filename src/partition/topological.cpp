#include "partition/topological.h"

#include <algorithm>
#include <functional>

namespace opweave::partition {
namespace {

/// Takes, step by step, the ready vertex with the least key. O(vertices x ready vertices).
std::vector<Vertex> take_least(const CutModel& model,
                               const std::function<double(Vertex vertex, std::size_t ready_since)>& key,
                               const std::function<void(Vertex vertex)>& taken) {
  std::vector<std::vector<Vertex>> after(model.vertex_count());
  std::vector<std::uint32_t> waiting_for(model.vertex_count());
  for (const auto& [a, b] : model.precedence) {
    after[a].push_back(b);
    ++waiting_for[b];
  }
  std::vector<std::pair<Vertex, std::size_t>> ready;
  for (Vertex vertex = 0; vertex < model.vertex_count(); ++vertex) {
    if (waiting_for[vertex] == 0) ready.emplace_back(vertex, 0);
  }
  std::vector<Vertex> order;
  while (!ready.empty()) {
    std::size_t best = 0;
    double best_key = key(ready[0].first, ready[0].second);
    for (std::size_t i = 1; i < ready.size(); ++i) {
      const double k = key(ready[i].first, ready[i].second);
      if (k < best_key) {
        best = i;
        best_key = k;
      }
    }
    const Vertex vertex = ready[best].first;
    ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(best));
    order.push_back(vertex);
    taken(vertex);
    for (const Vertex next : after[vertex]) {
      if (--waiting_for[next] == 0) ready.emplace_back(next, order.size());
    }
  }
  return order;
}

}  // namespace

std::vector<std::vector<Vertex>> topological_orders(const CutModel& model) {
  std::vector<std::vector<Vertex>> orders;
  const auto add = [&](std::vector<Vertex> order) {
    if (std::find(orders.begin(), orders.end(), order) == orders.end()) orders.push_back(std::move(order));
  };
  const auto nothing = [](Vertex) {};
  add(take_least(
      model, [](Vertex, std::size_t since) { return static_cast<double>(since); }, nothing));
  add(take_least(
      model, [](Vertex, std::size_t since) { return -static_cast<double>(since); }, nothing));
  // The open nets of the prefix grow by those that the vertex opens and shrink by those that it closes.
  const auto nets_of = model.nets_of_vertices();
  std::vector<std::size_t> inside(model.nets.size());
  const auto growth = [&](Vertex vertex, std::size_t since) {
    double sum = 0;
    for (const std::uint32_t n : nets_of[vertex]) {
      if (inside[n] == 0) sum += model.nets[n].cost;
      if (inside[n] + 1 == model.nets[n].pins.size()) sum -= model.nets[n].cost;
    }
    return sum - 1e-12 * static_cast<double>(since);
  };
  add(take_least(model, growth, [&](Vertex vertex) {
    for (const std::uint32_t n : nets_of[vertex]) ++inside[n];
  }));
  return orders;
}

}  // namespace opweave::partition
