#include "cli/parallelize_schedule.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/output.h"
#include "cli/progress.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/io.h"
#include "opweave/representatives.h"
#include "opweave/strategy_targets.h"
#include "report/comparison.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

/// A pipeline of one shape, planned.
struct Shaped {
  std::string name;  ///< "linear", "V", "loop of 2"
  Problem problem;
  PlanResult result;
  Comparison comparison;
};

struct Row {
  std::string name;
  std::string shape;
  Duration step;
  bool fits = false;
  Bytes peak;  ///< of the memory that layers may use
};

/// Shapes that the layers allow: linear, and a loop of the strategy's chunks, as the strategy cuts them, so that its
/// own schedule has the memory that its formulas say; V and other loops by the cut that is best for them.
std::vector<std::pair<std::string, PipelineSpec>> shapes(const Representatives& parts, const Strategy& strategy) {
  std::vector<std::pair<std::string, PipelineSpec>> result;
  const auto layers = static_cast<std::uint32_t>(parts.spec.layers.size());
  const auto add = [&](std::string name, PipelineShape shape, std::uint32_t stages) {
    PipelineSpec spec = parts.spec;
    spec.shape = shape;
    const bool is_own_loop = shape == PipelineShape::kLoop && stages == strategy.chunks * strategy.pipeline;
    if (shape == PipelineShape::kLinear) {
      spec.stage_of_layer = parts.stage_of_layer;
    } else if (is_own_loop && !parts.stage_of_looped_layer.empty()) {
      spec.stage_of_layer = parts.stage_of_looped_layer;
    } else {
      if (stages > layers) return;
      CutRequest request;
      request.stages = stages;
      (void)cut_pipeline(spec, request, parts.cluster);
    }
    result.emplace_back(std::move(name), with_joined_stages(spec));
  };
  add("linear", PipelineShape::kLinear, strategy.stages());
  if (strategy.component) return result;  // its devices have their own layers alone
  add("V", PipelineShape::kV, 2 * strategy.pipeline);
  add("loop of 2", PipelineShape::kLoop, 2 * strategy.pipeline);
  if (strategy.chunks > 2) {
    add(fmt::format("loop of {}", strategy.chunks), PipelineShape::kLoop, strategy.chunks * strategy.pipeline);
  }
  return result;
}

bool fits(const Problem& problem, const Schedule& schedule) {
  const PlanStatistics figures = statistics(problem, schedule);
  for (std::uint32_t i = 0; i < figures.devices.size(); ++i) {
    const auto capacity = problem.capacity(DeviceId(i));
    if (capacity && figures.devices[i].peak_memory > *capacity) return false;
  }
  return true;
}

/// The shortest published schedule that fits: what there is if the search is stopped at once.
std::optional<Schedule> best_published(const Problem& problem) {
  std::optional<Schedule> best;
  for (ExpertPlan& expert : expert_plans(problem)) {
    const bool is_shorter = !best || expert.schedule.makespan(problem) < best->makespan(problem);
    if (is_shorter && fits(problem, expert.schedule)) best = std::move(expert.schedule);
  }
  return best;
}

/// Files that other commands read.
void write(const std::filesystem::path& folder, const Shaped& best) {
  const Problem& problem = best.problem;
  const std::array texts = {graph_to_json(problem.graph()), cluster_to_json(problem.cluster()),
                            plan_to_json(*best.result.plan, problem.graph(), problem.cluster())};
  for (std::size_t i = 0; i < texts.size(); ++i) deliver(folder / kScheduleFiles[i], texts[i]);
}

std::vector<Row> rows_of(const std::vector<Shaped>& all, Duration outside) {
  std::vector<Row> rows;
  for (const Shaped& shaped : all) {
    // The last row is the plan where there is one.
    const std::size_t published = shaped.comparison.schedules.size() - (shaped.result.plan ? 1 : 0);
    for (std::size_t i = 0; i < published; ++i) {
      const ComparisonRow& row = shaped.comparison.schedules[i].row;
      rows.push_back({row.name, shaped.name, row.makespan + outside, row.fits_memory, row.peak_memory});
    }
    if (shaped.result.plan) {
      const ComparisonRow& row = shaped.comparison.schedules.back().row;
      rows.push_back({"opweave", shaped.name, row.makespan + outside, true, row.peak_memory});
    }
  }
  std::ranges::stable_sort(rows,
                           [](const Row& a, const Row& b) { return a.fits != b.fits ? b.fits : a.step > b.step; });
  return rows;
}

/// Where the strategy's own schedule, which fits by the formulas, does not fit here: why, and what to do.
std::string own_schedule_text(const std::vector<Row>& rows, const Strategy& strategy, const Cluster& cluster) {
  const std::string shape = strategy.chunks > 1 ? fmt::format("loop of {}", strategy.chunks) : "linear";
  const std::string name(to_string(strategy.schedule));
  // Published schedules of more than two chunks say how many behind their name.
  const auto own = std::ranges::find_if(rows, [&](const Row& row) {
    return row.shape == shape && (row.name == name || row.name.starts_with(name + " ("));
  });
  if (own == rows.end() || own->fits) return {};
  const Bytes room = *cluster.devices().front().memory;
  return fmt::format(
      "\n{0} of the strategy does not fit operator by operator: a device holds up to {1}, {2} more than layers may "
      "use.\n"
      "The formulas count a stage's mean activations for the microbatches in flight; operators hold each value until "
      "its last reader.\nThe schedule \"opweave\" fits. To stay with {0}, search again with less memory_bytes in a "
      "file "
      "of machines.\n",
      name, human(own->peak), human(own->peak - room));
}

PlannedSchedule describe(const std::vector<Row>& rows, const Shaped& best, Duration outside, Duration by_formulas,
                         const Strategy& strategy, const Cluster& cluster) {
  const std::string_view own = to_string(strategy.schedule);
  const Duration step = best.result.plan->statistics.makespan + outside;
  const Duration bound = best.comparison.bound.value + outside;
  std::vector<std::vector<std::string>> lines = {{"schedule", "stages", "step", "fits"}};
  auto list = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    lines.push_back({row.name, row.shape, human(row.step), row.fits ? "yes" : "no"});
    list.push_back({{"name", row.name}, {"stages", row.shape}, {"step_ns", row.step.value()}, {"fits", row.fits}});
  }
  PlannedSchedule result;
  result.text = fmt::format(
      "\npipeline planned operator by operator: {} a step ({} by the formulas of {}), no schedule of these stages "
      "takes less than {}\n\n{}{}",
      human(step), human(by_formulas), own, human(bound), table(lines), own_schedule_text(rows, strategy, cluster));
  result.json = {{"step_ns", step.value()},
                 {"bound_ns", bound.value()},
                 {"outside_ns", outside.value()},
                 {"formulas_ns", by_formulas.value()},
                 {"schedule", own},
                 {"stages", best.name},
                 {"schedules", list}};
  return result;
}

}  // namespace

PlannedSchedule plan_schedule(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                              const Strategy& strategy, const CalibrationProfile& profile,
                              const ScheduleRequest& request, const Budget& budget) {
  if (strategy.stages() == 1) throw InputError("--schedule: the strategy has one stage, so there is nothing to order");
  Strategy cut = strategy;
  if (cut.layers_per_stage.empty() && cut.component) {
    cut.layers_per_stage = layers_of_stages(model, cut);
  } else if (cut.layers_per_stage.empty()) {
    const auto layers = static_cast<std::uint32_t>(model.layer_count());
    for (std::uint32_t i = 0; i < cut.pipeline; ++i) {
      cut.layers_per_stage.push_back(layers / cut.pipeline + (i < layers % cut.pipeline ? 1 : 0));
    }
  }
  const Representatives parts = representatives(model, machines, run, cut, profile);
  const auto wanted = shapes(parts, cut);
  std::vector<Shaped> all;
  PlannerOptions planner;
  planner.seed = request.seed;
  planner.threads = request.threads;
  ProgressLine progress;
  planner.on_progress = [&progress](const Progress& state) { progress.show(state); };
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto& [name, spec] = wanted[i];
    Problem problem = Problem::create(build_pipeline(spec), parts.cluster);
    planner.warm_start = best_published(problem);
    PlanResult result = plan(problem, budget.share(1.0 / static_cast<double>(wanted.size() - i)), planner);
    Comparison comparison = compare_schedules(problem, result.plan ? &*result.plan : nullptr);
    all.push_back({name, std::move(problem), std::move(result), std::move(comparison)});
  }
  const Shaped* best = nullptr;
  for (const Shaped& shaped : all) {
    if (!shaped.result.plan) continue;
    if (best == nullptr || shaped.result.plan->statistics.makespan < best->result.plan->statistics.makespan) {
      best = &shaped;
    }
  }
  if (best == nullptr) throw InputError("--schedule: no schedule of the strategy's stages was found in time");
  write(request.folder, *best);
  const Duration by_formulas = evaluate(model, machines, run, strategy, profile).time.step;
  return describe(rows_of(all, parts.outside), *best, parts.outside, by_formulas, strategy, parts.cluster);
}

}  // namespace opweave::cli
