#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/simulate.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

struct SimulateOptions {
  InputFiles files;
  std::filesystem::path plan;
  std::optional<std::string> contention;
  std::string channels = "free";
  double compute_slowdown = 1;
  std::filesystem::path durations;
  std::filesystem::path output;
  bool json = false;
};

nlohmann::ordered_json to_json(const Problem& problem, const PlanStatistics& figures, bool has_hosts) {
  auto devices = nlohmann::ordered_json::array();
  for (std::size_t d = 0; d < figures.devices.size(); ++d) {
    const DeviceStatistics& device = figures.devices[d];
    devices.push_back({{"name", problem.cluster().at(DeviceId(d)).name},
                       {"compute_busy_ns", device.compute_busy.value()},
                       {"bubble_ns", device.bubble.value()},
                       {"span_idle_ns", device.span_idle.value()},
                       {"peak_memory_bytes", device.peak_memory.value()},
                       {"persistent_memory_bytes", device.persistent_memory.value()},
                       {"sent_bytes", device.bytes_sent.value()},
                       {"received_bytes", device.bytes_received.value()}});
    if (has_hosts) devices.back()["host_peak_bytes"] = device.host_peak.value();
  }
  return {{"makespan_ns", figures.makespan.value()},
          {"bubble_ratio", figures.bubble_ratio},
          {"moved_bytes", figures.bytes_moved.value()},
          {"parameter_copies", figures.parameter_copies},
          {"devices", devices}};
}

std::string to_table(const Problem& problem, const PlanStatistics& figures, Duration planned, bool has_hosts) {
  std::vector<std::vector<std::string>> rows = {
      {"device", "busy", "bubble", "idle within", "peak memory", "parameters"}};
  for (std::size_t d = 0; d < figures.devices.size(); ++d) {
    const DeviceStatistics& device = figures.devices[d];
    rows.push_back({problem.cluster().at(DeviceId(d)).name, human(device.compute_busy), human(device.bubble),
                    human(device.span_idle), human(device.peak_memory), human(device.persistent_memory)});
    if (has_hosts) rows.back().push_back(human(device.host_peak));
  }
  if (has_hosts) rows.front().emplace_back("host peak");
  return fmt::format("makespan {} (planned {}), bubble {}\n{}", human(figures.makespan), human(planned),
                     percent(figures.bubble_ratio), table(rows));
}

ExitCode run_simulate(const SimulateOptions& options) {
  expect_files({{"--output", options.output}},
               options.files.with({{"PLAN", options.plan}, {"--durations", options.durations}}));
  const PlannedProblem planned = load_planned_problem(options.files, options.plan, Modes::kTake);
  const Problem& problem = planned.problem;
  const Schedule schedule = to_schedule(problem, planned.plan);
  SimulationOptions how;
  how.contention = options.contention ? parse_contention(*options.contention) : problem.settings().contention;
  how.compute_slowdown = options.compute_slowdown;
  if (!options.durations.empty()) {
    how.durations = parse_durations(read_file(options.durations), options.durations.string(), problem, schedule);
  }
  how.channels = parse_channels(options.channels);
  const ExecutionOrder order = execution_order(problem, schedule);
  if (how.channels.queue != ChannelQueue::kNone) how.turns = message_turns(problem, order, schedule);
  const SimulationResult result = simulate(problem, order, how);
  if (!result.deadlock.empty()) {
    throw InputError(fmt::format("{}: the order cannot run: {}", options.plan.string(), result.deadlock));
  }
  PlanStatistics figures = statistics(problem, result.schedule, result.task_ends);
  if (planned.movements) {
    const std::vector<Bytes> peaks = planned.movements->host_peaks(result.schedule);
    for (std::size_t d = 0; d < peaks.size(); ++d) figures.devices[d].host_peak = peaks[d];
  }
  if (options.json || !options.output.empty()) {
    deliver(options.output, to_json(problem, figures, planned.movements.has_value()).dump(2) + "\n");
  } else {
    print(to_table(problem, figures, planned.plan.statistics.makespan, planned.movements.has_value()));
  }
  return ExitCode::kDone;
}

}  // namespace

void add_simulate(CLI::App& app, Action& action) {
  auto options = std::make_shared<SimulateOptions>();
  CLI::App* command = app.add_subcommand("simulate", "what happens when a cluster follows the order of a plan");
  command->footer(
      "DURATIONS is a JSON object from an operator (\"layer3.mlp.F\") or a task (\"layer3.mlp.F#7\") to "
      "nanoseconds.\n\n"
      "Examples:\n"
      "  opweave simulate graph.json cluster.json plan.json\n"
      "  opweave simulate graph.json cluster.json plan.json --contention link --compute-slowdown 1.13\n"
      "  opweave simulate graph.json cluster.json plan.json --channels in-order\n"
      "  opweave simulate graph.json cluster.json plan.json --durations measured.json --json");
  options->files.add_to(*command);
  command->add_option("PLAN", options->plan, "plan (JSON)")->required()->check(file_name());
  command->add_option("--contention", options->contention, "none, endpoint or link [as planned]");
  command
      ->add_option("--channels", options->channels,
                   "how messages take turns: free (they overtake each other), in-order (one queue per device, a send "
                   "ends with its receive), or rendezvous- or buffered- with rank, pair or direction "
                   "(docs/messages.md)")
      ->capture_default_str();
  command
      ->add_option("--compute-slowdown", options->compute_slowdown,
                   "compute takes this many times longer while another stream of the device is busy")
      ->check(number_between(1, 1000))
      ->capture_default_str();
  command->add_option("--durations", options->durations, "measured durations (JSON) instead of the planned ones")
      ->check(file_name());
  command->add_option("-o,--output", options->output, "write JSON here")->check(file_name());
  command->add_flag("--json", options->json, "JSON on standard output");
  command->callback([options, &action] { action = [options] { return run_simulate(*options); }; });
}

}  // namespace opweave::cli
