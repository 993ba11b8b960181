#include "partition/topological.h"

#include <algorithm>
#include <functional>

namespace opweave::partition {
namespace {

/// Takes, step by step, the ready unit with the least key. O(units x ready units).
std::vector<Unit> take_least(const CutModel& model,
                             const std::function<double(Unit unit, std::size_t ready_since)>& key,
                             const std::function<void(Unit unit)>& taken) {
  std::vector<std::vector<Unit>> after(model.unit_count());
  std::vector<std::uint32_t> waiting_for(model.unit_count());
  for (const auto& [a, b] : model.precedence) {
    after[a].push_back(b);
    ++waiting_for[b];
  }
  std::vector<std::pair<Unit, std::size_t>> ready;
  for (Unit unit = 0; unit < model.unit_count(); ++unit) {
    if (waiting_for[unit] == 0) ready.emplace_back(unit, 0);
  }
  std::vector<Unit> order;
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
    const Unit unit = ready[best].first;
    ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(best));
    order.push_back(unit);
    taken(unit);
    for (const Unit next : after[unit]) {
      if (--waiting_for[next] == 0) ready.emplace_back(next, order.size());
    }
  }
  return order;
}

}  // namespace

std::vector<std::vector<Unit>> topological_orders(const CutModel& model) {
  std::vector<std::vector<Unit>> orders;
  const auto add = [&](std::vector<Unit> order) {
    if (std::find(orders.begin(), orders.end(), order) == orders.end()) orders.push_back(std::move(order));
  };
  const auto nothing = [](Unit) {};
  add(take_least(
      model, [](Unit, std::size_t since) { return static_cast<double>(since); }, nothing));
  add(take_least(
      model, [](Unit, std::size_t since) { return -static_cast<double>(since); }, nothing));
  // The open nets of the prefix grow by those that the unit opens and shrink by those that it closes.
  const auto nets_of = model.nets_of_units();
  std::vector<std::size_t> inside(model.nets.size());
  const auto growth = [&](Unit unit, std::size_t since) {
    double sum = 0;
    for (const std::uint32_t n : nets_of[unit]) {
      if (inside[n] == 0) sum += model.nets[n].cost;
      if (inside[n] + 1 == model.nets[n].pins.size()) sum -= model.nets[n].cost;
    }
    return sum - 1e-12 * static_cast<double>(since);
  };
  add(take_least(model, growth, [&](Unit unit) {
    for (const std::uint32_t n : nets_of[unit]) ++inside[n];
  }));
  return orders;
}

}  // namespace opweave::partition
