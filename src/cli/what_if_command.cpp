#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/strategy_insight.h"
#include "cli/terminal.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/layout_files.h"
#include "opweave/memory_modes.h"
#include "opweave/planner.h"
#include "opweave/what_if.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

struct WhatIfOptions {
  InputFiles files;
  std::filesystem::path plan;
  WhatIfQuestion question;
  unsigned threads = 1;
  std::uint64_t seed = 1;
  std::filesystem::path output;
  bool json = false;
};

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

std::string changes_table(const WhatIfAnswer& answer, bool replan) {
  const bool unicode = terminal("never").unicode;
  const double now = per_microbatch(answer.makespan, answer.microbatches);
  double longest = std::max(now, 1.0);
  for (const WhatIfChange& change : answer.changes) {
    if (const auto value = change.makespan()) longest = std::max(longest, per_microbatch(*value, change.microbatches));
  }
  std::vector<std::vector<std::string>> rows = {{"change", "same order", "replanned", "lower bound", "per microbatch",
                                                 "change", "per microbatch, drawn", "remark"}};
  rows.push_back({"as planned", human(answer.makespan), "", human(answer.bound), human(Duration(std::llround(now))), "",
                  bar(now / longest, unicode), ""});
  for (const WhatIfChange& change : answer.changes) {
    const auto value = change.makespan();
    const double each = value ? per_microbatch(*value, change.microbatches) : 0;
    rows.push_back({change.what, change.same_order ? human(*change.same_order) : "-",
                    change.replanned ? human(*change.replanned)
                    : replan         ? "-"
                                     : "",
                    human(change.bound), value ? human(Duration(std::llround(each))) : "-",
                    value && now > 0 ? fmt::format("{:+.1f}%", 100 * (each / now - 1)) : "-",
                    value ? bar(each / longest, unicode) : "", change.remark});
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

ExitCode run_what_if(const WhatIfOptions& options) {
  expect_files({{"--output", options.output}}, options.files.with({{"PLAN", options.plan}}));
  // Options with layouts are refused as by all commands that do not know them.
  const bool has_layouts = has_layout_options(read_file(options.files.graph));
  const PlannedProblem planned =
      load_valid_plan(options.files, options.plan, has_layouts ? Modes::kRefuse : Modes::kTake);
  std::optional<ProblemWithMovements> movements = planned.movements;
  if (!movements && has_movements(planned.problem)) {  // everything is kept
    MemoryChoice keep(planned.problem.value_count(), MemoryMode::kKeep);
    movements = ProblemWithMovements::create(planned.problem, std::move(keep));
  }
  const std::atomic<bool>& interrupted = catch_interrupts();
  PlannerOptions planner;
  planner.seed = options.seed;
  planner.threads = used_threads(options.threads);
  WhatIfAnswer answer;
  {
    ProgressLine progress;
    planner.on_progress = [&progress](const Progress& state) { progress.show(state); };
    if (movements) {
      const Schedule schedule =
          planned.movements ? to_schedule(planned.problem, planned.plan) : movements->schedule(planned.plan);
      answer = what_if(*movements, schedule, options.question, planner, &interrupted);
    } else {
      answer = what_if(planned.problem, planned.plan, options.question, planner, &interrupted);
    }
  }
  if (options.json || !options.output.empty()) {
    deliver(options.output, what_if_to_json(answer));
  } else {
    std::string text = changes_table(answer, options.question.replan);
    if (!options.question.replan) {
      text += "\"same order\" keeps placement and order; with --replan each change is planned anew.\n";
    }
    print(text + (answer.robustness.empty() ? "" : "\n" + robustness_table(answer.robustness, answer.makespan)));
  }
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

/// What is asked of a strategy is always the same.
void expect_changes_of_strategies(const CLI::App& command) {
  for (const char* name : {"--link-speed", "--memory", "--host-link", "--devices", "--microbatches", "--faster",
                           "--factor", "--replan", "--work-limit", "--threads", "--samples", "--seed"}) {
    if (command.count(name) == 0) continue;
    throw InputError(fmt::format("{}: the changes of a strategy are fixed; only plans take others", name));
  }
}

}  // namespace

void add_what_if(CLI::App& app, Action& action) {
  auto options = std::make_shared<WhatIfOptions>();
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
  options->files.add_with_strategy_to(*command);
  command->add_option("PLAN", options->plan, "plan (JSON)")->check(file_name());
  command->add_option("--link-speed", options->question.link_speeds, "every link this many times as fast")
      ->check(number_between(1e-3, 1e6));
  command->add_option("--memory", options->question.memories, "every capacity times this")
      ->check(number_between(0, 1e6));
  command->add_option("--host-link", options->question.host_links, "every link to a host this many times as fast")
      ->check(number_between(1e-3, 1e6));
  command->add_option("--devices", options->question.devices, "this many devices more, like the last one")
      ->check(whole_between(1, 1024));
  command->add_option("--microbatches", options->question.microbatches, "another number of microbatches")
      ->check(whole<std::uint32_t>(1));
  command->add_option("--faster", options->question.faster, "operators of this name or kind, --factor times as fast");
  command->add_option("--factor", options->question.factor, "of --faster")
      ->check(number_between(1e-3, 1e6))
      ->capture_default_str();
  command->add_flag("--replan", options->question.replan, "plan each change anew");
  command->add_option("--time-limit", options->question.time_limit, "seconds of planning for each change [10]")
      ->check(number());
  command->add_option("--work-limit", options->question.work_limit, "evaluations for each change")
      ->check(whole<std::uint64_t>());
  command->add_option("--threads", options->threads, "threads of the search")
      ->check(whole<unsigned>(1))
      ->capture_default_str();
  command->add_option("--samples", options->question.samples, "runs with varied durations for each spread; 0 = none")
      ->check(whole<std::uint32_t>())
      ->capture_default_str();
  command->add_option("--seed", options->seed, "seed of samples and search")
      ->check(whole<std::uint64_t>())
      ->capture_default_str();
  command->add_option("-o,--output", options->output, "write JSON here")->check(file_name());
  command->add_flag("--json", options->json, "JSON on standard output");
  command->callback([options, command, &action] {
    if (options->plan.empty() && options->files.cluster.empty() && is_strategy_file(options->files.graph)) {
      expect_changes_of_strategies(*command);
      action = [options] {
        return what_if_strategy_file(options->files.graph, options->question.time_limit.value_or(10),
                                     {options->json, options->output});
      };
      return;
    }
    expect_plan(options->files, options->plan);
    action = [options] { return run_what_if(*options); };
  });
}

}  // namespace opweave::cli
