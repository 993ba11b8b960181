#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/layout_inputs.h"
#include "cli/output.h"
#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/check_layouts.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

constexpr std::size_t kMostViolations = 100;

struct CheckOptions {
  InputFiles files;
  std::filesystem::path plan;
  std::filesystem::path filled;
};

/// The plan with figures that follow from its tasks and transfers, whatever it states of itself.
std::string filled_plan(const std::string& text, const std::string& source, const ComputationGraph& graph,
                        const Cluster& cluster) {
  const auto json = nlohmann::ordered_json::parse(text, nullptr, false);
  if (!json.is_object()) throw InputError(source + ": expected a JSON object");
  auto devices = nlohmann::ordered_json::array();
  for (const Device& device : cluster.devices()) {
    devices.push_back({{"device", device.name}});
    for (const char* key : {"compute_busy_ns", "bubble_ns", "span_idle_ns", "peak_memory_bytes",
                            "persistent_memory_bytes", "sent_bytes", "received_bytes"}) {
      devices.back()[key] = 0;
    }
  }
  nlohmann::ordered_json statistics = {{"devices", devices}};
  for (const char* key : {"period_ns", "bubble_ratio", "utilisation", "moved_bytes", "parameter_copies"}) {
    statistics[key] = 0;
  }
  auto stated = json;
  stated.update({{"graph", graph.name()},
                 {"cluster", cluster.name()},
                 {"status", "feasible"},
                 {"makespan_ns", 0},
                 {"lower_bound_ns", 0},
                 {"gap", 0},
                 {"bounds", nlohmann::ordered_json::array()},
                 {"statistics", statistics}});
  stated.erase("goal");
  const Plan plan = parse_plan(stated.dump(), source, graph, cluster);
  if (!plan.modes.empty() || !plan.movements.empty()) {
    throw InputError(source + ": has memory modes or movements, whose figures --fill does not compute");
  }
  const Problem problem = Problem::create(graph, cluster, plan.settings);
  Provenance provenance = plan.provenance;
  provenance.graph_hash = content_hash(graph);
  provenance.cluster_hash = content_hash(cluster);
  const Schedule schedule = naming(source, [&] { return to_schedule(problem, plan); });
  return plan_to_json(make_plan(problem, schedule, lower_bounds(problem), std::move(provenance)), graph, cluster);
}

ExitCode report(const CheckOptions& options, const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                std::vector<Violation> violations) {
  // Every rule is broken where the graph is another one; why is said once.
  const std::string reason = violations.empty() ? "" : made_for_another(plan, graph, cluster);
  if (!reason.empty()) {
    complain("error", fmt::format("{}: {}; of {} violations the first:", options.plan.string(), reason,
                                  violations.size() < kMostViolations ? std::to_string(violations.size())
                                                                      : fmt::format("at least {}", kMostViolations)));
    violations.resize(1);
  }
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
  expect_files({{"--fill", options.filled}}, options.files.with({{"PLAN", options.plan}}));
  const std::string text = read_file(options.files.graph);
  if (has_layout_options(text)) {
    if (!options.filled.empty()) throw InputError("--fill: not for graphs whose operators have options with layouts");
    const LayoutInputs inputs = load_layout_inputs(text, options.files);
    const LayoutPlan plan =
        parse_layout_plan(read_file(options.plan), options.plan.string(), inputs.graph, inputs.cluster);
    return report(options, inputs.graph.graph, inputs.cluster, plan.plan, check(inputs.graph, inputs.cluster, plan));
  }
  const auto [read, cluster] = load_inputs(text, options.files);
  const ComputationGraph& graph = read.graph;
  std::string stated = read_file(options.plan);
  if (!options.filled.empty()) stated = filled_plan(stated, options.plan.string(), graph, cluster);
  const Plan plan = parse_plan(stated, options.plan.string(), graph, cluster);
  const ExitCode code = report(options, graph, cluster, plan, check(graph, cluster, plan));
  if (!options.filled.empty() && code == ExitCode::kDone) deliver(options.filled, stated);
  return code;
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = app.add_subcommand("check", "does a plan obey the rules?");
  command->footer(
      "Exit code 0: valid. Exit code 2: one line per violation on standard error, at most 100, each with its rule:\n"
      "once, stream, presence, transfer, memory, placement, figures (docs/concepts.md).\n"
      "A plan is judged by its own settings; a note says where they replace what GRAPH and CLUSTER say.\n\n"
      "A plan of another graph or cluster, by the hashes that it states, gets that reason and one violation.\n\n"
      "Examples:\n"
      "  opweave check graph.json cluster.json plan.json\n"
      "  opweave check graph.json cluster.json by-hand.json --fill plan.json");
  options->files.add_to(*command);
  command->add_option("PLAN", options->plan, "plan (JSON)")->required()->check(file_name());
  command
      ->add_option("--fill", options->filled,
                   "compute what a plan states of itself (makespan, bounds, statistics) from its tasks and transfers, "
                   "and write the plan with it here if it is valid")
      ->check(file_name());
  command->callback([options, &action] { action = [options] { return run_check(*options); }; });
}

}  // namespace opweave::cli
