#include <fmt/format.h>

#include <memory>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/layout_inputs.h"
#include "cli/output.h"
#include "opweave/check.h"
#include "opweave/check_layouts.h"
#include "opweave/io.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

struct CheckOptions {
  InputFiles files;
  std::filesystem::path plan;
};

ExitCode report(const CheckOptions& options, const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                const std::vector<Violation>& violations) {
  for (const Violation& violation : violations) {
    complain("error", fmt::format("{}: {}: {}", options.plan.string(), to_string(violation.rule), violation.message));
  }
  for (const std::string& replaced : replaced_settings(graph, cluster, plan.settings)) {
    complain("note", fmt::format("{}: by its own settings, {}", options.plan.string(), replaced));
  }
  if (!violations.empty()) return ExitCode::kInputError;
  print(fmt::format("valid: makespan {}, lower bound {}, gap {}\n", human(plan.statistics.makespan),
                    human(plan.lower_bound()), percent(plan.gap())));
  return ExitCode::kDone;
}

ExitCode run_check(const CheckOptions& options) {
  expect_files({}, options.files.with({{"PLAN", options.plan}}));
  const std::string text = read_file(options.files.graph);
  if (has_layout_options(text, options.files.graph.string())) {
    const LayoutInputs inputs = load_layout_inputs(text, options.files);
    const LayoutPlan plan =
        parse_layout_plan(read_file(options.plan), options.plan.string(), inputs.graph, inputs.cluster);
    return report(options, inputs.graph.graph, inputs.cluster, plan.plan, check(inputs.graph, inputs.cluster, plan));
  }
  const auto [read, cluster] = load_inputs(text, options.files);
  const ComputationGraph& graph = read.graph;
  const Plan plan = parse_plan(read_file(options.plan), options.plan.string(), graph, cluster);
  return report(options, graph, cluster, plan, check(graph, cluster, plan));
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = app.add_subcommand("check", "does a plan obey the rules?");
  command->footer(
      "Exit code 0: valid. Exit code 2: one line per violation on standard error, at most 100, each with its rule:\n"
      "once, stream, presence, transfer, memory, placement, figures (docs/concepts.md).\n"
      "A plan is judged by its own settings; a note says where they replace what GRAPH and CLUSTER say.\n\n"
      "Example:\n"
      "  opweave check graph.json cluster.json plan.json");
  options->files.add_to(*command);
  command->add_option("PLAN", options->plan, "plan (JSON)")->required()->check(file_name());
  command->callback([options, &action] { action = [options] { return run_check(*options); }; });
}

}  // namespace opweave::cli
