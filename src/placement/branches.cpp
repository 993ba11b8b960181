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

/// What each bundle takes from and gives to.
struct BundleGraph {
  std::vector<std::set<std::size_t>> before;
  std::vector<std::set<std::size_t>> after;

  BundleGraph(const Problem& problem, const std::vector<PlacementBundle>& bundles)
      : before(bundles.size()), after(bundles.size()) {
    std::vector<std::optional<std::size_t>> bundle_of(problem.group_count());
    for (std::size_t u = 0; u < bundles.size(); ++u) {
      for (const GroupId group : bundles[u].groups) bundle_of[group.index()] = u;
    }
    for (std::size_t u = 0; u < bundles.size(); ++u) {
      for (const GroupId group : bundles[u].groups) {
        for (const TaskId task : problem.tasks_of(group)) {
          if (!is_forward(problem, task)) continue;
          for (const TaskId p : problem.predecessors(task)) {
            const auto from = bundle_of[problem.group_of(p).index()];
            if (!from || *from == u || !is_forward(problem, p)) continue;
            before[u].insert(*from);
            after[*from].insert(u);
          }
        }
      }
    }
  }

  /// The bundle that continues the chain of this one.
  [[nodiscard]] std::optional<std::size_t> next(std::size_t bundle) const {
    if (after[bundle].size() != 1) return std::nullopt;
    const std::size_t following = *after[bundle].begin();
    return before[following].size() == 1 ? std::optional(following) : std::nullopt;
  }
  [[nodiscard]] bool begins(std::size_t bundle) const {
    return before[bundle].size() != 1 || next(*before[bundle].begin()) != bundle;
  }
};

}  // namespace

std::vector<Branch> branches_of(const Problem& problem, const std::vector<PlacementBundle>& bundles) {
  const BundleGraph graph(problem, bundles);
  std::vector<Branch> branches;
  std::vector<std::size_t> depth_after(bundles.size(), 0);
  std::vector<bool> seen(bundles.size(), false);
  const auto follow = [&](std::size_t first) {
    Branch branch;
    for (const std::size_t giver : graph.before[first]) branch.depth = std::max(branch.depth, depth_after[giver]);
    for (std::optional<std::size_t> bundle = first; bundle && !seen[*bundle]; bundle = graph.next(*bundle)) {
      seen[*bundle] = true;
      depth_after[*bundle] = branch.depth + 1;
      branch.bundles.push_back(*bundle);
    }
    branches.push_back(std::move(branch));
  };
  for (std::size_t bundle = 0; bundle < bundles.size(); ++bundle) {
    if (!seen[bundle] && graph.begins(bundle)) follow(bundle);
  }
  // Bundles that wait for each other in a circle (groups, not tasks, may do that).
  for (std::size_t bundle = 0; bundle < bundles.size(); ++bundle) {
    if (!seen[bundle]) follow(bundle);
  }
  return branches;
}

}  // namespace opweave
