#include "coarsen/merging.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "support/mergeable_problems.h"

namespace opweave {
namespace {

using coarsen::merge;
using coarsen::MergeOptions;
using coarsen::Merging;

bool is_acyclic(const Problem& problem, const Merging& merging) {
  std::vector<std::set<std::uint32_t>> after(merging.cluster_count);
  std::vector<std::size_t> waiting(merging.cluster_count, 0);
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    for (const TaskId before : problem.predecessors(TaskId(t))) {
      const std::uint32_t from = merging.cluster_of[before.index()];
      const std::uint32_t to = merging.cluster_of[t];
      if (from != to && after[from].insert(to).second) ++waiting[to];
    }
  }
  std::vector<std::uint32_t> ready;
  for (std::uint32_t c = 0; c < waiting.size(); ++c) {
    if (waiting[c] == 0) ready.push_back(c);
  }
  std::size_t done = 0;
  for (; !ready.empty(); ++done) {
    const std::uint32_t cluster = ready.back();
    ready.pop_back();
    for (const std::uint32_t next : after[cluster]) {
      if (--waiting[next] == 0) ready.push_back(next);
    }
  }
  return done == waiting.size();
}

TEST(Merging, leaves_the_graph_of_the_clusters_acyclic) {
  std::size_t merged = 0;
  for (const Problem& problem : testing::mergeable_problems(150, 40)) {
    for (const MergeOptions& options : testing::merge_options()) {
      const Merging merging = merge(problem, options);
      ASSERT_TRUE(is_acyclic(problem, merging));
      merged += problem.task_count() - merging.cluster_count;
    }
  }
  EXPECT_GT(merged, 1000U);
}

TEST(Merging, keeps_clusters_short_and_takes_only_tasks_together_that_may_share_their_devices) {
  for (const Problem& problem : testing::mergeable_problems(100, 40)) {
    for (const MergeOptions& options : testing::merge_options()) {
      const Merging merging = merge(problem, options);
      std::vector<std::vector<TaskId>> members(merging.cluster_count);
      for (std::size_t t = 0; t < problem.task_count(); ++t) members[merging.cluster_of[t]].emplace_back(t);
      for (const auto& cluster : members) {
        Duration duration;
        for (const TaskId task : cluster) {
          duration += problem.shortest(task);
          EXPECT_EQ(problem.streams(task), problem.streams(cluster.front()));
          EXPECT_TRUE(std::ranges::equal(problem.devices_of(problem.group_of(task)),
                                         problem.devices_of(problem.group_of(cluster.front()))));
          EXPECT_TRUE(cluster.size() == 1 || problem.apart_from(problem.group_of(task)).empty());
        }
        EXPECT_TRUE(cluster.size() == 1 || duration <= options.longest);
      }
    }
  }
}

}  // namespace
}  // namespace opweave
