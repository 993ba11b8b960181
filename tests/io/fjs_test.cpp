#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "support/data_dir.h"

namespace opweave::testing {
namespace {

TEST(Fjs, operations_become_operators_with_a_mode_per_machine) {
  // Two jobs, two machines counted from 1; the third number of the header is the mean of alternatives.
  const ImportedProblem imported = parse_fjs("2 2 1.5\r\n2 1 1 5 2 2 7 1 4\r\n\n1 1 2 0 \n", "shop/tiny.fjs");
  const auto& operators = imported.graph.operators();
  ASSERT_EQ(operators.size(), 3U);
  EXPECT_EQ(imported.graph.name(), "tiny");
  EXPECT_EQ(operators[0].name, "job0.op0");
  EXPECT_TRUE(operators[0].after.empty());
  EXPECT_EQ(operators[1].name, "job0.op1");
  EXPECT_EQ(operators[1].after, std::vector<OperatorId>{OperatorId(0)});
  ASSERT_EQ(operators[1].modes.size(), 2U);
  EXPECT_EQ(operators[1].modes[0].devices, std::vector<std::string>{"machine2"});
  EXPECT_EQ(operators[1].modes[0].duration, Duration(7000));
  EXPECT_EQ(operators[1].modes[1].devices, std::vector<std::string>{"machine1"});
  EXPECT_TRUE(operators[2].after.empty());
  EXPECT_EQ(operators[2].modes[0].duration, Duration(0));
  ASSERT_EQ(imported.cluster.device_count(), 2U);
  EXPECT_EQ(imported.cluster.devices()[0].name, "machine1");
  EXPECT_EQ(Problem::create(imported.graph, imported.cluster).task_count(), 3U);
}

TEST(Fjs, machines_counted_from_zero_are_detected) {
  const ImportedProblem imported = parse_fjs("1 2\n2 1 1 5 1 0 6", "zero");
  EXPECT_EQ(imported.cluster.devices()[0].name, "machine0");
  EXPECT_EQ(imported.cluster.devices()[1].name, "machine1");
  EXPECT_EQ(imported.graph.operators()[0].modes[0].devices.front(), "machine1");
}

TEST(Jsp, is_a_flexible_shop_of_one_machine_per_operation) {
  // ft02 of our own: job 0 takes 3 on machine 0, then 2 on machine 1; job 1 takes 5 on machine 1, then 4 on machine 0.
  const ImportedProblem plain = parse_jsp("# a comment\n2 2\n0 3 1 2\n\n# another\n1 5 0 4\n", "ft02");
  const ImportedProblem flexible = parse_fjs("2 2\n2 1 0 3 1 1 2\n2 1 1 5 1 0 4\n", "ft02");
  EXPECT_EQ(graph_to_json(plain.graph), graph_to_json(flexible.graph));
  EXPECT_EQ(cluster_to_json(plain.cluster), cluster_to_json(flexible.cluster));
}

TEST(Jsp, what_is_no_such_shop_is_refused_with_its_place) {
  const auto message = [](const char* text) -> std::string {
    try {
      (void)parse_jsp(text, "shop");
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message("2 2\n0 3 1 2\n1 5\n"),
            "shop: line 3, column 4: machine is missing, expected an integer of 0 to 1");
  EXPECT_EQ(
      message("1 2\n0 3 1 2 0 4\n"),
      "shop: line 2, column 9: found \"0\" after 2 operations, one on each machine, expected the end of the line");
  EXPECT_EQ(message("1 2\n0 3 0 2\n"), "shop: line 2, column 5: machine 0 is listed twice for one job");
  EXPECT_EQ(message("1 2 1.5\n0 3 1 2\n"),
            "shop: line 1, column 5: found \"1.5\" after the header, expected the end of the line");
}

TEST(Jsp, and_flexible_shops_are_told_from_each_other) {
  const auto hint = [](auto parse, const char* text) -> std::string {
    try {
      (void)parse(text, "shop");
    } catch (const InputError& error) {
      return error.hint();
    }
    return "accepted";
  };
  EXPECT_EQ(hint(parse_jsp, "1 2\n1 2 1 3 2 4\n"), "`opweave convert fjs` reads it");
  EXPECT_EQ(hint(parse_fjs, "2 2\n0 3 1 2\n1 5 0 4\n"), "`opweave convert jsp` reads it");
  EXPECT_EQ(hint(parse_fjs, "2 2\n0 3 1\n1 5 0 4\n"), "");
}

/// Sums that no schedule beats: the longest job, all work spread evenly over the machines, and for each machine the
/// operations that have no other.
std::int64_t simple_bound(const Problem& problem) {
  std::map<std::string, std::int64_t> length_of_job;
  std::map<DeviceId, std::int64_t> bound_to;
  std::int64_t total = 0;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const std::int64_t shortest = problem.shortest(TaskId(t)).value();
    if (problem.mode_count(TaskId(t)) == 1) bound_to[problem.mode(TaskId(t), 0).devices.front()] += shortest;
    const std::string name = problem.task_name(TaskId(t));
    length_of_job[name.substr(0, name.find('.'))] += shortest;
    total += shortest;
  }
  const auto devices = static_cast<std::int64_t>(problem.cluster().device_count());
  std::int64_t bound = (total + devices - 1) / devices;
  for (const auto& [job, length] : length_of_job) bound = std::max(bound, length);
  for (const auto& [device, load] : bound_to) bound = std::max(bound, load);
  return bound;
}

// Machine 2 is asked for 3 + 5 and can have both in a row: job 2 comes from machine 1 after 2. No schedule beats a
// load.
TEST(Fjs, an_instance_of_ours_is_imported_with_the_bound_that_is_its_optimum) {
  const ImportedProblem imported = parse_fjs("3 2 1\n1 1 1 4\n1 1 2 3\n2 1 1 2 1 2 5\n", "ours.fjs");
  EXPECT_EQ(imported.cluster.device_count(), 2U);
  EXPECT_EQ(imported.graph.operators().size(), 4U);
  const Problem problem = Problem::create(imported.graph, imported.cluster);
  EXPECT_EQ(simple_bound(problem), 8 * 1000);
  EXPECT_EQ(plan(problem, Budget(std::nullopt, 50)).plan->statistics.makespan, Duration(8 * 1000));
}

TEST(Fjs, all_published_instances_are_imported) {
  const auto folder = data_dir();
  if (!folder || !std::filesystem::exists(*folder / "fjsp/bounds.json")) {
    GTEST_SKIP() << "OPWEAVE_DATA has no fjsp folder";
  }
  // Optimum known and equal to a sum that no schedule beats: any slip in a time or a machine shows.
  std::size_t tight = 0;
  const auto instances = nlohmann::json::parse(read_file(*folder / "fjsp/bounds.json"));
  EXPECT_EQ(instances.size(), 15U);
  for (const auto& facts : instances) {
    const std::filesystem::path path = *folder / "fjsp" / facts.at("path").get<std::string>();
    const ImportedProblem imported = parse_fjs(read_file(path), path.string());
    EXPECT_EQ(imported.graph.name(), facts.at("name"));
    // The file has the last word: for mk06 the table of bounds counts 15 machines, as the literature does.
    std::istringstream header(read_file(path));
    std::size_t jobs = 0;
    std::size_t machines = 0;
    header >> jobs >> machines;
    EXPECT_EQ(imported.cluster.device_count(), machines) << path;
    const auto& operators = imported.graph.operators();
    const auto is_first = [](const Operator& op) { return op.after.empty(); };
    EXPECT_EQ(std::count_if(operators.begin(), operators.end(), is_first), jobs) << path;
    EXPECT_EQ(jobs, facts.at("jobs")) << path;
    const Problem problem = Problem::create(imported.graph, imported.cluster);
    const std::int64_t best_known =
        facts.at("optimum").is_null() ? facts.at("bounds").at("upper") : facts.at("optimum");
    EXPECT_LE(simple_bound(problem), best_known * 1000) << path;
    if (simple_bound(problem) == best_known * 1000) ++tight;
  }
  EXPECT_GE(tight, 3U);
}

}  // namespace
}  // namespace opweave::testing
