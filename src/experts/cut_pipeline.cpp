// From what a user asks for to the stages of a pipeline.
#include <algorithm>

#include "experts/schedule_judge.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/simulate.h"

namespace opweave {
namespace {

/// About a second each: a cut is made once and used often.
constexpr CutEffort kCutEffort = {.search = 20'000'000, .judge = 50'000'000};
constexpr CutEffort kScheduleEffort = {.search = 10'000'000, .judge = 150'000'000};

std::uint32_t stage_count(const PipelineSpec& spec, const CutRequest& request) {
  if (request.stages) return *request.stages;
  const auto devices = static_cast<std::uint32_t>(spec.devices.size());
  switch (spec.shape) {
    case PipelineShape::kLinear:
    case PipelineShape::kTwoWay:
      return devices;
    case PipelineShape::kV:
    case PipelineShape::kLoop:
      return 2 * devices;
    case PipelineShape::kFree:
      return static_cast<std::uint32_t>(spec.layers.size());
  }
  throw InternalError("unknown pipeline shape");
}

void take(PipelineSpec& spec, const std::vector<std::uint32_t>& layers_of_stage) {
  spec.stage_of_layer.clear();
  spec.stages.reset();
  for (std::uint32_t stage = 0; stage < layers_of_stage.size(); ++stage) {
    spec.stage_of_layer.insert(spec.stage_of_layer.end(), layers_of_stage[stage], stage);
    if (layers_of_stage[stage] == 0) spec.stages = static_cast<std::uint32_t>(layers_of_stage.size());
  }
}

PipelineSchedule schedule_of(Expert expert, const PipelineSpec& spec, const LayerRow& layers,
                             const StageRounds& rounds) {
  const std::string name(to_string(expert));
  if (shape_of(expert) != spec.shape) {
    throw InputError("schedule " + name + " is one of shape " + std::string(to_string(shape_of(expert))) +
                     ", the pipeline has shape " + std::string(to_string(spec.shape)));
  }
  const auto chunks = static_cast<std::uint32_t>(rounds.downwards.size());
  const ExpertSize size{rounds.devices, spec.training.microbatches, chunks, {}};
  if (const auto reason = why_undefined(expert, size)) throw InputError(name + " " + *reason);
  LayerTimes sum;
  for (const LayerTimes& layer : layers.times.front()) sum += layer;
  const auto mean = [&](Duration time) { return Duration(time.value() / rounds.stages()); };
  const StageCosts costs{mean(sum.forward), mean(sum.input_gradient), mean(sum.weight_gradient),
                         layers.hops.empty() ? Duration() : layers.hops.front()};
  auto schedule = generate(expert, size, costs);
  if (!schedule) throw InputError(name + " finds no order for these times");
  return std::move(*schedule);
}

/// The judge takes a pair as long as its parts, which it is on one stream alone.
bool is_exact(const PipelineSpec& spec, const PipelineSchedule& schedule) {
  const bool in_pairs = std::ranges::any_of(schedule.devices, [](const auto& row) {
    return std::ranges::any_of(row, [](const PipelineAction& action) { return action.kind == ActionKind::kPair; });
  });
  const auto& streams = spec.layers.front().operators.front().streams;
  return !in_pairs || std::ranges::all_of(spec.layers, [&](const Layer& layer) {
    return std::ranges::all_of(layer.operators, [&](const LayerOperator& op) { return op.streams == streams; });
  });
}

StageCut cut_for(Expert expert, PipelineSpec& spec, const LayerRow& layers, const StageRounds& rounds,
                 const Cluster& cluster) {
  const PipelineSchedule schedule = schedule_of(expert, spec, layers, rounds);
  CutJudge judge = detail::schedule_judge(layers, rounds, schedule);
  judge.over_loads = is_exact(spec, schedule);
  StageCut cut = cut_stages(layers, rounds, judge, kScheduleEffort);
  take(spec, cut.layers_of_stage);
  // What people are told is what a simulation of the very pipeline says.
  const Problem problem = Problem::create(build_pipeline(spec), cluster);
  const SimulationResult result = simulate(problem, to_order(problem, schedule, PairMode::kAtomic));
  cut.judged_all = cut.judged_all && cut.judged == result.makespan.value();
  cut.judged = result.makespan.value();
  return cut;
}

}  // namespace

std::optional<StageCut> cut_pipeline(PipelineSpec& spec, const CutRequest& request, const Cluster& cluster) {
  const auto layers = static_cast<std::uint32_t>(spec.layers.size());
  if (request.cut) {
    take(spec, parse_cut(*request.cut, layers));
    return std::nullopt;
  }
  const std::uint32_t stages = stage_count(spec, request);
  const auto devices = static_cast<std::uint32_t>(spec.devices.size());
  if (stages == 0 || stages > layers) {
    throw InputError(std::to_string(stages) + " stages needed for " + std::to_string(devices) + " devices in shape " +
                     std::string(to_string(spec.shape)) + ", the pipeline has " + std::to_string(layers) + " layers");
  }
  StageRounds rounds{.devices = stages, .downwards = {false}, .kind_of_device = {}};
  const bool fits_shape = spec.shape == PipelineShape::kLoop ? devices > 0 && stages % devices == 0
                          : spec.shape == PipelineShape::kV  ? stages == 2 * devices
                                                             : stages == devices;
  const bool is_free = spec.shape == PipelineShape::kFree;
  if (!is_free && fits_shape) rounds = rounds_of(spec.shape, stages, devices, spec.training);
  std::vector<std::string> types;
  for (const std::string& device : spec.devices) {
    const std::string& type = cluster.at(*cluster.find_device(device)).type;
    const auto known = std::ranges::find(types, type);
    if (!is_free && fits_shape) rounds.kind_of_device.push_back(static_cast<std::uint32_t>(known - types.begin()));
    if (known == types.end()) types.push_back(type);
  }
  const LayerRow row = layer_row(spec, types, [&](Bytes bytes) {
    if (cluster.device_count() < 2) return Duration();
    return cluster.transfer_time(bytes, DeviceId(0), DeviceId(1)).value_or(Duration());
  });
  if (is_free && request.schedule) {
    throw InputError("shape free leaves the placement to the planner, schedule " +
                     std::string(to_string(*request.schedule)) + " is one of shape " +
                     std::string(to_string(shape_of(*request.schedule))));
  }
  if (is_free || !fits_shape) {  // what does not fit is told when the graph is built
    take(spec, cut_stages(row, rounds).layers_of_stage);
    return std::nullopt;
  }
  if (request.schedule) return cut_for(*request.schedule, spec, row, rounds, cluster);
  StageCut cut = cut_stages(row, rounds, dispatch_judge(row, rounds, spec.training.microbatches), kCutEffort);
  take(spec, cut.layers_of_stage);
  return cut;
}

}  // namespace opweave
