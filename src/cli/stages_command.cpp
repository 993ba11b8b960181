#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/command_files.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/layer_graph.h"

namespace opweave::cli {
namespace {

constexpr double kGiB = 1U << 30U;

struct Options {
  std::filesystem::path graph;
  std::uint32_t devices = 1;
  double memory_gib = 0;
  double bandwidth_gib = 0;
  std::uint32_t microbatches = 1;
  double time_limit = 60;
  std::filesystem::path output;
};

nlohmann::ordered_json as_json(const LayerGraph& graph, const CutStage& stage) {
  auto nodes = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < stage.nodes.size(); ++i) {
    const LayerGraph::Node& node = graph.nodes[stage.nodes[i]];
    nodes.push_back({{"id", node.id}, {"alternative", node.by_tensor.at(stage.tensor)[stage.alternatives[i]].name}});
  }
  return {{"tensor", stage.tensor},
          {"data", stage.data},
          {"seconds_per_sample", stage.seconds},
          {"memory_bytes", stage.memory_bytes},
          {"nodes", nodes}};
}

ExitCode run(const Options& options) {
  expect_files({{"--output", options.output}}, {{"GRAPH", options.graph}});
  const LayerGraph graph = parse_layer_graph(read_file(options.graph), options.graph.string());
  const std::atomic<bool>& interrupted = catch_interrupts();
  Budget budget(options.time_limit, std::nullopt);
  budget.watch(&interrupted);
  const StageTask task{options.devices, options.memory_gib * kGiB, options.bandwidth_gib * kGiB, options.microbatches};
  const StageAnswer answer = cut_stages(graph, task, budget);
  if (answer.stages.empty()) {
    complain("error", budget.expired() ? "no stages found within the time limit" : "no stages fit in memory");
    return interrupted ? ExitCode::kInterrupted : ExitCode::kNoPlan;
  }
  auto stages = nlohmann::ordered_json::array();
  for (const CutStage& stage : answer.stages) stages.push_back(as_json(graph, stage));
  deliver(options.output, nlohmann::ordered_json{{"value_s", answer.value},
                                                 {"bound_s", answer.bound},
                                                 {"proven", answer.is_proven()},
                                                 {"stages", stages}}
                                  .dump(2) +
                              "\n");
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

}  // namespace

void add_stages(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("stages", "cut a layer graph with measured alternatives into pipeline stages");
  command->footer(
      "GRAPH is a file of Piper (Tarnawski et al., NeurIPS 2021); value and bound are seconds per sample of the\n"
      "longest stage in its cost model (docs/stages.md). Exit code 3: nothing fits in memory.\n\n"
      "Example:\n"
      "  opweave stages bert32a100.json --devices 8 --memory 8 --bandwidth 25 --microbatches 1920");
  command->add_option("GRAPH", options->graph, "the layer graph")->required()->check(file_name());
  command->add_option("--devices", options->devices, "devices to use at most")
      ->required()
      ->check(whole_between(1, 10'000));
  command->add_option("--memory", options->memory_gib, "GiB of one device")->required()->check(number());
  command->add_option("--bandwidth", options->bandwidth_gib, "GiB per second between devices")
      ->required()
      ->check(number_between(1e-9, 1e9));
  command->add_option("--microbatches", options->microbatches, "of a batch")
      ->required()
      ->check(whole_between(1, 1'000'000));
  command->add_option("--time-limit", options->time_limit, "seconds")->check(number())->capture_default_str();
  command->add_option("-o,--output", options->output, "write the stages here instead of standard output")
      ->check(file_name());
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace opweave::cli
