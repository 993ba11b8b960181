#include <fmt/format.h>

#include <memory>
#include <thread>

#include "cli/command.h"
#include "cli/comparison.h"
#include "cli/format.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "opweave/check.h"
#include "opweave/io.h"
#include "opweave/planner.h"
#include "opweave/report.h"

namespace opweave::cli {
namespace {

struct Options {
  InputFiles files;
  SettingOptions settings;
  std::filesystem::path output;
  std::filesystem::path report;
  std::filesystem::path trace;
  std::optional<double> time_limit;
  std::optional<std::uint64_t> work_limit;
  std::uint64_t seed = 1;
  unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  std::string method = "auto";
  std::filesystem::path warm_start;
};

Method parse_method(const std::string& text) {
  if (const auto method = method_from_string(text)) return *method;
  throw InputError(
      fmt::format("--method: value is \"{}\", expected auto, heuristic, mip, mip-time-indexed or cp", text));
}

/// The schedule of a plan file, which must be valid for this problem whatever the plan's own settings say.
Schedule load_warm_start(const std::filesystem::path& path, const Problem& problem) {
  const Plan plan = parse_plan(read_file(path), path.string(), problem.graph(), problem.cluster());
  return naming(path.string(), [&] {
    Schedule schedule = to_schedule(problem, plan);
    const auto violations = check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}), 1);
    if (violations.empty()) return schedule;
    throw InputError(
        fmt::format("not valid here: {}: {}", to_string(violations.front().rule), violations.front().message),
        "--warm-start takes a plan for the same graph, cluster and settings");
  });
}

/// "time limit 60 s reached", "interrupted".
std::string ending(const std::string& limit) {
  if (limit == "interrupt") return "interrupted";
  const auto space = limit.find(' ');
  if (space == std::string::npos) return limit;
  return fmt::format("{} limit{} reached", limit.substr(0, space), limit.substr(space));
}

std::string figures(const Plan& plan) {
  return fmt::format("makespan {}, lower bound {}, gap {}", human(plan.statistics.makespan), human(plan.lower_bound()),
                     percent(plan.gap()));
}

ExitCode run(const Options& options) {
  const Problem problem = load_problem(options.files, options.settings);
  const std::atomic<bool>& interrupted = catch_interrupts();
  // Where the user limits the work alone, the result must not depend on the clock.
  const std::optional<double> seconds =
      options.time_limit || options.work_limit ? options.time_limit : std::optional<double>(60);
  Budget budget(seconds, options.work_limit);
  budget.watch(&interrupted);

  PlannerOptions planner;
  planner.method = parse_method(options.method);
  if (!options.warm_start.empty()) planner.warm_start = load_warm_start(options.warm_start, problem);
  PlanResult result;
  {
    ProgressLine progress;
    planner.seed = options.seed;
    planner.threads = options.threads;
    planner.on_progress = [&progress](const Progress& state) { progress.show(state); };
    result = plan(problem, budget, planner);
  }
  if (!result.plan) {
    const bool infeasible = result.reason == PlanResult::Reason::kInfeasible;
    std::string message = infeasible ? "no plan exists" : "no plan found";
    if (!result.limit.empty()) message += fmt::format(" ({})", ending(result.limit));
    if (!result.detail.empty()) message += ": " + result.detail;
    complain("error", message);
    return interrupted ? ExitCode::kInterrupted : ExitCode::kNoPlan;
  }

  const Plan& best = *result.plan;
  deliver(options.output, plan_to_json(best, problem.graph(), problem.cluster()));
  if (!options.report.empty()) {
    write_file(options.report, report_html(problem, best, rows_of(compare_schedules(problem, &best))));
  }
  if (!options.trace.empty()) write_file(options.trace, perfetto_trace(problem, best));

  if (!options.output.empty()) print(fmt::format("{} plan: {}\n", to_string(best.status), figures(best)));
  if (!result.detail.empty()) complain("warning", result.detail);
  if (!result.limit.empty() && best.status != PlanStatus::kOptimal) {
    const std::string where = options.output.empty() ? "standard output" : options.output.string();
    complain("warning", fmt::format("{}: {} (plan written to {})", ending(result.limit), figures(best), where));
  }
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

}  // namespace

void add_plan(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("plan", "compute placement and schedule of a graph on a cluster");
  command->footer(
      "Ctrl-C ends the search and writes the best plan (exit code 130).\n"
      "Exit code 3: no plan exists, or none was found within the limits.\n\n"
      "Examples:\n"
      "  opweave plan graph.json cluster.json -o plan.json\n"
      "  opweave plan graph.json cluster.json -o plan.json --report report.html --time-limit 10\n"
      "  opweave plan graph.json cluster.json --work-limit 1000 --seed 7 > plan.json   # repeatable to the byte");
  options->files.add_to(*command);
  command->add_option("-o,--output", options->output, "write the plan here instead of standard output");
  command->add_option("--report", options->report, "write an HTML report");
  command->add_option("--trace", options->trace, "write a trace for Perfetto");
  command->add_option("--time-limit", options->time_limit, "seconds [60, or none if --work-limit is given]")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--work-limit", options->work_limit, "evaluations of candidate plans");
  command->add_option("--seed", options->seed, "seed of the search")->capture_default_str();
  command->add_option("--threads", options->threads, "threads of the search [all cores]")->check(CLI::PositiveNumber);
  command
      ->add_option("--method", options->method,
                   "auto: all methods together; heuristic: no solver; mip, mip-time-indexed, cp: the complete program "
                   "alone")
      ->capture_default_str();
  command->add_option("--warm-start", options->warm_start,
                      "plan of the same problem, never to be given up for a worse");
  options->settings.add_to(*command);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace opweave::cli
