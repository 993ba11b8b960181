#include <fmt/format.h>

#include <memory>

#include "cli/command.h"
#include "cli/gantt.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/plan_alone.h"
#include "report/format.h"
#include "report/names.h"

namespace opweave::cli {
namespace {

struct ShowOptions {
  std::vector<std::string> files;
  std::string colour = "auto";
};

std::string headline(const Plan& plan) {
  const std::string& command = plan.provenance.command;
  return fmt::format("{} on {}: {}, makespan {}, lower bound {}, gap {}, bubble {}\n{}", readable(plan.graph_name),
                     readable(plan.cluster_name), to_string(plan.status), human(plan.statistics.makespan),
                     human(plan.lower_bound()), percent(plan.gap()), percent(plan.statistics.bubble_ratio),
                     command.empty() ? "" : "made by: " + readable(command) + "\n");
}

std::string device_table(const Cluster& cluster, const Plan& plan) {
  std::vector<std::vector<std::string>> rows = {{"device", "busy", "utilisation", "peak memory", "parameters"}};
  for (std::size_t d = 0; d < plan.statistics.devices.size(); ++d) {
    const DeviceStatistics& device = plan.statistics.devices[d];
    const auto makespan = static_cast<double>(plan.statistics.makespan.value());
    rows.push_back({cluster.at(DeviceId(d)).name, human(device.compute_busy),
                    percent(makespan > 0 ? static_cast<double>(device.compute_busy.value()) / makespan : 0),
                    human(device.peak_memory), human(device.persistent_memory)});
  }
  return table(rows);
}

ExitCode run_show(const ShowOptions& options) {
  std::vector<NamedFile> inputs;
  for (const std::string& file : options.files) inputs.push_back({"FILES", file});
  expect_files({}, inputs);
  const Terminal screen = terminal(options.colour);
  if (options.files.size() == 1) {
    const PlanAlone alone = parse_plan_alone(read_file(options.files[0]), options.files[0]);
    print(headline(alone.plan) + gantt(alone.graph, alone.cluster, alone.plan, {}, screen) + '\n' +
          device_table(alone.cluster, alone.plan));
    return ExitCode::kDone;
  }
  if (options.files.size() != 3) {
    throw InputError(fmt::format("show: {} files given, expected PLAN or GRAPH CLUSTER PLAN", options.files.size()));
  }
  const PlannedProblem planned = load_valid_plan({options.files[0], options.files[1]}, options.files[2], Modes::kTake);
  const Problem& problem = planned.problem;
  std::vector<MemoryLane> memory;
  for (auto& curve : memory_curves(problem, to_schedule(problem, planned.plan))) {
    memory.push_back({std::move(curve), problem.capacity(DeviceId(memory.size()))});
  }
  print(headline(planned.plan) + gantt(problem.graph(), problem.cluster(), planned.plan, memory, screen) + '\n' +
        device_table(problem.cluster(), planned.plan));
  return ExitCode::kDone;
}

}  // namespace

void add_show(CLI::App& app, Action& action) {
  auto options = std::make_shared<ShowOptions>();
  CLI::App* command = app.add_subcommand("show", "draw a plan in the terminal");
  command->footer(
      "A line per device and stream, as wide as the terminal (else as COLUMNS says, else 100). With GRAPH and\n"
      "CLUSTER also the phases of the operators and the memory over time.\n\n"
      "Examples:\n"
      "  opweave show plan.json\n"
      "  opweave show graph.json cluster.json plan.json --color always | less -R");
  command->add_option("FILES", options->files, "PLAN, or GRAPH CLUSTER PLAN")
      ->required()
      ->expected(1, 3)
      ->check(file_name());
  command->add_option("--color", options->colour, "auto (on a terminal, unless NO_COLOR is set), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  command->callback([options, &action] { action = [options] { return run_show(*options); }; });
}

}  // namespace opweave::cli
