#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/strategy_insight.h"
#include "cli/terminal.h"
#include "opweave/bounds.h"
#include "opweave/error.h"
#include "opweave/explain.h"
#include "opweave/planner.h"
#include "opweave/what_if.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

struct Options {
  InputFiles files;
  std::filesystem::path plan;
  std::vector<double> link_speeds;
  std::vector<double> memories;
  std::vector<std::uint32_t> devices;
  std::vector<std::uint32_t> microbatches;
  std::vector<std::string> faster;
  double factor = 2;
  bool replan = false;
  std::optional<double> time_limit;
  std::optional<std::uint64_t> work_limit;
  unsigned threads = 1;
  std::uint32_t samples = 100;
  std::uint64_t seed = 1;
  std::filesystem::path output;
  bool json = false;
};

/// A changed problem. `same_tasks`: the plan's order means something in it.
struct Change {
  std::string what;
  Problem problem;
  bool same_tasks = true;
  std::string remark = {};
};

struct Outcome {
  std::string what;
  std::optional<Duration> same_order;
  std::optional<Duration> replanned;
  Duration bound;
  std::uint32_t microbatches = 1;
  std::string remark;
};

bool any_operator_is_free(const ComputationGraph& graph) {
  return std::ranges::any_of(graph.operators(),
                             [](const Operator& op) { return op.devices.empty() && op.modes.empty(); });
}

/// The kinds, or without kinds the operators, that take most of the critical path.
std::vector<std::string> longest_on_path(const Problem& problem, const Schedule& schedule, std::size_t count) {
  std::vector<std::pair<std::string, Duration>> sums;
  for (const PathStep& step : Explanation(problem, schedule).critical_path()) {
    if (!step.task) continue;
    const Operator& op = problem.op(*step.task);
    const std::string& name = op.kind.empty() ? op.name : op.kind;
    auto entry = std::ranges::find(sums, name, &std::pair<std::string, Duration>::first);
    if (entry == sums.end()) entry = sums.insert(sums.end(), {name, Duration()});
    entry->second += step.until - step.from;
  }
  std::ranges::stable_sort(sums, [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(count, sums.size()); ++i) names.push_back(sums[i].first);
  return names;
}

Problem with(const Problem& problem, ComputationGraph graph) {
  return Problem::create(std::move(graph), problem.cluster(), problem.settings());
}
Problem with(const Problem& problem, Cluster cluster) {
  return Problem::create(problem.graph(), std::move(cluster), problem.settings());
}

Problem with_microbatches(const Problem& problem, std::uint32_t microbatches) {
  ProblemSettings settings = problem.settings();
  settings.training.microbatches = microbatches;
  settings.training.replica_of_microbatch.clear();
  return Problem::create(problem.graph(), problem.cluster(), settings);
}

std::vector<Change> changes(const Problem& problem, const Schedule& schedule, Options options) {
  const bool standard = options.link_speeds.empty() && options.memories.empty() && options.devices.empty() &&
                        options.microbatches.empty() && options.faster.empty();
  if (standard) {
    options.link_speeds = {2};
    options.memories = {1.25};
    options.devices = {1};
    options.microbatches = {2 * problem.settings().training.microbatches};
    options.faster = longest_on_path(problem, schedule, 3);
  }
  std::vector<Change> result;
  for (const double factor : options.link_speeds) {
    result.push_back(
        {fmt::format("links {:g} times as fast", factor), with(problem, with_link_speed(problem.cluster(), factor))});
  }
  for (const double factor : options.memories) {
    result.push_back({fmt::format("memory times {:g}", factor), with_memory(problem, factor)});
  }
  for (const std::uint32_t count : options.devices) {
    result.push_back({count == 1 ? "one device more" : fmt::format("{} devices more", count),
                      with(problem, with_more_devices(problem.cluster(), count)), true,
                      any_operator_is_free(problem.graph()) ? "" : "every operator names its devices"});
  }
  for (const std::uint32_t count : options.microbatches) {
    result.push_back({fmt::format("{} microbatches", count),
                      naming("--microbatches", [&] { return with_microbatches(problem, count); }), false});
  }
  for (const std::string& which : options.faster) {
    result.push_back({fmt::format("{} {:g} times as fast", which, options.factor), naming("--faster", [&] {
                        return with(problem, with_faster(problem.graph(), which, options.factor));
                      })});
  }
  return result;
}

Budget budget_of(const Options& options, const std::atomic<bool>& interrupted) {
  const std::optional<double> seconds =
      options.time_limit || options.work_limit ? options.time_limit : std::optional<double>(10);
  Budget budget(seconds, options.work_limit);
  budget.watch(&interrupted);
  return budget;
}

Outcome outcome(const Change& change, const Schedule& schedule, const Options& options,
                const std::atomic<bool>& interrupted) {
  Outcome result;
  result.what = change.what;
  result.remark = change.remark;
  result.microbatches = change.problem.settings().training.microbatches;
  if (const auto proofs = infeasibility_proofs(change.problem); !proofs.empty()) {
    result.remark = "no plan exists";
    return result;
  }
  if (change.same_tasks) {
    const Replay played = replay(change.problem, schedule);
    if (played.fits_memory) {
      result.same_order = played.makespan;
    } else {
      result.remark = "exceeds memory";
    }
  }
  if (!options.replan) {
    result.bound = lower_bounds(change.problem).front().value;
    return result;
  }
  PlannerOptions planner;
  planner.seed = options.seed;
  planner.threads = options.threads;
  // What was possible before is possible with more.
  if (change.same_tasks) planner.warm_start = carried_over(change.problem, schedule);
  ProgressLine progress;
  planner.on_progress = [&progress](const Progress& state) { progress.show(state); };
  const PlanResult planned = plan(change.problem, budget_of(options, interrupted), planner);
  if (planned.plan) {
    result.replanned = planned.plan->statistics.makespan;
    result.bound = planned.plan->lower_bound();
  } else {
    result.remark = planned.reason == PlanResult::Reason::kInfeasible ? "no plan exists" : "no plan found";
    if (!planned.bounds.empty()) result.bound = planned.bounds.front().value;
  }
  return result;
}

/// Per microbatch, so that other counts compare.
double per_microbatch(Duration makespan, std::uint32_t microbatches) {
  return static_cast<double>(makespan.value()) / microbatches;
}

std::string bar(double share, bool unicode) {
  constexpr std::size_t kWidth = 24;
  const auto filled = static_cast<std::size_t>(std::clamp(share * kWidth + 0.5, 0.0, 1.0 * kWidth));
  std::string text;
  for (std::size_t i = 0; i < filled; ++i) text += unicode ? "█" : "#";
  return text;
}

/// A table without the columns that nothing but the heading fills.
std::string filled_columns(std::vector<std::vector<std::string>> rows) {
  for (std::size_t c = rows.front().size(); c-- > 0;) {
    const bool is_empty = std::all_of(rows.begin() + 1, rows.end(), [c](const auto& row) { return row[c].empty(); });
    if (!is_empty) continue;
    for (auto& row : rows) row.erase(row.begin() + static_cast<std::ptrdiff_t>(c));
  }
  return table(rows);
}

std::string changes_table(const std::vector<Outcome>& outcomes, Duration makespan, std::uint32_t microbatches,
                          bool replan) {
  const bool unicode = terminal("never").unicode;
  const auto best = [](const Outcome& o) { return o.replanned ? o.replanned : o.same_order; };
  const double now = per_microbatch(makespan, microbatches);
  double longest = std::max(now, 1.0);
  for (const Outcome& o : outcomes) {
    if (const auto value = best(o)) longest = std::max(longest, per_microbatch(*value, o.microbatches));
  }
  std::vector<std::vector<std::string>> rows = {{"change", "same order", "replanned", "lower bound", "per microbatch",
                                                 "change", "per microbatch, drawn", "remark"}};
  rows.push_back(
      {"as planned", human(makespan), "", "", human(Duration(std::llround(now))), "", bar(now / longest, unicode), ""});
  for (const Outcome& o : outcomes) {
    const auto value = best(o);
    const double each = value ? per_microbatch(*value, o.microbatches) : 0;
    rows.push_back({o.what, o.same_order ? human(*o.same_order) : "-",
                    o.replanned ? human(*o.replanned)
                    : replan    ? "-"
                                : "",
                    human(o.bound), value ? human(Duration(std::llround(each))) : "-",
                    value && now > 0 ? fmt::format("{:+.1f}%", 100 * (each / now - 1)) : "-",
                    value ? bar(each / longest, unicode) : "", o.remark});
  }
  return filled_columns(std::move(rows));
}

std::string robustness_table(const std::vector<Robustness>& all, Duration makespan) {
  const auto more = [&](Duration value) {
    const auto planned = static_cast<double>(makespan.value());
    return fmt::format("{:+.1f}%", planned > 0 ? 100 * (static_cast<double>(value.value()) / planned - 1) : 0);
  };
  std::vector<std::vector<std::string>> rows = {
      {"durations vary by", "samples", "median", "to plan", "95th percentile", "to plan", "worst"}};
  for (const Robustness& r : all) {
    rows.push_back({fmt::format("{:g}%", 100 * r.spread), std::to_string(r.samples), human(r.median), more(r.median),
                    human(r.percentile95), more(r.percentile95), human(r.worst)});
  }
  return table(rows);
}

nlohmann::ordered_json to_json(const std::vector<Outcome>& outcomes, const std::vector<Robustness>& robust,
                               Duration makespan) {
  const auto value = [](std::optional<Duration> time) {
    return time ? nlohmann::ordered_json(time->value()) : nlohmann::ordered_json();
  };
  auto rows = nlohmann::ordered_json::array();
  for (const Outcome& o : outcomes) {
    rows.push_back({{"change", o.what},
                    {"same_order_ns", value(o.same_order)},
                    {"replanned_ns", value(o.replanned)},
                    {"lower_bound_ns", o.bound.value()},
                    {"microbatches", o.microbatches},
                    {"remark", o.remark}});
  }
  auto samples = nlohmann::ordered_json::array();
  for (const Robustness& r : robust) {
    samples.push_back({{"spread", r.spread},
                       {"samples", r.samples},
                       {"median_ns", r.median.value()},
                       {"percentile95_ns", r.percentile95.value()},
                       {"worst_ns", r.worst.value()}});
  }
  return {{"makespan_ns", makespan.value()}, {"changes", rows}, {"robustness", samples}};
}

ExitCode run(const Options& options) {
  expect_files({{"--output", options.output}}, options.files.with({{"PLAN", options.plan}}));
  const PlannedProblem planned = load_valid_plan(options.files, options.plan);
  const Problem& problem = planned.problem;
  const Schedule schedule = to_schedule(problem, planned.plan);
  const Duration makespan = planned.plan.statistics.makespan;
  const std::uint32_t microbatches = problem.settings().training.microbatches;
  const std::atomic<bool>& interrupted = catch_interrupts();

  std::vector<Outcome> outcomes;
  for (const Change& change : changes(problem, schedule, options)) {
    if (interrupted) break;
    outcomes.push_back(outcome(change, schedule, options, interrupted));
  }
  std::vector<Robustness> robust;
  Budget unlimited;
  unlimited.watch(&interrupted);
  for (const double spread : {0.01, 0.02, 0.05, 0.1, 0.2}) {
    if (options.samples == 0 || interrupted) break;
    robust.push_back(robustness(problem, schedule, spread, options.samples, options.seed, unlimited));
  }
  if (options.json || !options.output.empty()) {
    deliver(options.output, to_json(outcomes, robust, makespan).dump(2) + "\n");
  } else {
    std::string text = changes_table(outcomes, makespan, microbatches, options.replan);
    if (!options.replan) {
      text += "\"same order\" keeps placement and order; with --replan each change is planned anew.\n";
    }
    print(text + (robust.empty() ? "" : "\n" + robustness_table(robust, makespan)));
  }
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

}  // namespace

void add_what_if(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("what-if", "what another cluster, graph or luck would do to a plan");
  command->footer(
      "Without changes on the command line: links twice as fast, memory times 1.25, one device more, twice the\n"
      "microbatches, and the three kinds of operators that fill most of the critical path twice as fast.\n"
      "Each change is alone. Then the order is run with durations varied by 1 to 20 percent (docs/what-if.md).\n"
      "For a strategy alone (opweave.strategy): more and fewer nodes, a faster fabric, more memory, longer sequences "
      "and\n"
      "a larger batch, with the best strategy for each.\n\n"
      "Examples:\n"
      "  opweave what-if graph.json cluster.json plan.json\n"
      "  opweave what-if graph.json cluster.json plan.json --replan --time-limit 5\n"
      "  opweave what-if graph.json cluster.json plan.json --link-speed 2 4 --faster attention --factor 1.5\n"
      "  opweave what-if strategy.json");
  options->files.add_to(*command);
  command->get_option("CLUSTER")->required(false);
  command->add_option("PLAN", options->plan, "plan (JSON)")->check(file_name());
  command->add_option("--link-speed", options->link_speeds, "every link this many times as fast")
      ->check(number_between(1e-3, 1e6));
  command->add_option("--memory", options->memories, "every capacity times this")->check(number_between(0, 1e6));
  command->add_option("--devices", options->devices, "this many devices more, like the last one")
      ->check(whole_between(1, 1024));
  command->add_option("--microbatches", options->microbatches, "another number of microbatches")
      ->check(whole<std::uint32_t>(1));
  command->add_option("--faster", options->faster, "operators of this name or kind, --factor times as fast");
  command->add_option("--factor", options->factor, "of --faster")
      ->check(number_between(1e-3, 1e6))
      ->capture_default_str();
  command->add_flag("--replan", options->replan, "plan each change anew");
  command->add_option("--time-limit", options->time_limit, "seconds of planning for each change [10]")->check(number());
  command->add_option("--work-limit", options->work_limit, "evaluations for each change")
      ->check(whole<std::uint64_t>());
  command->add_option("--threads", options->threads, "threads of the search")
      ->check(whole<unsigned>(1))
      ->capture_default_str();
  command->add_option("--samples", options->samples, "runs with varied durations for each spread; 0 = none")
      ->check(whole<std::uint32_t>())
      ->capture_default_str();
  command->add_option("--seed", options->seed, "seed of samples and search")
      ->check(whole<std::uint64_t>())
      ->capture_default_str();
  command->add_option("-o,--output", options->output, "write JSON here")->check(file_name());
  command->add_flag("--json", options->json, "JSON on standard output");
  command->callback([options, &action] {
    if (options->plan.empty() && options->files.cluster.empty() && is_strategy_file(options->files.graph)) {
      action = [options] { return what_if_strategy(options->files.graph, options->time_limit.value_or(10)); };
      return;
    }
    expect_plan(options->files, options->plan);
    action = [options] {
      options->threads = used_threads(options->threads);
      return run(*options);
    };
  });
}

}  // namespace opweave::cli
