#include <algorithm>
#include <functional>

#include "explain/strategy_choices.h"
#include "opweave/strategy_insight.h"
#include "opweave/strategy_targets.h"

namespace opweave {
namespace {

/// As many copies, of all meshes, as there are devices for.
void scale_copies(Strategy& strategy, std::uint64_t devices) {
  const std::uint64_t before = strategy.devices();
  const auto scaled = [&](std::uint32_t copies) {
    return static_cast<std::uint32_t>(std::max<std::uint64_t>(1, devices * copies / before));
  };
  strategy.data = scaled(strategy.data);
  if (strategy.component) strategy.component->data = scaled(strategy.component->data);
}

void offer(BestStrategy& found, const RankedStrategy& other) {
  if (found.best && found.best->value.time.step <= other.value.time.step) return;
  found = {other, {}, {}, {}};
}

}  // namespace

std::vector<StrategyChange> what_if_strategy(const StrategyRecord& today, double seconds,
                                             const std::atomic<bool>* stop) {
  using Change = std::function<void(StrategyRecord&)>;
  const std::pair<std::string_view, Change> changes[] = {
      {"as it is", [](StrategyRecord&) {}},
      {"twice the nodes", [](StrategyRecord& r) { r.machines.nodes *= 2; }},
      {"half the nodes", [](StrategyRecord& r) { r.machines.nodes = std::max(1U, r.machines.nodes / 2); }},
      {"fabric twice as fast", [](StrategyRecord& r) { r.machines.fabric_bandwidth *= 2; }},
      {"1.25 times the memory",
       [](StrategyRecord& r) { r.machines.device.memory = Bytes(r.machines.device.memory.value() / 4 * 5); }},
      {"sequences twice as long", [](StrategyRecord& r) { r.run.sequence *= 2; }},
      {"twice the batch", [](StrategyRecord& r) { r.run.global_batch *= 2; }},
  };
  std::vector<StrategyChange> result;
  for (const auto& [name, apply] : changes) {
    StrategyRecord then = today;
    apply(then);
    if (then == today && name != changes[0].first) continue;
    // More or fewer nodes hold more or fewer copies.
    StrategyRecord same = then;
    scale_copies(same.strategy, then.machines.devices());
    StrategyChange change{name, {}, {}, {}};
    change.why_impossible = why_untrainable(same.target, same.model, same.machines, same.run, same.strategy);
    if (change.why_impossible.empty()) change.value = same.value();
    Budget budget(seconds, std::nullopt);
    if (stop != nullptr) budget.watch(stop);
    change.found = explaining::best_with(then, {}, budget);
    // A search that ends early may miss what is there already.
    if (change.value && change.value->fits) offer(change.found, {same.strategy, *change.value});
    result.push_back(std::move(change));
    if (budget.stopped()) break;
  }
  return result;
}

}  // namespace opweave
