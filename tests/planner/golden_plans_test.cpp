// Plans of many kinds of problems under a work limit, to the byte: what a change that only moves code must not change.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "exact/schedule_space.h"
#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/pipeline.h"
#include "opweave/planner.h"
#include "support/equal_layers.h"
#include "support/files.h"
#include "support/job_shop.h"
#include "support/mergeable_problems.h"
#include "support/pipelines.h"
#include "support/random_problems.h"
#include "support/random_training_pipelines.h"
#include "support/tight_problems.h"
#include "support/tiny_diamond.h"
#include "support/varied_problem.h"

namespace opweave::testing {
namespace {

constexpr std::uint64_t kWork = 60;           // evaluations for the makespan
constexpr std::uint64_t kSearchWork = 800;    // parts of searches begin at 100
constexpr std::uint64_t kShortWork = 20;      // for other objectives, each of which plans several times
constexpr std::size_t kMostShortTasks = 100;  // of a problem that is planned for other objectives

struct Golden {
  std::string name;
  Problem problem;
};

/// FNV-1a of a text, as 16 hex digits.
std::string digest(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return fmt::format("{:016x}", hash);
}

/// The first `count` problems of a generator that may be rejected, or have no plan.
void add(std::vector<Golden>& list, std::string_view kind, std::size_t count,
         const std::function<Problem(std::uint64_t)>& make) {
  std::size_t found = 0;
  for (std::uint64_t seed = 1; found < count; ++seed) {
    try {
      Problem problem = make(seed);
      PlannerOptions options;
      options.method = Method::kHeuristic;
      const bool has_plan = plan(problem, Budget(std::nullopt, 0), options).plan.has_value();
      if (!has_plan || problem.task_count() < 4) continue;
      list.push_back({fmt::format("{}-{}", kind, seed), std::move(problem)});
      ++found;
    } catch (const InputError&) {  // tasks that must share a device that none of them has
    }
  }
}

Problem example(const std::string& name, PipelineShape shape, std::uint32_t devices, std::uint32_t microbatches,
                Contention contention = Contention::kNone) {
  PipelineSpec spec = parse_pipeline_spec(content_of(source_dir() / "examples" / name / "pipeline.json"), name);
  spec.shape = shape;
  spec.training.microbatches = microbatches;
  for (std::uint32_t d = 0; d < devices; ++d) spec.devices.push_back(fmt::format("gpu{}", d));
  ComputationGraph graph = build_pipeline(spec);
  Cluster cluster = uniform_cluster(devices, {"compute", "comm"}, std::nullopt, Duration(10'000), 100'000'000'000);
  ProblemSettings settings = default_settings(graph, cluster);
  settings.contention = contention;
  return Problem::create(std::move(graph), std::move(cluster), std::move(settings));
}

Problem in_blocks(const Problem& problem, Blocks blocks) {
  ProblemSettings settings = problem.settings();
  settings.blocks = blocks;
  return Problem::create(problem.graph(), problem.cluster(), std::move(settings));
}

std::vector<Golden> golden_problems() {
  std::vector<Golden> list;
  list.push_back({"diamond", Problem::create(tiny_diamond_graph({3, 1, {}, 0, 0}), tiny_cluster())});
  list.push_back({"diamond-replicas", Problem::create(tiny_diamond_graph({4, 2, {}, 0, 0}), tiny_cluster(Bytes(600)))});
  add(list, "random", 7, [](std::uint64_t seed) { return random_problem(seed).problem(); });
  add(list, "free", 4, [](std::uint64_t seed) {
    return random_problem(seed + 500, {.most_tasks = 24, .pinned_percent = 10, .memory_percent = 30}).problem();
  });
  add(list, "enlarged", 2, [](std::uint64_t seed) { return enlarged(random_problem(seed + 90), seed).problem(); });
  add(list, "tight", 5, [](std::uint64_t seed) { return tight_problem(seed, 7).problem(); });
  add(list, "pipeline", 4, [](std::uint64_t seed) { return random_pipeline(seed).problem(); });
  add(list, "varied", 6, [](std::uint64_t seed) {
    Random random(seed);
    std::optional<Problem> problem = varied_problem(random);
    if (!problem) throw InputError("contradictory");
    return *std::move(problem);
  });
  add(list, "job-shop", 1, [](std::uint64_t seed) { return random_job_shop(seed, 5, 5, 4); });
  list.push_back({"heavy-layers", heavy_layers(60, 3)});
  list.push_back({"equal-layers", equal_layers({.layers = 4, .has_gradients = true, .latency = Duration(2)})});
  list.push_back({"linear", stage_pipeline({PipelineShape::kLinear, 4, 8, 1, 1.2, .8, .1, {4, 4, 4, 4}})});
  list.push_back({"v", stage_pipeline({PipelineShape::kV, 4, 8, 1, 1.2, .8, .1, {3, 3, 3, 3}})});
  list.push_back({"loop", stage_pipeline({PipelineShape::kLoop, 2, 6, 1, 1, 1, 0, {}})});
  list.push_back({"two-way", stage_pipeline({PipelineShape::kTwoWay, 4, 8, 1, 1, 1, 0, {}})});
  list.push_back({"training-pipeline", random_training_pipeline(3, 6, 10).problem});
  list.push_back({"objectives", example("objectives", PipelineShape::kFree, 4, 2)});
  list.push_back({"two-tower", example("two-tower", PipelineShape::kFree, 4, 2, Contention::kEndpoint)});
  list.push_back({"vision-language", example("vision-language", PipelineShape::kFree, 4, 1, Contention::kLink)});
  const Problem stages = stage_pipeline({PipelineShape::kV, 2, 4, 1, 1, .5, .1, {}});
  list.push_back({"stages-in-blocks", in_blocks(stages, Blocks::kStage)});
  list.push_back({"layers-in-blocks", in_blocks(example("objectives", PipelineShape::kFree, 3, 1), Blocks::kLayer)});
  return list;
}

std::string line_of_plan(const Problem& problem, std::uint64_t work, std::vector<Objective> objectives) {
  PlannerOptions options;
  options.method = Method::kHeuristic;  // plans of solvers depend on their versions
  options.objectives = std::move(objectives);
  const PlanResult result = plan(problem, Budget(std::nullopt, work), options);
  if (!result.plan) return fmt::format("no plan {}", digest(result.detail));
  EXPECT_TRUE(check(problem.graph(), problem.cluster(), *result.plan, 1).empty());
  Plan plan = *result.plan;
  plan.provenance = {};
  return fmt::format("{} {}", plan.statistics.makespan.value(),
                     digest(plan_to_json(plan, problem.graph(), problem.cluster())));
}

/// Options, modes and deliveries that formulations choose from.
std::string line_of_space(const Problem& problem) {
  const exact::ScheduleSpace space(problem, exact::exact_unit(problem));
  std::string text;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const auto& options = space.options(problem.group_of(TaskId(t)));
    for (std::uint32_t o = 0; o < options.size(); ++o) {
      text += fmt::format("{}", space.mode(TaskId(t), o));
      for (const DeviceId device : options[o].devices) text += fmt::format(" {}", device.index());
      text += ';';
    }
  }
  for (const auto& delivery : space.deliveries()) {
    text += fmt::format("{}>{}", delivery.value.index(), delivery.destination.index());
    for (const auto& source : delivery.sources) text += fmt::format(" {}:{}", source.device.index(), source.duration);
  }
  return fmt::format("{} {}", space.horizon(), digest(text));
}

std::string line_of_bounds(const Problem& problem) {
  std::string text;
  const std::vector<LowerBound> bounds = lower_bounds(problem);
  for (const LowerBound& bound : bounds)
    text += fmt::format("{} {} {};", bound.name, bound.value.value(), bound.detail);
  return fmt::format("{} {}", bounds.front().value.value(), digest(text));
}

/// Every problem with every method: "name method value digest".
std::string golden_lines() {
  constexpr Objective kOthers[] = {Objective::kPeriod, Objective::kPeakMemory, Objective::kDevices,
                                   Objective::kCommunication, Objective::kUtilisation};
  std::string lines;
  std::size_t turn = 0;
  for (const auto& [name, problem] : golden_problems()) {
    const auto tell = [&](std::string_view method, const std::string& line) {
      lines += fmt::format("{} {} {}\n", name, method, line);
    };
    tell("plan", line_of_plan(problem, kWork, {Objective::kMakespan}));
    tell("search", line_of_plan(problem, kSearchWork, {Objective::kMakespan}));
    if (problem.task_count() <= kMostShortTasks) {
      const Objective objective = kOthers[turn++ % std::size(kOthers)];
      tell(to_string(objective), line_of_plan(problem, kShortWork, {objective, Objective::kMakespan}));
    }
    tell("bounds", line_of_bounds(problem));
    tell("space", line_of_space(problem));
  }
  return lines;
}

TEST(GoldenPlans, are_the_same_to_the_byte) {
  const std::string actual = golden_lines();
  EXPECT_EQ(golden(tests_dir() / "golden/plans.txt", actual), actual)
      << "plans under a work limit have changed. Where the change was meant to move code alone, it is wrong. Where it "
         "was meant to change plans, run scripts/update-golden-plans, see in `git diff tests/golden/plans.txt` whether "
         "makespans went down, and commit the file with the change.";
}

}  // namespace
}  // namespace opweave::testing
