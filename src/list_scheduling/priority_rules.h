/// Orders of urgency for the list scheduler.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "list_scheduling/placed_problem.h"
#include "list_scheduling/reference_order.h"

namespace opweave {

/// A priority per activity (small = urgent; ranks, so without ties among tasks) and its name.
struct PriorityRule {
  std::string name;
  std::vector<std::int64_t> priority;
};

/// 0 for what passes the gradient on, 1 for forwards, 2 for weight gradients, which nobody waits for.
[[nodiscard]] int urgency_class(Phase phase);

/// The rules worth trying, most promising first. "longest tail" suits single graphs; for training
/// iterations "backward first" (I and B, then F, then W) is the idea of 1F1B and zero bubble (Qi, Wan,
/// Huang, Lin 2023). A transfer is as urgent as its most urgent consumer.
[[nodiscard]] std::vector<PriorityRule> priority_rules(const PlacedProblem& placed, const ReferenceOrder& reference);

}  // namespace opweave
