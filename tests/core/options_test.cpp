// The ways to place a group, and what else a Problem says about them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "core/equal_devices.h"
#include "opweave/error.h"
#include "opweave/pipeline.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "support/random_problems.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;

Operator with_modes(std::string name, std::vector<ModeSpec> modes, std::string colocation = "") {
  Operator op;
  op.name = std::move(name);
  op.modes = std::move(modes);
  op.colocation = std::move(colocation);
  return op;
}

Operator anywhere(std::string name, std::string colocation = "") {
  Operator op;
  op.name = std::move(name);
  op.durations = {{"", Duration(7)}};
  op.colocation = std::move(colocation);
  return op;
}

Problem of(std::vector<Operator> operators, std::uint32_t devices = 3) {
  return Problem::create(ComputationGraph::create("options", std::move(operators), {}, {}),
                         uniform_cluster(devices, {"compute"}, std::nullopt, Duration(1)));
}

/// "0 2 0+1": devices of the options in their order.
std::string text_of(const Problem& problem, std::size_t group) {
  std::string text;
  for (const Option& option : problem.options(GroupId(group))) {
    if (!text.empty()) text += ' ';
    for (const DeviceId device : option.devices) {
      if (device != option.devices.front()) text += '+';
      text += std::to_string(device.index());
    }
  }
  return text;
}

TEST(Options, are_single_devices_and_then_gangs_both_ascending) {
  const Problem problem = of({with_modes("op", {{{"gpu1", "gpu2"}, Duration(3), Bytes()},
                                                {{"gpu2"}, Duration(5), Bytes()},
                                                {{"gpu0", "gpu2"}, Duration(3), Bytes()},
                                                {{"gpu0"}, Duration(5), Bytes()}})});
  EXPECT_EQ(text_of(problem, 0), "0 2 0+2 1+2");
}

// a runs on 0, 1, 0+1 and 1+2; b on 1, 2, 0+1 and 0+2: both on 1, and on the gang 0+1.
TEST(Options, of_a_group_are_what_all_its_tasks_can_use) {
  const Problem problem = of({with_modes("a",
                                         {{{"gpu0"}, Duration(1), Bytes()},
                                          {{"gpu1"}, Duration(1), Bytes()},
                                          {{"gpu0", "gpu1"}, Duration(1), Bytes()},
                                          {{"gpu1", "gpu2"}, Duration(1), Bytes()}},
                                         "together"),
                              with_modes("b",
                                         {{{"gpu1"}, Duration(2), Bytes()},
                                          {{"gpu2"}, Duration(2), Bytes()},
                                          {{"gpu1", "gpu0"}, Duration(2), Bytes()},
                                          {{"gpu0", "gpu2"}, Duration(2), Bytes()}},
                                         "together")});
  ASSERT_EQ(problem.group_count(), 1U);
  EXPECT_EQ(text_of(problem, 0), "1 0+1");
  EXPECT_THAT(problem.devices_of(GroupId(0)), ElementsAre(DeviceId(1)));
  // With an operator that runs on any single device no gang is left.
  const Problem mixed =
      of({with_modes("a", {{{"gpu0"}, Duration(1), Bytes()}, {{"gpu0", "gpu1"}, Duration(1), Bytes()}}, "together"),
          anywhere("b", "together")});
  EXPECT_EQ(text_of(mixed, 0), "0");
}

TEST(Options, that_are_equal_have_one_address) {
  const Problem problem = of({anywhere("a"), anywhere("b"), with_modes("c", {{{"gpu1"}, Duration(1), Bytes()}})});
  EXPECT_EQ(problem.options(GroupId(0)).data(), problem.options(GroupId(1)).data());
  EXPECT_NE(problem.options(GroupId(0)).data(), problem.options(GroupId(2)).data());
  EXPECT_EQ(text_of(problem, 0), "0 1 2");
}

// Against the definition: a set of devices is an option if every task of the group has a mode on exactly that set.
TEST(Options, agree_with_their_definition_on_random_problems) {
  std::size_t gangs = 0;
  std::size_t groups = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    std::optional<Problem> problem;
    try {
      problem = testing::random_problem(seed).problem();
    } catch (const InputError&) {
      continue;
    }
    for (std::size_t g = 0; g < problem->group_count(); ++g) {
      const auto tasks = problem->tasks_of(GroupId(g));
      std::vector<std::vector<DeviceId>> expected;
      for (const bool wants_gang : {false, true}) {
        for (ModeIndex m = 0; m < problem->mode_count(tasks.front()); ++m) {
          const auto devices = problem->mode(tasks.front(), m).devices;
          const bool common = std::ranges::all_of(tasks, [&](TaskId task) {
            const auto mode = problem->mode_on(task, devices);
            return mode && std::ranges::equal(problem->mode(task, *mode).devices, devices);
          });
          if (common && (devices.size() > 1) == wants_gang) expected.emplace_back(devices.begin(), devices.end());
        }
      }
      std::vector<std::vector<DeviceId>> options;
      for (const Option& option : problem->options(GroupId(g))) {
        options.emplace_back(option.devices.begin(), option.devices.end());
        gangs += option.devices.size() > 1 ? 1 : 0;
      }
      ASSERT_EQ(options, expected) << seed;
      ASSERT_FALSE(options.empty()) << seed;
      ++groups;
    }
  }
  EXPECT_GT(groups, 500U);
  EXPECT_GT(gangs, 50U);
}

TEST(Options, modes_of_a_schedule_are_those_of_its_tasks) {
  EXPECT_THAT((Schedule{{{2, Duration(5)}, {0, Duration(1)}}, {}}.modes()), ElementsAre(2, 0));
}

TEST(SettingsOverride, replaces_what_it_names_and_lets_go_of_a_binding_for_other_numbers) {
  ProblemSettings settings;
  settings.training.microbatches = 4;
  settings.training.replicas = 2;
  settings.training.replica_of_microbatch = {0, 1, 0, 1};
  EXPECT_EQ(overridden(settings, {}), settings);
  const ProblemSettings limited = overridden(settings, {{}, {}, Contention::kLink, Bytes(9), Blocks::kStage});
  EXPECT_EQ(limited.training, settings.training);
  EXPECT_EQ(limited.contention, Contention::kLink);
  EXPECT_EQ(limited.memory_limit, Bytes(9));
  EXPECT_EQ(limited.blocks, Blocks::kStage);
  const ProblemSettings longer = overridden(settings, {8, {}, {}, {}, {}});
  EXPECT_EQ(longer.training.microbatches, 8U);
  EXPECT_EQ(longer.training.replicas, 2U);
  EXPECT_TRUE(longer.training.replica_of_microbatch.empty());
}

TEST(EqualDevices, differ_in_nothing_that_a_plan_depends_on) {
  const ComputationGraph graph = testing::tiny_diamond_graph();
  const ClusterParts equal = testing::tiny_cluster(Bytes(1000)).parts();
  const auto alike = [&](const ClusterParts& parts, Contention contention = Contention::kNone) {
    const Cluster cluster = Cluster::create(parts);
    ProblemSettings settings = default_settings(graph, cluster);
    settings.contention = contention;
    return devices_are_alike(Problem::create(graph, cluster, settings));
  };
  EXPECT_TRUE(alike(equal));
  EXPECT_TRUE(alike(equal, Contention::kLink)) << "the default link of an ordered pair serves that pair alone";
  ClusterParts other = equal;
  other.devices[1].memory = Bytes(999);
  EXPECT_FALSE(alike(other));
  other = equal;
  other.devices[1].streams.emplace_back("comm");
  EXPECT_FALSE(alike(other));
  other = equal;
  other.links = {Link{"wire", "d0", "d1", Duration(2), 100'000'000'000, true}};
  EXPECT_TRUE(alike(other));
  EXPECT_FALSE(alike(other, Contention::kLink)) << "who shares a link matters";
  EXPECT_FALSE(devices_are_alike(of({with_modes("op", {{{"gpu0"}, Duration(1), Bytes()}})})));
  Operator pinned = anywhere("pinned");
  pinned.devices = {{"gpu0", "gpu1"}};
  EXPECT_FALSE(devices_are_alike(of({pinned})));
  pinned.devices = {{"gpu0", "gpu1", "gpu2"}};
  EXPECT_TRUE(devices_are_alike(of({pinned})));
}

}  // namespace
}  // namespace opweave
