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
#include "opweave/operator_profiles.h"

namespace opweave::cli {
namespace {

struct StagesOptions {
  std::filesystem::path graph;
  std::uint32_t devices = 1;
  std::optional<double> memory_gib;
  std::optional<double> bandwidth_gib;
  std::optional<std::uint32_t> microbatches;
  std::string model;
  std::optional<std::uint32_t> layers;
  std::uint32_t batch = 1024;
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

template <class Value>
Value required(const std::optional<Value>& value, std::string_view option) {
  if (!value) throw InputError(fmt::format("{} is required for a layer graph", option));
  return *value;
}

ExitCode cut_graph(const StagesOptions& options, const std::atomic<bool>& interrupted) {
  expect_files({{"--output", options.output}}, {{"GRAPH", options.graph}});
  const LayerGraph graph = parse_layer_graph(read_file(options.graph), options.graph.string());
  Budget budget(options.time_limit, std::nullopt);
  budget.watch(&interrupted);
  const StageTask task{options.devices, required(options.memory_gib, "--memory") * kGiB,
                       required(options.bandwidth_gib, "--bandwidth") * kGiB,
                       required(options.microbatches, "--microbatches")};
  const StageAnswer answer = cut_stages(graph, task, budget);
  if (answer.stages.empty()) {
    complain("error", budget.expired() ? "no stages found within the time limit" : "no stages fit in memory");
    return interrupted ? ExitCode::kInterrupted : ExitCode::kNoPlan;
  }
  auto stages = nlohmann::ordered_json::array();
  for (const CutStage& stage : answer.stages) stages.push_back(as_json(graph, stage));
  deliver(options.output,
          nlohmann::ordered_json{
              {"value_s", answer.value}, {"bound_s", answer.bound}, {"proven", answer.is_proven()}, {"stages", stages}}
                  .dump(2) +
              "\n");
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

/// Models whose layers the tables do not tell, by the sizes in their names.
std::uint32_t layers_of(const StagesOptions& options) {
  if (options.layers) return *options.layers;
  const std::pair<std::string_view, std::uint32_t> known[] = {
      {"350M", 24}, {"1_3B", 24}, {"2_6B", 32}, {"6_7B", 32}, {"13B", 40}};
  for (const auto& [size, layers] : known) {
    if (options.model == fmt::format("gpt_{}", size)) return layers;
  }
  throw InputError(fmt::format("--layers is required for {}", options.model));
}

OperatorProfiles load_profiles(const StagesOptions& options) {
  OperatorProfiles profiles;
  profiles.layers = layers_of(options);
  for (std::uint32_t sequences = 1; sequences <= 64; sequences *= 2) {
    for (std::uint32_t tensor = 1; tensor <= 8; tensor *= 2) {
      for (const std::uint32_t algorithm : {0U, 1U}) {
        const auto path =
            options.graph / fmt::format("{}_mbs{}_tp{}_algo{}.csv", options.model, sequences, tensor, algorithm);
        if (!std::filesystem::exists(path)) continue;
        auto table = parse_operator_profiles(read_file(path), path.string());
        const std::size_t expected = profiles.tables.empty() ? table.size() : profiles.tables.begin()->second.size();
        if (table.size() != expected || table.size() < profiles.head + profiles.layer) {
          throw InputError(fmt::format("{}: has {} operators, expected {}", path.string(), table.size(),
                                       std::max(expected, profiles.head + profiles.layer)));
        }
        profiles.tables[{sequences, tensor, algorithm}] = std::move(table);
      }
    }
  }
  if (profiles.tables.empty()) {
    throw InputError(
        fmt::format("{}: has no table {}_mbs1_tp1_algo0.csv or the like", options.graph.string(), options.model));
  }
  const auto bandwidths = [&](const char* name) {
    const auto path = options.graph / name;
    return parse_bandwidths(read_file(path), path.string());
  };
  profiles.node_gb_per_s = bandwidths("p2p_intra_node.csv");
  profiles.fabric_gb_per_s = bandwidths("p2p_inter_node.csv");
  return profiles;
}

nlohmann::ordered_json as_json(const ProfiledStage& stage) {
  auto made_again = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < stage.made_again.size(); ++i) {
    if (stage.made_again[i]) made_again.push_back(stage.begin + i);
  }
  return {{"first_operator", stage.begin},
          {"operators", stage.end - stage.begin},
          {"tensor", stage.tensor},
          {"data", stage.data},
          {"ms", stage.ms},
          {"memory_mb", stage.memory_mb},
          {"made_again", made_again}};
}

ExitCode cut_profiles(const StagesOptions& options, const std::atomic<bool>& interrupted) {
  const OperatorProfiles profiles = load_profiles(options);
  Budget budget(options.time_limit, std::nullopt);
  budget.watch(&interrupted);
  ProfileTask task;
  task.devices = options.devices;
  task.devices_per_node = std::min(options.devices, task.devices_per_node);
  task.batch = options.batch;
  if (options.memory_gib) task.memory_mb = *options.memory_gib * 1024;
  const ProfiledAnswer answer = cut_profiled(profiles, task, budget);
  if (answer.stages.empty()) {
    complain("error", budget.expired() ? "no stages found within the time limit" : "no stages fit in memory");
    return interrupted ? ExitCode::kInterrupted : ExitCode::kNoPlan;
  }
  auto stages = nlohmann::ordered_json::array();
  for (const ProfiledStage& stage : answer.stages) stages.push_back(as_json(stage));
  deliver(options.output, nlohmann::ordered_json{{"value_s", answer.value_ms / 1000},
                                                 {"bound_s", answer.bound_ms / 1000},
                                                 {"sequences", answer.sequences},
                                                 {"stages", stages}}
                                  .dump(2) +
                              "\n");
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

ExitCode run_stages(const StagesOptions& options) {
  const std::atomic<bool>& interrupted = catch_interrupts();
  return options.model.empty() ? cut_graph(options, interrupted) : cut_profiles(options, interrupted);
}

}  // namespace

void add_stages(CLI::App& app, Action& action) {
  auto options = std::make_shared<StagesOptions>();
  CLI::App* command = app.add_subcommand("stages", "cut a layer graph with measured alternatives into pipeline stages");
  command->footer(
      "GRAPH is a file of Piper (Tarnawski et al., NeurIPS 2021); value and bound are seconds per sample of the\n"
      "longest stage in its cost model. With --model it is a folder of operator profiles of Aceso (Liu et al.,\n"
      "EuroSys 2024); value and bound are seconds of an iteration in its cost model (docs/stages.md). Exit code 3:\n"
      "nothing fits in memory.\n\n"
      "Examples:\n"
      "  opweave stages bert32a100.json --devices 8 --memory 8 --bandwidth 25 --microbatches 1920\n"
      "  opweave stages profile/ --model gpt_1_3B --devices 4");
  command->add_option("GRAPH", options->graph, "the layer graph, or a folder of profiles")
      ->required()
      ->check(file_name());
  command->add_option("--devices", options->devices, "devices to use at most")
      ->required()
      ->check(whole_between(1, 10'000));
  command->add_option("--memory", options->memory_gib, "GiB of one device [27.3 with --model]")->check(number());
  command->add_option("--bandwidth", options->bandwidth_gib, "GiB per second between devices")
      ->check(number_between(1e-9, 1e9));
  command->add_option("--microbatches", options->microbatches, "of a batch")->check(whole_between(1, 1'000'000));
  command->add_option("--model", options->model, "name in front of the profiles' files, such as gpt_1_3B");
  command->add_option("--layers", options->layers, "layers of the model")->check(whole_between(1, 1000));
  command->add_option("--batch", options->batch, "sequences of an iteration, with --model")
      ->check(whole_between(1, 1'000'000))
      ->capture_default_str();
  command->add_option("--time-limit", options->time_limit, "seconds")->check(number())->capture_default_str();
  command->add_option("-o,--output", options->output, "write the stages here instead of standard output")
      ->check(file_name());
  command->callback([options, &action] { action = [options] { return run_stages(*options); }; });
}

}  // namespace opweave::cli
