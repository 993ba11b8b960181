#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "io/mutator.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/planner.h"
#include "support/tight_problems.h"

namespace opweave::testing {
namespace {

/// A problem as two files say it.
struct Files {
  std::string graph;
  std::string cluster;
};

/// Files of a tight problem; nothing where there is no such problem. With `devices`, its cluster is repeated to so
/// many.
std::optional<Files> tight_files(std::uint64_t seed, std::size_t devices = 0) {
  RandomProblem random = tight_problem(seed);
  const std::size_t drawn = random.cluster.devices.size();
  for (std::size_t d = drawn; d < devices; ++d) {
    Device device = random.cluster.devices[d % drawn];
    device.name = "d" + std::to_string(d);
    random.cluster.devices.push_back(std::move(device));
  }
  try {
    const Problem problem = random.problem();
    return Files{graph_to_json(problem.graph()), cluster_to_json(problem.cluster())};
  } catch (const InputError&) {
    return std::nullopt;
  }
}

PlanResult planned(const Problem& problem) {
  PlannerOptions options;
  options.method = Method::kHeuristic;
  return plan(problem, Budget(std::nullopt, 10), options);
}

/// Reads the files, plans twice, and follows the plan through its file. Returns the plan's file, if there is a plan.
std::optional<std::string> follow(const Files& files) {
  const ComputationGraph graph = parse_graph(files.graph, "graph.json");
  const Cluster cluster = parse_cluster(files.cluster, "cluster.json");
  EXPECT_EQ(graph_to_json(graph), files.graph);
  EXPECT_EQ(cluster_to_json(cluster), files.cluster);
  const PlanResult result = planned(Problem::create(graph, cluster));
  if (!result.plan) return std::nullopt;
  const std::string written = plan_to_json(*result.plan, graph, cluster);
  const Plan again = parse_plan(written, "plan.json", graph, cluster);
  EXPECT_EQ(plan_to_json(again, graph, cluster), written);
  EXPECT_TRUE(check(graph, cluster, again, 1).empty());
  const PlanResult same = planned(Problem::create(parse_graph(files.graph, "g"), parse_cluster(files.cluster, "c")));
  EXPECT_EQ(plan_to_json(*same.plan, graph, cluster), written);
  return written;
}

TEST(TightFiles, problems_and_their_plans_survive_the_way_through_files) {
  int plans = 0;
  for (std::uint64_t seed = 1; seed <= seeds(200); ++seed) {
    const auto files = tight_files(seed);
    if (files && follow(*files)) ++plans;
    if (HasFailure()) FAIL() << "seed " << seed << "\n" << files->graph << files->cluster;
  }
  EXPECT_GE(plans, 60);
}

TEST(TightFiles, also_with_thousands_of_devices) {
  int plans = 0;
  for (std::uint64_t seed = 1; plans < 3; ++seed) {
    const auto files = tight_files(seed, 4096);
    if (files && follow(*files)) ++plans;
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

TEST(TightFiles, damaged_plans_are_refused_or_judged_in_clean_lines) {
  int judged = 0;
  int broken = 0;
  int refused = 0;
  for (std::uint64_t seed = 1; seed <= seeds(60); ++seed) {
    const auto files = tight_files(seed);
    const auto written = files ? follow(*files) : std::nullopt;
    if (!written) continue;
    const ComputationGraph graph = parse_graph(files->graph, "graph.json");
    const Cluster cluster = parse_cluster(files->cluster, "cluster.json");
    for (std::uint64_t i = 0; i < 200; ++i) {
      const std::string text = Mutator(seed * 1000 + i).mutate(*written, files->graph);
      try {
        const auto violations = check(graph, cluster, parse_plan(text, "plan.json", graph, cluster), 5);
        ++judged;
        if (!violations.empty()) ++broken;
        for (const Violation& violation : violations) EXPECT_TRUE(is_one_clean_line(violation.message)) << text;
      } catch (const InputError& error) {
        ++refused;
        EXPECT_TRUE(is_one_clean_line(error.what())) << text;
      }
      if (HasFailure()) FAIL() << "seed " << seed << ", damage " << i;
    }
  }
  // All depths are reached.
  EXPECT_GE(refused, 300);
  EXPECT_GE(judged, 100);
  EXPECT_GE(broken, 50);
}

}  // namespace
}  // namespace opweave::testing
