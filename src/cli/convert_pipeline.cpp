#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/convert_command.h"
#include "cli/inputs.h"
#include "cli/numbers.h"
#include "opweave/error.h"
#include "opweave/pipeline.h"
#include "opweave/problem.h"

namespace opweave::cli {
namespace {

struct Options {
  std::filesystem::path spec;
  std::string shape = "linear";
  std::uint32_t devices = 0;
  std::optional<std::uint32_t> stages;
  std::optional<std::uint32_t> microbatches;
  std::optional<std::uint32_t> copies;
  std::optional<std::string> memory;
  std::optional<double> activations;
  std::int64_t latency_ns = 0;
  std::optional<std::int64_t> bandwidth;
  ProblemOutput output;
};

std::uint32_t stage_count(const Options& options, PipelineShape shape, std::size_t layers) {
  if (options.stages) return *options.stages;
  switch (shape) {
    case PipelineShape::kLinear:
    case PipelineShape::kTwoWay:
      return options.devices;
    case PipelineShape::kV:
    case PipelineShape::kLoop:
      return 2 * options.devices;
    case PipelineShape::kFree:
      return static_cast<std::uint32_t>(layers);
  }
  throw InternalError("unknown pipeline shape");
}

/// "compute" and whatever else the operators run on, in order of first appearance.
std::vector<std::string> streams_of(const PipelineSpec& spec) {
  std::vector<std::string> streams = {"compute"};
  for (const Layer& layer : spec.layers) {
    for (const LayerOperator& op : layer.operators) {
      for (const std::string& stream : op.streams) {
        if (std::ranges::find(streams, stream) == streams.end()) streams.push_back(stream);
      }
    }
  }
  return streams;
}

ExitCode run(const Options& options) {
  PipelineSpec spec = parse_pipeline_spec(read_file(options.spec), options.spec.string());
  const auto shape = shape_from_string(options.shape);
  if (!shape) {
    throw InputError(fmt::format("--shape: value is \"{}\", expected linear, V, loop, two-way or free", options.shape));
  }
  spec.shape = *shape;
  spec.name += " " + options.shape;
  if (options.microbatches) spec.training.microbatches = *options.microbatches;
  spec.training.replica_of_microbatch.clear();
  if (*shape == PipelineShape::kFree) {
    if (options.copies) spec.training.replicas = *options.copies;
  } else {
    if (options.copies) throw InputError(fmt::format("--copies: only for shape free, {} fixes them", options.shape));
    spec.training.replicas = *shape == PipelineShape::kTwoWay ? 2 : 1;
  }
  const auto layers = static_cast<std::uint32_t>(spec.layers.size());
  const std::uint32_t stages = stage_count(options, *shape, layers);
  if (stages == 0 || stages > layers) {
    throw InputError(fmt::format("{} stages needed for {} devices in shape {}, {} has {} layers", stages,
                                 options.devices, options.shape, options.spec.string(), layers));
  }
  std::vector<Duration> times;
  for (const Layer& layer : spec.layers) times.push_back(total_time(layer));
  spec.stage_of_layer = stages_of_equal_time(times, stages);

  const auto cluster = [&](std::optional<Bytes> memory) {
    return uniform_cluster(options.devices, streams_of(spec), memory, Duration(options.latency_ns), options.bandwidth);
  };
  std::optional<Bytes> memory;
  if (options.memory) memory = naming("--memory", [&] { return parse_bytes(*options.memory); });
  const Cluster unlimited = cluster(std::nullopt);
  for (const Device& device : unlimited.devices()) spec.devices.push_back(device.name);
  const ComputationGraph graph = naming(options.spec.string(), [&spec] { return build_pipeline(spec); });
  if (options.activations) {
    memory = memory_for_activations(Problem::create(graph, unlimited), *options.activations);
  }
  options.output.write(graph, cluster(memory));
  return ExitCode::kDone;
}

}  // namespace

void add_convert_pipeline(CLI::App& convert, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      convert.add_subcommand("pipeline",
                             "layers with measured operators, in a chain or in branches -> pipeline over equal "
                             "devices");
  command->footer(
      "Shapes: linear (stage s on device s), V (2 stages per device, there and back), loop (stage s on device s mod "
      "P),\n"
      "two-way (two copies of every parameter, one per direction), free (opweave places the layers).\n"
      "Stages are cut so that the longest takes as little time as possible; the branches of a model follow one\n"
      "after the other in the order of SPEC, and in shape free each layer is a stage.\n"
      "One activation is what a microbatch keeps for its backward in 1/devices of the model.\n\n"
      "Example:\n"
      "  opweave convert pipeline spec.json --shape two-way --devices 8 --activations 9 \\\n"
      "    -o graph.json --cluster cluster.json");
  command->add_option("SPEC", options->spec, "pipeline specification (JSON, docs/formats.md)")->required();
  command->add_option("--shape", options->shape, "linear, V, loop, two-way or free")->capture_default_str();
  command->add_option("--devices", options->devices, "number of devices")->required()->check(whole<std::uint32_t>(1));
  command
      ->add_option("--stages", options->stages,
                   "number of stages [linear and two-way: one per device; V and loop: two; free: one per layer]")
      ->check(whole<std::uint32_t>(1));
  command->add_option("--microbatches", options->microbatches, "microbatches [as in SPEC]")
      ->check(whole<std::uint32_t>(1));
  command->add_option("--copies", options->copies, "copies of every parameter, for shape free [as in SPEC]")
      ->check(whole<std::uint32_t>(1));
  CLI::Option* memory =
      command->add_option("--memory", options->memory, "capacity of a device, e.g. 80GiB [unlimited]");
  command->add_option("--activations", options->activations, "capacity: the parameters and this many activations")
      ->check(number())
      ->excludes(memory);
  command->add_option("--latency-ns", options->latency_ns, "latency between devices")
      ->capture_default_str()
      ->check(whole<std::int64_t>());
  command->add_option("--bandwidth-bytes-per-s", options->bandwidth, "bandwidth between devices [infinite]")
      ->check(whole<std::int64_t>(1));
  options->output.add_to(*command);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace opweave::cli
