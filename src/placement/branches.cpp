#include "placement/branches.h"

#include <algorithm>
#include <optional>
#include <set>

namespace opweave {
namespace {

bool is_forward(const Problem& problem, TaskId task) {
  const Phase phase = problem.op(task).phase;
  return phase == Phase::kForward || phase == Phase::kNone;
}

/// What each unit takes from and gives to.
struct UnitGraph {
  std::vector<std::set<std::size_t>> before;
  std::vector<std::set<std::size_t>> after;

  UnitGraph(const Problem& problem, const std::vector<PlacementUnit>& units)
      : before(units.size()), after(units.size()) {
    std::vector<std::optional<std::size_t>> unit_of(problem.group_count());
    for (std::size_t u = 0; u < units.size(); ++u) {
      for (const GroupId group : units[u].groups) unit_of[group.index()] = u;
    }
    for (std::size_t u = 0; u < units.size(); ++u) {
      for (const GroupId group : units[u].groups) {
        for (const TaskId task : problem.tasks_of(group)) {
          if (!is_forward(problem, task)) continue;
          for (const TaskId p : problem.predecessors(task)) {
            const auto from = unit_of[problem.group_of(p).index()];
            if (!from || *from == u || !is_forward(problem, p)) continue;
            before[u].insert(*from);
            after[*from].insert(u);
          }
        }
      }
    }
  }

  /// The unit that continues the chain of this one.
  [[nodiscard]] std::optional<std::size_t> next(std::size_t unit) const {
    if (after[unit].size() != 1) return std::nullopt;
    const std::size_t following = *after[unit].begin();
    return before[following].size() == 1 ? std::optional(following) : std::nullopt;
  }
  [[nodiscard]] bool begins(std::size_t unit) const {
    return before[unit].size() != 1 || next(*before[unit].begin()) != unit;
  }
};

}  // namespace

std::vector<Branch> branches_of(const Problem& problem, const std::vector<PlacementUnit>& units) {
  const UnitGraph graph(problem, units);
  std::vector<Branch> branches;
  std::vector<std::size_t> depth_after(units.size(), 0);
  std::vector<bool> seen(units.size(), false);
  const auto follow = [&](std::size_t first) {
    Branch branch;
    for (const std::size_t giver : graph.before[first]) branch.depth = std::max(branch.depth, depth_after[giver]);
    for (std::optional<std::size_t> unit = first; unit && !seen[*unit]; unit = graph.next(*unit)) {
      seen[*unit] = true;
      depth_after[*unit] = branch.depth + 1;
      branch.units.push_back(*unit);
    }
    branches.push_back(std::move(branch));
  };
  for (std::size_t unit = 0; unit < units.size(); ++unit) {
    if (!seen[unit] && graph.begins(unit)) follow(unit);
  }
  // Units that wait for each other in a circle (groups, not tasks, may do that).
  for (std::size_t unit = 0; unit < units.size(); ++unit) {
    if (!seen[unit]) follow(unit);
  }
  return branches;
}

}  // namespace opweave
