#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/convert_command.h"
#include "cli/inputs.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/pipeline.h"
#include "opweave/problem.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

struct Options {
  std::filesystem::path spec;
  std::optional<std::string> shape;
  std::uint32_t devices = 0;
  std::optional<std::uint32_t> stages;
  std::optional<std::string> cut;
  std::optional<std::string> schedule;
  std::optional<std::uint32_t> microbatches;
  std::optional<std::uint32_t> copies;
  std::optional<std::string> memory;
  std::optional<double> activations;
  std::int64_t latency_ns = 0;
  std::optional<std::int64_t> bandwidth;
  ProblemOutput output;
};

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

PipelineShape shape_of(const Options& options, const std::optional<Expert>& schedule) {
  if (!options.shape) return schedule ? opweave::shape_of(*schedule) : PipelineShape::kLinear;
  const auto shape = shape_from_string(*options.shape);
  if (shape) return *shape;
  throw InputError(fmt::format("--shape: value is \"{}\", expected linear, V, loop, two-way or free", *options.shape));
}

/// One line on what was decided, beside the files.
void tell(const StageCut& cut, const PipelineSpec& spec, const std::optional<Expert>& schedule) {
  std::string line = to_string(cut.layers_of_stage) + " layers per stage";
  if (schedule) {
    line += fmt::format(", {} under {} ({})", human(Duration(*cut.judged)), to_string(*schedule),
                        cut.judged_all ? "no cut is shorter" : "the shortest found");
  } else {
    const std::int64_t runs = spec.shape == PipelineShape::kTwoWay ? 2 : 1;
    const bool halves = runs == 2 && cut.largest_load.value() % 2 == 0;
    line += fmt::format(", busiest device {} per microbatch{}, longest stage {} ({})",
                        human(halves ? Duration(cut.largest_load.value() / 2) : cut.largest_load),
                        halves ? "" : runs == 2 ? " and its opposite" : "", human(cut.longest_stage),
                        cut.is_proven() ? "proven least"
                                        : fmt::format("proven at least {} and {}", human(cut.largest_load_bound),
                                                      human(cut.longest_stage_bound)));
  }
  complain("cut", line);
}

ExitCode run(const Options& options) {
  expect_files(options.output.named(), {{"SPEC", options.spec}});
  PipelineSpec spec = parse_pipeline_spec(read_file(options.spec), options.spec.string());
  CutRequest request{options.stages, options.cut, {}};
  if (options.schedule) request.schedule = naming("--for", [&] { return expert_named(*options.schedule); });
  spec.shape = shape_of(options, request.schedule);
  const std::string shape(to_string(spec.shape));
  spec.name += " " + shape;
  if (options.microbatches) spec.training.microbatches = *options.microbatches;
  spec.training.replica_of_microbatch.clear();
  if (spec.shape == PipelineShape::kFree) {
    if (options.copies) spec.training.replicas = *options.copies;
  } else {
    if (options.copies) throw InputError(fmt::format("--copies: only for shape free, {} fixes them", shape));
    spec.training.replicas = spec.shape == PipelineShape::kTwoWay ? 2 : 1;
  }

  const auto cluster = [&](std::optional<Bytes> memory) {
    return uniform_cluster(options.devices, streams_of(spec), memory, Duration(options.latency_ns), options.bandwidth);
  };
  std::optional<Bytes> memory;
  if (options.memory) memory = naming("--memory", [&] { return parse_bytes(*options.memory); });
  const Cluster unlimited = cluster(std::nullopt);
  for (const Device& device : unlimited.devices()) spec.devices.push_back(device.name);
  const auto cut = naming(options.cut        ? "--cut"
                          : options.schedule ? "--for"
                                             : options.spec.string(),
                          [&] { return cut_pipeline(spec, request, unlimited); });
  const ComputationGraph graph = naming(options.spec.string(), [&spec] { return build_pipeline(spec); });
  if (options.activations) {
    memory = memory_for_activations(Problem::create(graph, unlimited), *options.activations);
  }
  options.output.write(graph, cluster(memory));
  if (cut) tell(*cut, spec, request.schedule);
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
      "Layers are cut so that the busiest device has as little to do as possible, then the longest stage, then so that\n"
      "an iteration can be short (docs/cuts.md); --for gives the cut that is best under one published schedule, --cut\n"
      "one of your own. The branches of a model follow one after the other in the order of SPEC, and in shape free each\n"
      "layer is a stage.\n"
      "One activation is what a microbatch keeps for its backward in 1/devices of the model.\n\n"
      "Example:\n"
      "  opweave convert pipeline spec.json --shape two-way --devices 8 --activations 9 \\\n"
      "    -o graph.json --cluster cluster.json");
  command->add_option("SPEC", options->spec, "pipeline specification (JSON, docs/formats.md)")
      ->required()
      ->check(file_name());
  command->add_option("--shape", options->shape, "linear, V, loop, two-way or free [linear, or that of --for]");
  command->add_option("--devices", options->devices, "number of devices")->required()->check(whole<std::uint32_t>(1));
  CLI::Option* stages =
      command
          ->add_option("--stages", options->stages,
                       "number of stages [linear and two-way: one per device; V and loop: two; free: one per layer]")
          ->check(whole<std::uint32_t>(1));
  CLI::Option* schedule = command->add_option(
      "--for", options->schedule, "published schedule under which the cut is to be best (docs/experts.md)");
  command
      ->add_option("--cut", options->cut,
                   "layers of each stage, 4,5,5,2, or a layout of Megatron-LM, \"Et*3|(tt|)*29,m|L\"")
      ->excludes(stages)
      ->excludes(schedule);
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
