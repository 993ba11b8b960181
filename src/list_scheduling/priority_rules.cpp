#include "list_scheduling/priority_rules.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace opweave {

int urgency_class(Phase phase) {
  switch (phase) {
    case Phase::kInputGradient:
    case Phase::kBackward:
    case Phase::kOptimizer:
      return 0;
    case Phase::kNone:
    case Phase::kForward:
      return 1;
    case Phase::kWeightGradient:
      return 2;
  }
  return 1;
}

namespace {

template <class Key>
std::vector<std::int64_t> rank_by(const PlacedProblem& placed, Key key) {
  using KeyType = decltype(key(ActivityId{}));
  std::vector<std::pair<KeyType, ActivityId>> order;
  order.reserve(placed.task_count());
  for (ActivityId task = 0; task < placed.task_count(); ++task) order.emplace_back(key(task), task);
  std::sort(order.begin(), order.end());
  std::vector<std::int64_t> rank(placed.activity_count());
  for (std::size_t i = 0; i < order.size(); ++i) rank[order[i].second] = static_cast<std::int64_t>(i);
  for (auto activity = static_cast<ActivityId>(placed.task_count()); activity < placed.activity_count(); ++activity) {
    std::int64_t most_urgent = static_cast<std::int64_t>(order.size());
    for (const ActivityId consumer : placed.successors(activity)) most_urgent = std::min(most_urgent, rank[consumer]);
    rank[activity] = most_urgent;
  }
  return rank;
}

}  // namespace

std::vector<PriorityRule> priority_rules(const PlacedProblem& placed, const ReferenceOrder& reference) {
  const Problem& problem = placed.problem();
  const std::vector<std::int64_t> tails = placed.tails();
  std::vector<std::uint32_t> position(placed.activity_count());
  for (std::size_t i = 0; i < reference.activities.size(); ++i)
    position[reference.activities[i]] = static_cast<std::uint32_t>(i);
  const auto phase_class = [&](ActivityId task) { return urgency_class(problem.op(TaskId(task)).phase); };

  std::vector<PriorityRule> rules;
  const auto longest_tail = [&] {
    rules.push_back({"longest tail", rank_by(placed, [&](ActivityId t) { return std::pair(-tails[t], position[t]); })});
  };
  const bool repeated = problem.settings().training.microbatches > 1;
  if (!repeated) longest_tail();
  if (repeated) {
    rules.push_back(
        {"backward first", rank_by(placed, [&](ActivityId t) { return std::pair(phase_class(t), position[t]); })});
    // Among forwards the deepest first: its backward comes soonest and gives memory back.
    rules.push_back({"backward first, deepest forward", rank_by(placed, [&](ActivityId t) {
                       const int c = phase_class(t);
                       return std::tuple(c, c == 1 ? tails[t] : 0, position[t]);
                     })});
    rules.push_back({"weight gradients last", rank_by(placed, [&](ActivityId t) {
                       return std::tuple(phase_class(t) == 2, -tails[t], position[t]);
                     })});
    longest_tail();
  }
  rules.push_back({"reference order", rank_by(placed, [&](ActivityId t) { return position[t]; })});
  return rules;
}

}  // namespace opweave
