/// Memory modes: random pipelines short of memory, each against plans that need no search over modes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "bench.h"
#include "memory_modes/levers.h"
#include "support/random_mode_pipelines.h"

namespace opweave::bench {
namespace {

constexpr std::uint64_t kPipelines = 30;
constexpr double kUnit = 1e6;         // ns
constexpr double kTolerance = 1.001;  // of a time that is no longer

using Value = std::optional<double>;

Value least(Value a, Value b) { return a && b ? std::min(*a, *b) : a ? a : b; }

Problem with_modes(const Problem& problem, MemoryModes modes) {
  ProblemSettings settings = problem.settings();
  settings.memory_modes = modes;
  return Problem::create(problem.graph(), problem.cluster(), std::move(settings));
}

Value makespan_of(const PlanResult& result) {
  if (!result.plan) return std::nullopt;
  return static_cast<double>(result.plan->statistics.makespan.value()) / kUnit;
}

PlannerOptions planner_of(const Options& options) {
  PlannerOptions planner;
  planner.seed = options.seed;
  planner.threads = options.threads;
  return planner;
}

/// The units that are among the first `count` of their stage, in this mode in all microbatches.
ProblemWithMovements first_of_stages(const Problem& problem, MemoryMode mode, std::uint32_t count) {
  MemoryChoice choice(problem.value_count(), MemoryMode::kKeep);
  for (const UnitLevers& unit : levers_of(problem)) {
    if (unit.rank_in_stage >= count) continue;
    const auto lever = std::ranges::find(unit.levers, mode, &Lever::mode);
    if (lever == unit.levers.end()) continue;
    for (const TensorId tensor : lever->tensors) {
      for (std::uint32_t m = 0; m < problem.settings().training.microbatches; ++m) {
        choice[problem.value_of(tensor, m).index()] = mode;
      }
    }
  }
  return ProblemWithMovements::create(problem, std::move(choice), Return::kJustInTime);
}

std::uint32_t units_per_stage(const Problem& problem) {
  std::uint32_t result = 0;
  for (const UnitLevers& unit : levers_of(problem)) result = std::max(result, unit.rank_in_stage + 1);
  return result;
}

/// The best published schedule that fits, with so many layers of each stage made again, or on hosts.
Value best_rule(const Problem& problem, MemoryMode mode) {
  Value best;
  for (std::uint32_t count = 1; count <= units_per_stage(problem); ++count) {
    const auto derived = first_of_stages(problem, mode, count);
    const std::optional<ExpertPlan> expert = best_expert(derived.problem());
    if (!expert) continue;
    best = least(best, static_cast<double>(expert->schedule.makespan(derived.problem()).value()) / kUnit);
  }
  return best;
}

Value everything(const Problem& problem, MemoryMode mode, const Options& options) {
  const auto derived = first_of_stages(problem, mode, units_per_stage(problem));
  return makespan_of(plan(derived.problem(), Budget(options.seconds, std::nullopt), planner_of(options)));
}

struct Contest {
  MemoryModes modes;
  Value other;  ///< the shortest of the plans that ours must not lose against
  Value ours;
  double bound = 0;
};

void plan_contest(const Problem& problem, const Options& options, Contest& contest) {
  const PlanResult result = plan_with_memory_modes(with_modes(problem, contest.modes),
                                                   Budget(options.seconds, std::nullopt), planner_of(options));
  contest.ours = makespan_of(result);
  if (!result.bounds.empty()) contest.bound = static_cast<double>(result.bounds.front().value.value()) / kUnit;
}

struct Summary {
  std::size_t contests = 0, lost = 0;
  std::vector<double> ratios;  ///< ours / the best of the others
  std::vector<double> gaps;

  void add(const Contest& contest) {
    if (!contest.ours && !contest.other) return;
    ++contests;
    if (!contest.ours || (contest.other && *contest.ours > *contest.other * kTolerance)) ++lost;
    if (contest.ours && contest.other) ratios.push_back(*contest.ours / *contest.other);
    if (contest.ours) gaps.push_back((*contest.ours - contest.bound) / *contest.ours);
  }
};

std::string text_of(Value value) { return value ? fmt::format("{:.2f}", *value) : "-"; }

double part_of(std::vector<double>& values, double part) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
}

}  // namespace

void run_memory_modes(const Options& options, const Emit& emit) {
  emit(
      "Milliseconds. Keep: the plan without modes. All dropped, all on hosts: the plan where every layer is, in all "
      "microbatches. Experts: the best published schedule that fits with some layers of every stage made again, or on "
      "hosts, as many as is best. Ours must be no longer than any of those that its modes allow, by more than 0.1 %.");
  emit("");
  emit(
      "| instance | keep | all dropped | experts drop | all on hosts | experts host | ours drop | bound | ours host | "
      "bound | ours drop, host | ours / least of the others |");
  emit("|---|---|---|---|---|---|---|---|---|---|---|---|");
  Summary drop, host, both;
  for (std::uint64_t seed = 1; seed <= kPipelines; ++seed) {
    const testing::ModePipeline pipeline = testing::random_mode_pipeline(seed);
    if (!options.chooses(pipeline.name)) continue;
    const Problem& problem = pipeline.problem;
    const Problem may = with_modes(problem, {true, true});
    const Value keep = makespan_of(plan(problem, Budget(options.seconds, std::nullopt), planner_of(options)));
    const Value dropped = everything(may, MemoryMode::kDrop, options);
    const Value hosted = everything(may, MemoryMode::kHost, options);
    const Value drop_rule = best_rule(may, MemoryMode::kDrop);
    const Value host_rule = best_rule(may, MemoryMode::kHost);
    Contest contests[] = {{{true, false}, least(keep, least(dropped, drop_rule)), {}, 0},
                          {{false, true}, least(keep, least(hosted, host_rule)), {}, 0},
                          {{true, true}, {}, {}, 0}};
    for (Contest& contest : contests) plan_contest(problem, options, contest);
    contests[2].other = least(least(contests[0].other, contests[1].other), least(contests[0].ours, contests[1].ours));
    std::string ratios;
    for (const Contest& contest : contests) {
      ratios += contest.ours && contest.other ? fmt::format(" {:.4f}", *contest.ours / *contest.other) : " -";
    }
    emit(fmt::format("| {} | {} | {} | {} | {} | {} | {} | {:.2f} | {} | {:.2f} | {} |{} |", pipeline.name,
                     text_of(keep), text_of(dropped), text_of(drop_rule), text_of(hosted), text_of(host_rule),
                     text_of(contests[0].ours), contests[0].bound, text_of(contests[1].ours), contests[1].bound,
                     text_of(contests[2].ours), ratios));
    drop.add(contests[0]);
    host.add(contests[1]);
    both.add(contests[2]);
  }
  emit("");
  const auto conclude = [&](const char* name, Summary& summary) {
    emit(
        fmt::format("{}: longer than another plan on {} of {} pipelines; ours / the least of the others median "
                    "{:.4f}, worst {:.4f}; gap median {:.2f} %, worst {:.2f} %.",
                    name, summary.lost, summary.contests, part_of(summary.ratios, 0.5), part_of(summary.ratios, 1),
                    100 * part_of(summary.gaps, 0.5), 100 * part_of(summary.gaps, 1)));
  };
  conclude("drop", drop);
  emit("");
  conclude("host", host);
  emit("");
  conclude("drop, host (against those with one of them too)", both);
}

}  // namespace opweave::bench
