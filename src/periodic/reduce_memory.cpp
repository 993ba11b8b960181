#include <algorithm>
#include <cmath>
#include <utility>

#include "heuristics/random.h"
#include "periodic/kernel.h"

namespace opweave::periodic {
namespace {

/// Temperature at the beginning and at the end, in shares of a device's memory.
constexpr double kHottest = 0.02;
constexpr double kColdest = 0.0005;
/// Weight of what is held on average beside what is too much at the worst moment: the slope of a plateau.
constexpr double kMeanWeight = 0.05;

/// Excess of all pools, and what they hold on average, in shares of their capacities.
struct Pressure {
  double excess = 0;
  double mean = 0;
  [[nodiscard]] double value() const { return excess + kMeanWeight * mean; }
};

Pressure pressure(const Kernel& kernel) {
  const Network& network = kernel.unit->network();
  Pressure result;
  const std::vector<std::int64_t> excess = memory_excess(kernel);
  for (std::size_t p = 0; p < excess.size(); ++p) {
    const auto capacity = static_cast<double>(std::max<std::int64_t>(1, network.pools[p].capacity));
    result.excess += std::max(0.0, static_cast<double>(excess[p]) / capacity);
  }
  for (const order_search::Holding& holding : network.holdings) {
    if (holding.maker == kNone) continue;
    const auto index = static_cast<std::size_t>(&holding - network.holdings.data());
    Time end = 0;
    for (const Node user : network.users[index]) end = std::max(end, kernel.starts[user] + network.duration[user]);
    result.mean += static_cast<double>(end - kernel.starts[holding.maker]) / static_cast<double>(kernel.period) *
                   static_cast<double>(holding.bytes) /
                   static_cast<double>(std::max<std::int64_t>(1, network.pools[holding.pool].capacity));
  }
  return result;
}

}  // namespace

std::optional<Kernel> reduce_memory(const Kernel& given, std::uint64_t evaluations, std::uint64_t seed,
                                    const Budget& budget) {
  if (fits_in_memory(given)) return given;
  const Unit& unit = *given.unit;
  const Network& network = unit.network();
  Random random(seed);
  std::vector<Node> movable;
  for (const Node node : unit.nodes()) {
    if (network.duration[node] > 0 && !network.resources[node].empty()) movable.push_back(node);
  }
  if (movable.size() < 2) return std::nullopt;
  Kernel current = given;
  double value = pressure(current).value();
  const double cooling = std::log(kColdest / kHottest);
  std::vector<Time> starts;
  for (std::uint64_t i = 0; i < evaluations && !budget.expired(); ++i) {
    const double heat = kHottest * std::exp(cooling * static_cast<double>(i) / static_cast<double>(evaluations));
    const Node node = movable[random.below(movable.size())];
    const auto resources = network.resources[node];
    const auto others = unit.on_resource(resources[random.below(resources.size())]);
    const Node other = others[random.below(others.size())];
    if (other == node || network.duration[other] == 0) continue;
    // Just before or just behind the other, in the occurrence nearest to where the node is now.
    starts = current.starts;
    const Time offset = current.phase(other) - current.phase(node);
    Time shift = offset;
    if (2 * std::abs(offset) > current.period) shift += offset > 0 ? -current.period : current.period;
    shift += random.below(2) == 0 ? -1 : 1;
    starts[node] += shift;
    std::optional<Kernel> next = kernel_from_order(current.unit, starts, current.period);
    if (!next) continue;
    const Pressure reached = pressure(*next);
    if (reached.excess <= 0) return next;
    const double worse = reached.value() - value;
    if (worse > 0 && random.unit() >= std::exp(-worse / heat)) continue;
    current = std::move(*next);
    value = reached.value();
    if (getenv("DBG") && i % 500 == 0) fprintf(stderr, "%lu excess %.4f mean %.3f\n", i, reached.excess, reached.mean);
  }
  return std::nullopt;
}

}  // namespace opweave::periodic
