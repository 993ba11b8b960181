/// Search for a kernel of shorter period.
#pragma once

#include <cstdint>
#include <functional>

#include "opweave/budget.h"
#include "periodic/kernel.h"

namespace opweave::periodic {

struct KernelSearchOptions {
  std::uint64_t seed = 1;
  /// Orders to try. The search cools down over a fixed number of them, again and again from the best; only once where
  /// they or the time of the budget do not suffice.
  std::uint64_t max_evaluations = 100'000;
};

/// Simulated annealing over the cyclic orders of a kernel, timed by repeating them until every lap is as long as the
/// one before, with memory counted along the order (docs/periodic.md). Stops at the evaluations, with the budget, or
/// when the period is the least possible. O(nodes x a few laps) per evaluation. \pre start is valid. \param
/// on_improvement  called with every kernel of shorter period than those before, all valid
void shorten_period(const Kernel& start, const Budget& budget, const KernelSearchOptions& options,
                    const std::function<void(const Kernel&)>& on_improvement);

}  // namespace opweave::periodic
