#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "opweave/explain.h"

namespace opweave {

std::string spent_on(const Problem& problem, const PathStep& step) {
  if (step.transfer) return "transfers";
  if (!step.task) return step.binding == Binding::kMemory ? "waiting for memory" : "held back by the plan";
  const Operator& op = problem.op(*step.task);
  const std::string kind = op.kind.empty() ? "operators" : op.kind;
  return op.phase == Phase::kNone ? kind : fmt::format("{} {}", kind, to_string(op.phase));
}

std::vector<PathShare> path_shares(const Problem& problem, const std::vector<PathStep>& path) {
  std::map<std::string, PathShare> sums;
  for (const PathStep& step : path) {
    PathShare& sum = sums[spent_on(problem, step)];
    sum.time += step.until - step.from;
    ++sum.steps;
  }
  std::vector<PathShare> shares;
  for (auto& [what, sum] : sums) shares.push_back({what, sum.time, sum.steps});
  std::ranges::stable_sort(shares, [](const PathShare& a, const PathShare& b) { return a.time > b.time; });
  return shares;
}

}  // namespace opweave
