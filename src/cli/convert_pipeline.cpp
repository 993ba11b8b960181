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

struct ConvertPipelineOptions {
  std::filesystem::path spec;
  std::optional<std::string> shape;
  std::optional<std::uint32_t> devices;
  std::filesystem::path on;
  std::optional<std::uint32_t> stages;
  std::optional<std::string> cut;
  std::optional<std::string> schedule;
  std::optional<std::uint32_t> microbatches;
  std::optional<std::uint32_t> copies;
  std::optional<std::string> memory;
  std::optional<double> activations;
  std::int64_t latency_ns = 0;
  std::optional<std::int64_t> bandwidth;
  std::filesystem::path graph;
  std::filesystem::path cluster;
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

PipelineShape shape_of(const ConvertPipelineOptions& options, const std::optional<Expert>& schedule) {
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
                        halves      ? ""
                        : runs == 2 ? " and its opposite"
                                    : "",
                        human(cut.longest_stage),
                        cut.is_proven() ? "proven least"
                                        : fmt::format("proven at least {} and {}", human(cut.largest_load_bound),
                                                      human(cut.longest_stage_bound)));
  }
  complain("cut", line);
}

/// Shape, microbatches, copies and stages; `cluster` says which devices there are. Gives the cut if one was made.
std::optional<StageCut> arrange(PipelineSpec& spec, const ConvertPipelineOptions& options, const CutRequest& request,
                                const Cluster& cluster) {
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
  for (const Device& device : cluster.devices()) spec.devices.push_back(device.name);
  const std::string place = options.cut ? "--cut" : options.schedule ? "--for" : options.spec.string();
  return naming(place, [&] { return cut_pipeline(spec, request, cluster); });
}

/// A file that this command did not make is somebody's work: not a place to write a cluster to.
void expect_own_cluster(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error) || std::filesystem::file_size(path, error) == 0) return;
  std::optional<Cluster> there;
  try {
    there = load_cluster(path);
  } catch (const InputError&) {
    return;  // no cluster
  }
  const Device& first = there->devices().front();
  const std::optional<Link>& link = there->parts().default_link;
  const bool is_own =
      link && cluster_to_json(*there) ==
                  cluster_to_json(uniform_cluster(static_cast<std::uint32_t>(there->device_count()), first.streams,
                                                  first.memory, link->latency, link->bandwidth_bytes_per_s));
  if (is_own) return;
  throw InputError(
      fmt::format("--cluster: {} has a cluster that this command did not write, expected another place for "
                  "the equal devices",
                  path.string()),
      fmt::format("--on {} plans the stages for the devices of that file", path.string()));
}

/// Devices that are given: only the graph is made.
ExitCode run_on_cluster(PipelineSpec spec, const ConvertPipelineOptions& options, const CutRequest& request) {
  const Cluster cluster = load_cluster(options.on);
  const std::optional<StageCut> cut = arrange(spec, options, request, cluster);
  const ComputationGraph graph = naming(options.spec.string(), [&spec] { return build_pipeline(spec); });
  (void)naming(options.spec.string() + " on " + options.on.string(), [&] { return Problem::create(graph, cluster); });
  deliver(options.graph, graph_to_json(graph));
  if (cut) tell(*cut, spec, request.schedule);
  return ExitCode::kDone;
}

ExitCode run_convert_pipeline(const ConvertPipelineOptions& options) {
  expect_files({{"--output", options.graph}, {"--cluster", options.cluster}},
               {{"SPEC", options.spec}, {"--on", options.on}});
  if (options.on.empty()) {
    if (!options.devices) throw InputError("--devices is missing, expected it or --on with a cluster file");
    if (options.cluster.empty()) throw InputError("--cluster is missing, expected the place to write the cluster to");
    expect_own_cluster(options.cluster);
  }
  PipelineSpec spec = parse_pipeline_spec(read_file(options.spec), options.spec.string());
  CutRequest request{options.stages, options.cut, {}};
  if (options.schedule) request.schedule = naming("--for", [&] { return expert_named(*options.schedule); });
  if (!options.on.empty()) return run_on_cluster(std::move(spec), options, request);
  const auto cluster = [&, streams = streams_of(spec)](std::optional<Bytes> memory) {
    return uniform_cluster(*options.devices, streams, memory, Duration(options.latency_ns), options.bandwidth);
  };
  std::optional<Bytes> memory;
  if (options.memory) memory = naming("--memory", [&] { return parse_bytes(*options.memory); });
  const Cluster unlimited = cluster(std::nullopt);
  const std::optional<StageCut> cut = arrange(spec, options, request, unlimited);
  const ComputationGraph graph = naming(options.spec.string(), [&spec] { return build_pipeline(spec); });
  if (options.activations) {
    // An activation is what a microbatch as the layers say it keeps.
    spec.microbatch_scales.clear();
    memory = memory_for_activations(Problem::create(build_pipeline(spec), unlimited), *options.activations);
  }
  deliver(options.graph, graph_to_json(graph));
  deliver(options.cluster, cluster_to_json(cluster(memory)));
  if (cut) tell(*cut, spec, request.schedule);
  return ExitCode::kDone;
}

}  // namespace

void add_convert_pipeline(CLI::App& convert, Action& action) {
  auto options = std::make_shared<ConvertPipelineOptions>();
  CLI::App* command = convert.add_subcommand(
      "pipeline", "layers with measured operators, in a chain or in branches -> pipeline over devices");
  command->footer(
      "Shapes: linear (stage s on device s), V (2 stages per device, there and back), loop (stage s on device s mod "
      "P),\n"
      "two-way (two copies of every parameter, one per direction), free (opweave places the layers).\n"
      "Layers are cut so that the busiest device has as little to do as possible, then the longest stage, then so "
      "that\n"
      "an iteration can be short (docs/cuts.md); --for gives the cut that is best under one published schedule, --cut\n"
      "one of your own. The branches of a model follow one after the other in the order of SPEC, and in shape free "
      "each\n"
      "layer is a stage.\n"
      "One activation is what a microbatch keeps for its backward in 1/devices of the model.\n"
      "The devices are equal, and --cluster is written; or they are those of a cluster file, in its order, with "
      "--on.\n\n"
      "Examples:\n"
      "  opweave convert pipeline spec.json --shape two-way --devices 8 --activations 9 \\\n"
      "    -o graph.json --cluster cluster.json\n"
      "  opweave convert pipeline spec.json --shape linear --on cluster.json -o graph.json");
  command->add_option("SPEC", options->spec, "pipeline specification (JSON, docs/formats.md)")
      ->required()
      ->check(file_name());
  command->add_option("--shape", options->shape, "linear, V, loop, two-way or free [linear, or that of --for]");
  CLI::Option* on = command->add_option("--on", options->on, "the devices of this cluster file, which is only read")
                        ->check(file_name());
  command->add_option("--devices", options->devices, "number of equal devices")
      ->check(whole<std::uint32_t>(1))
      ->excludes(on);
  CLI::Option* stages =
      command
          ->add_option("--stages", options->stages,
                       "number of stages [linear and two-way: one per device; V and loop: two; free: one per layer]")
          ->check(whole<std::uint32_t>(1));
  CLI::Option* schedule = command->add_option("--for", options->schedule,
                                              "published schedule under which the cut is to be best (docs/experts.md)");
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
  memory->excludes(on);
  command->add_option("--activations", options->activations, "capacity: the parameters and this many activations")
      ->check(number())
      ->excludes(memory)
      ->excludes(on);
  command->add_option("--latency-ns", options->latency_ns, "latency between devices")
      ->capture_default_str()
      ->check(whole<std::int64_t>())
      ->excludes(on);
  command->add_option("--bandwidth-bytes-per-s", options->bandwidth, "bandwidth between devices [infinite]")
      ->check(whole<std::int64_t>(1))
      ->excludes(on);
  command->add_option("-o,--output", options->graph, "write the graph here")->required()->check(file_name());
  command->add_option("--cluster", options->cluster, "write the cluster of equal devices here")
      ->excludes(on)
      ->check(file_name());
  command->callback([options, &action] { action = [options] { return run_convert_pipeline(*options); }; });
}

}  // namespace opweave::cli
