#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <thread>

#include "cli/command.h"
#include "cli/command_text.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/layout_inputs.h"
#include "cli/model_files.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/place_options.h"
#include "cli/progress.h"
#include "cli/reading_took_all.h"
#include "core/in_time.h"
#include "distribute/plan_on.h"
#include "opweave/io.h"
#include "opweave/planner.h"
#include "opweave/report.h"
#include "report/comparison.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

struct PlanOptions {
  InputFiles files;
  SettingOptions settings;
  std::filesystem::path output;
  std::filesystem::path report;
  std::filesystem::path trace;
  std::optional<double> time_limit;
  std::optional<std::uint64_t> work_limit;
  std::uint64_t seed = 1;
  unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  PlaceOptions place;
  std::size_t searches = 4;
  std::string method = "auto";
  bool uniform = false;
  std::filesystem::path warm_start;
  std::string objective = "makespan";
  std::string deadline;
  std::filesystem::path write_model;
  std::filesystem::path read_solution;
  std::string command;  ///< as the plan states it
  /// Of the graph, once it is read: what loads it may outlive the command where the clock ends that.
  std::shared_ptr<std::string> times_from = std::make_shared<std::string>();

  /// Whether there is something to search; else an integer program is written or its solution read.
  [[nodiscard]] bool plans() const { return write_model.empty() && read_solution.empty(); }
};

/// "time limit 60 s reached", "interrupted".
std::string ending(const std::string& limit) {
  if (limit == "interrupt") return "interrupted";
  if (limit == "memory") return "out of memory";
  const auto space = limit.find(' ');
  if (space == std::string::npos) return limit;
  return fmt::format("{} limit{} reached", limit.substr(0, space), limit.substr(space));
}

std::string figures(const Plan& plan) {
  return fmt::format("makespan {}, lower bound {}, gap {}", human(plan.statistics.makespan), human(plan.lower_bound()),
                     percent(plan.gap()));
}

/// How far a plan came: of its makespan, or of each objective that is not at its bound.
std::string reached(const Plan& plan) {
  std::string text;
  for (const ObjectiveFigure& figure : plan.objectives) {
    if (figure.value == figure.bound) continue;
    text += fmt::format("{}{} {} {}, bound {}", text.empty() ? "" : "; ", to_string(figure.objective), figure.value,
                        unit_of(figure.objective), figure.bound);
  }
  return text.empty() ? figures(plan) : text;
}

/// "objective peak-memory 1073741824 bytes, bound 1073741824": one line per objective.
void print_objectives(const Plan& plan) {
  for (const ObjectiveFigure& figure : plan.objectives) {
    const std::string proof = figure.proof.empty() ? "" : fmt::format(" ({})", figure.proof);
    print(fmt::format("objective {} {} {}, bound {}{}\n", to_string(figure.objective), figure.value,
                      unit_of(figure.objective), figure.bound, proof));
  }
}

void print_modes(std::size_t count, const PlanStatistics& figures) {
  if (count == 0) return;
  print(fmt::format("memory modes: {} values do not stay; {} run again, {} copied to hosts\n", count,
                    human(figures.recomputed), human(figures.bytes_copied_out)));
}

void write(const PlanOptions& options, const Problem& problem, Plan plan) {
  plan.provenance.command = options.command;
  deliver(options.output, plan_to_json(plan, problem.graph(), problem.cluster()));
  const ReportNotes notes = {std::nullopt, *options.times_from};
  const bool is_shown = !options.report.empty() || !options.trace.empty();
  if (is_shown && !plan.movements.empty()) {
    const OrdinaryPlan ordinary = with_movements(problem, plan);
    if (!options.report.empty()) {
      write_file(options.report, report_html(ordinary.movements.problem(), ordinary.plan, {}, notes));
    }
    if (!options.trace.empty()) write_file(options.trace, perfetto_trace(ordinary.movements.problem(), ordinary.plan));
  } else if (is_shown) {
    if (!options.report.empty()) {
      write_file(options.report, report_html(problem, plan, rows_of(compare_schedules(problem, &plan)), notes));
    }
    if (!options.trace.empty()) write_file(options.trace, perfetto_trace(problem, plan));
  }
  if (options.output.empty()) return;
  const Blocks blocks = plan.settings.blocks;
  const std::string pieces = blocks == Blocks::kNone ? "" : fmt::format(" in pieces by {}", to_string(blocks));
  print(fmt::format("{} plan{}: {}\n", to_string(plan.status), pieces, figures(plan)));
  if (blocks != Blocks::kNone) {
    print(fmt::format("bound and gap are of plans in pieces by {}; without --blocks a plan may be shorter\n",
                      to_string(blocks)));
  }
  print_objectives(plan);
  print_modes(plan.modes.size(), plan.statistics);
}

ExitCode refuse(const PlanResult& result) {
  std::string message = result.reason == PlanResult::Reason::kInfeasible ? "no plan exists" : "no plan found";
  if (!result.limit.empty()) message += fmt::format(" ({})", ending(result.limit));
  if (!result.detail.empty()) message += ": " + result.detail;
  complain("error", message);
  if (result.limit == "memory") return ExitCode::kOutOfMemory;
  return result.limit == "interrupt" ? ExitCode::kInterrupted : ExitCode::kNoPlan;
}

/// Workers share the makespan alone.
void expect_makespan_alone(const PlanOptions& options) {
  if (options.objective == "makespan" && options.deadline.empty() && options.write_model.empty() &&
      options.read_solution.empty()) {
    return;
  }
  throw InputError("--on: workers share the makespan alone, expected no other --objective, no --deadline and no model");
}

void expect_nothing_beside_layouts(const PlanOptions& options) {
  const std::pair<const char*, bool> refused[] = {{"--on", !options.place.on.empty()},
                                                  {"--warm-start", !options.warm_start.empty()},
                                                  {"--write-model", !options.write_model.empty()},
                                                  {"--read-solution", !options.read_solution.empty()}};
  for (const auto& [name, is_given] : refused) {
    if (is_given) throw InputError(fmt::format("{}: not for graphs whose operators have options with layouts", name));
  }
}

void write(const PlanOptions& options, const LayoutProblem& problem, LayoutPlan plan) {
  plan.plan.provenance.command = options.command;
  deliver(options.output, layout_plan_to_json(plan, problem.graph(), problem.cluster()));
  if (!options.report.empty() || !options.trace.empty()) {
    const PlannedProblem shown = as_ordinary(DerivedProblem::create(problem, problem.selection_of(plan)), plan);
    if (!options.report.empty()) write_file(options.report, report_html(shown.problem, shown.plan, {}));
    if (!options.trace.empty()) write_file(options.trace, perfetto_trace(shown.problem, shown.plan));
  }
  if (options.output.empty()) return;
  print(fmt::format("{} plan: {}\n", to_string(plan.plan.status), figures(plan.plan)));
  print(fmt::format("options: {} movements between layouts\n", plan.movements.size()));
  print_modes(plan.modes.size(), plan.plan.statistics);
}

/// A graph whose operators have options with layouts.
ExitCode run_with_layouts(const PlanOptions& options, const std::string& graph, Budget budget, PlannerOptions planner) {
  expect_nothing_beside_layouts(options);
  const std::optional<LayoutProblem> loaded =
      in_time(budget, [graph, files = options.files, settings = options.settings] {
        LayoutInputs inputs = load_layout_inputs(graph, files);
        ProblemSettings applied = settings.apply(default_settings(inputs.graph.graph, inputs.cluster));
        return naming(files.graph.string(), [&] {
          return LayoutProblem::create(std::move(inputs.graph), std::move(inputs.cluster), std::move(applied));
        });
      });
  if (!loaded) {
    say_that_reading_took_all(budget, options.files);
    return ExitCode::kNoPlan;
  }
  const LayoutProblem& problem = *loaded;
  if (options.uniform && !problem.chooses_modes()) {
    throw InputError("--uniform: no value may have a memory mode, expected --memory-modes beside it");
  }
  const double seconds_to_load = budget.elapsed();
  const std::atomic<bool>& interrupted = catch_interrupts();
  budget.watch(&interrupted);
  LayoutPlanResult result;
  {
    ProgressLine progress;
    planner.on_progress = [&progress](const Progress& state) { progress.show(state); };
    result = plan_with_layouts(problem, budget.keeping(seconds_to_load), planner, {options.uniform});
  }
  if (!result.plan) return refuse(result.result);
  const Plan& best = result.plan->plan;
  write(options, problem, *result.plan);
  if (!result.result.limit.empty() && best.status != PlanStatus::kOptimal) {
    const std::string where = options.output.empty() ? "standard output" : options.output.string();
    complain("warning", fmt::format("{}: {} (plan written to {})", ending(result.result.limit), figures(best), where));
  }
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

PlannerOptions planner_options(const PlanOptions& options) {
  PlannerOptions planner;
  planner.method = parse_method(options.method);
  planner.seed = options.seed;
  planner.threads = used_threads(options.threads);
  planner.objectives = naming("--objective", [&] { return parse_objectives(options.objective); });
  if (!options.deadline.empty()) {
    planner.deadline = naming("--deadline", [&] { return parse_duration(options.deadline); });
  }
  return planner;
}

/// \param chooses_modes  values may have memory modes
void expect_combination(const PlanOptions& options, bool chooses_modes) {
  if (options.settings.blocks && !options.plans()) {
    throw InputError(
        "--blocks: the integer program of a file has no pieces, expected no --write-model and no "
        "--read-solution beside it");
  }
  if (chooses_modes && !options.plans()) {
    throw InputError(
        "memory modes: the integer program of a file knows none, expected no --write-model and no --read-solution");
  }
  if (options.uniform && !chooses_modes) {
    throw InputError("--uniform: no value may have a memory mode, expected --memory-modes beside it");
  }
  if (chooses_modes && !options.place.on.empty()) {
    throw InputError("memory modes: workers know none, expected no --on");
  }
}

void expect_nothing_beside_reductions(const PlanOptions& options) {
  if (!options.plans() || !options.place.on.empty()) {
    throw InputError(
        "reduction_stream: integer programs of files and workers reduce no gradients, expected no "
        "--write-model, no --read-solution and no --on");
  }
}

ExitCode run_plan(const PlanOptions& options) {
  const std::optional<distribute::Place> place = options.place.place();
  if (place) expect_makespan_alone(options);
  // Where the user limits the work alone, the result must not depend on the clock.
  const std::optional<double> seconds =
      options.time_limit || options.work_limit ? options.time_limit : std::optional<double>(60);
  Budget budget(seconds, options.work_limit);
  PlannerOptions planner = planner_options(options);
  expect_files({{"--output", options.output},
                {"--report", options.report},
                {"--trace", options.trace},
                {"--write-model", options.write_model}},
               options.files.with({{"--warm-start", options.warm_start}, {"--read-solution", options.read_solution}}));
  const std::string graph = read_file(options.files.graph);
  if (has_layout_options(graph)) return run_with_layouts(options, graph, budget, planner);
  const std::optional<Problem> loaded = load_in_time(
      budget, options.files, [graph, files = options.files, settings = options.settings, times = options.times_from] {
        return load_problem(graph, files, settings, Modes::kTake, times.get());
      });
  if (!loaded) return ExitCode::kNoPlan;
  const Problem& problem = *loaded;
  const bool chooses_modes = may_choose_modes(problem);
  const bool moves = has_movements(problem);
  const double seconds_to_load = budget.elapsed();
  if (!options.warm_start.empty()) planner.warm_start = load_warm_start(options.warm_start, problem);
  const std::atomic<bool>& interrupted = catch_interrupts();
  budget.watch(&interrupted);

  expect_combination(options, chooses_modes);
  if (moves && !chooses_modes) expect_nothing_beside_reductions(options);
  if (!options.plans() && planner.warm_start) require_valid(options.warm_start, problem, *planner.warm_start);
  if (!options.write_model.empty()) {
    const std::string refusal = write_model_file(problem, planner, options.write_model);
    if (refusal.empty()) return ExitCode::kDone;
    complain("error", "model not written: " + refusal);
    return ExitCode::kNoPlan;
  }
  if (!options.read_solution.empty()) {
    write(options, problem, read_solution_file(problem, planner, options.read_solution));
    return ExitCode::kDone;
  }

  // Checking and writing the plan take about as long as reading the graph did, and at least some time per task.
  // Objectives are valued and checked once more.
  const double seconds_per_task = planner.seeks_makespan_alone() ? 5e-6 : 10e-6;
  const double keep = std::max(seconds_to_load, seconds_per_task * static_cast<double>(problem.task_count()));
  PlanResult result;
  {
    ProgressLine progress;
    planner.on_progress = [&progress](const Progress& state) { progress.show(state); };
    const auto search = [&] {
      if (moves) return plan_with_memory_modes(problem, budget.keeping(keep), planner, {options.uniform});
      return place ? distribute::plan_on(*place, options.place.workers, options.searches, problem, budget.keeping(keep),
                                         planner)
                   : plan(problem, budget.keeping(keep), planner);
    };
    result = options.warm_start.empty() ? search() : naming(options.warm_start.string(), search);
  }
  if (!result.plan) return refuse(result);
  const Plan& best = *result.plan;
  write(options, problem, best);
  if (!result.detail.empty()) complain("warning", result.detail);
  if (!result.limit.empty() && best.status != PlanStatus::kOptimal) {
    const std::string where = options.output.empty() ? "standard output" : options.output.string();
    complain("warning", fmt::format("{}: {} (plan written to {})", ending(result.limit), reached(best), where));
  }
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

}  // namespace

void add_plan(CLI::App& app, Action& action) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command = app.add_subcommand("plan", "compute placement and schedule of a graph on a cluster");
  command->footer(
      "Ctrl-C ends the search and writes the best plan (exit code 130).\n"
      "Exit code 3: no plan exists, or none was found within the limits. Exit code 4: memory ran out before.\n\n"
      "Examples:\n"
      "  opweave plan graph.json cluster.json -o plan.json\n"
      "  opweave plan graph.json cluster.json -o plan.json --report report.html --time-limit 10\n"
      "  opweave plan graph.json cluster.json --on processes --workers 8 -o plan.json   # or --on ray\n"
      "  opweave plan graph.json cluster.json --work-limit 1000 --seed 7 > plan.json   # repeatable to the byte\n"
      "  opweave plan graph.json cluster.json --blocks stage -o plan.json   # for PyTorch and torchtitan\n"
      "  opweave plan graph.json cluster.json --objective peak-memory,makespan --deadline 3.4s -o plan.json\n"
      "  opweave plan graph.json cluster.json --method mip --write-model model.mps\n"
      "  gurobi_cl ResultFile=model.sol model.mps\n"
      "  opweave plan graph.json cluster.json --method mip --read-solution model.sol -o plan.json");
  options->files.add_to(*command);
  command->add_option("-o,--output", options->output, "write the plan here instead of standard output")
      ->check(file_name());
  command->add_option("--report", options->report, "write an HTML report")->check(file_name());
  command->add_option("--trace", options->trace, "write a trace for Perfetto")->check(file_name());
  command->add_option("--time-limit", options->time_limit, "seconds [60, or none if --work-limit is given]")
      ->check(number());
  command->add_option("--work-limit", options->work_limit, "evaluations of candidate plans")
      ->check(whole<std::uint64_t>());
  command->add_option("--seed", options->seed, "seed of the search")
      ->check(whole<std::uint64_t>())
      ->capture_default_str();
  command->add_option("--threads", options->threads, "threads of the search [all cores; with --on 1 of each worker]")
      ->check(whole<unsigned>(1));
  options->place.add_to(*command, "this process alone");
  command
      ->add_option("--searches", options->searches,
                   "with --on and --work-limit: searches of one seed each, whatever the workers")
      ->check(whole_between(1, 100'000))
      ->capture_default_str();
  command
      ->add_option("--method", options->method,
                   "auto: all methods together; heuristic: no solver; mip, mip-time-indexed, cp: the complete program "
                   "alone")
      ->capture_default_str();
  command->add_option("--warm-start", options->warm_start, "plan of the same problem, never to be given up for a worse")
      ->check(file_name());
  command
      ->add_option(
          "--objective", options->objective,
          "what to minimise, most important first: makespan, period, peak-memory, devices, communication, "
          "utilisation (to maximise), joined by commas; each gets three quarters of the time left, the last the rest")
      ->capture_default_str();
  command->add_option("--deadline", options->deadline, "plans must end by then, e.g. 3.4s or 250ms");
  command
      ->add_option("--write-model", options->write_model,
                   "write the integer program of --method (.mps or .lp) for another solver instead of planning")
      ->check(file_name())
      ->excludes("--output");
  command
      ->add_option("--read-solution", options->read_solution,
                   "plan from another solver's answer (lines \"name value\") to the model written with the same files "
                   "and options")
      ->check(file_name());
  options->settings.add_to(*command);
  options->settings.add_blocks_to(*command);
  options->settings.add_memory_modes_to(*command);
  command->add_flag("--uniform", options->uniform,
                    "with --memory-modes: all microbatches alike and as many units of each stage, as training "
                    "frameworks can be told");
  command->callback([options, command, &action] {
    // What the plan does not depend on. Threads matter where the clock ends the search.
    std::vector<std::string> unsaid = {"--output", "--report", "--trace", "--on", "--workers"};
    if (options->work_limit && !options->time_limit) unsaid.emplace_back("--threads");
    if (!options->place.on.empty() && command->count("--threads") == 0) options->threads = 1;
    options->command = command_text(*command, unsaid);
    // Where workers run changes nothing, that there are several searches does.
    if (!options->place.on.empty()) options->command += " --on processes";
    action = [options] { return run_plan(*options); };
  });
}

}  // namespace opweave::cli
