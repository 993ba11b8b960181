#include <algorithm>
#include <set>

#include "experts/stage_layout.h"
#include "opweave/experts.h"

namespace opweave {

namespace {

using detail::StageLayout;
using detail::Work;

/// Devices that some operator may use.
std::vector<DeviceId> used_devices(const Problem& problem) {
  std::set<DeviceId> result;
  for (std::size_t group = 0; group < problem.group_count(); ++group) {
    const auto devices = problem.devices_of(GroupId(group));
    result.insert(devices.begin(), devices.end());
  }
  return {result.begin(), result.end()};
}

/// Longest transfer of the first microbatch between two stages, between the first two devices.
Duration hop_latency(const Problem& problem, const StageLayout& layout, const std::vector<DeviceId>& devices) {
  Duration result;
  if (devices.size() < 2) return result;
  std::set<OperatorId> here;
  for (std::uint32_t stage = 0; stage < layout.stages(); ++stage) {
    here.clear();
    for (const Work work : {Work::kForward, Work::kBackward}) {
      here.insert(layout.operators(stage, work).begin(), layout.operators(stage, work).end());
    }
    for (const OperatorId op : here) {
      for (const ValueId value : problem.outputs(problem.task_of(op, 0))) {
        const auto consumers = problem.consumers(value);
        const bool leaves = std::any_of(consumers.begin(), consumers.end(),
                                        [&](TaskId task) { return !here.contains(problem.task(task).op); });
        if (!leaves) continue;
        if (const auto time = problem.transfer_time(value, devices[0], devices[1])) result = std::max(result, *time);
      }
    }
  }
  return result;
}

/// The microbatches of a two-way schedule are halves; those of the problem are bound to replicas in any way.
/// False where the replicas are not two of equal size.
bool bind_directions(const Training& training, PipelineSchedule& schedule) {
  std::vector<std::uint32_t> microbatches[2];
  for (std::uint32_t microbatch = 0; microbatch < training.microbatches; ++microbatch) {
    const std::uint32_t replica = training.replica_of(microbatch);
    if (replica > 1) return false;
    microbatches[replica].push_back(microbatch);
  }
  const std::size_t half = microbatches[0].size();
  if (half != microbatches[1].size()) return false;
  const auto bound = [&](std::uint32_t microbatch) {
    return microbatch < half ? microbatches[0][microbatch] : microbatches[1][microbatch - half];
  };
  for (auto& row : schedule.devices) {
    for (PipelineAction& action : row) {
      action.microbatch = bound(action.microbatch);
      if (action.kind == ActionKind::kPair) action.backward_microbatch = bound(action.backward_microbatch);
    }
  }
  return true;
}

bool has_pairs(const PipelineSchedule& schedule) {
  return std::any_of(schedule.devices.begin(), schedule.devices.end(), [](const auto& row) {
    return std::any_of(row.begin(), row.end(),
                       [](const PipelineAction& action) { return action.kind == ActionKind::kPair; });
  });
}

}  // namespace

std::vector<ExpertPlan> expert_plans(const Problem& problem, const Budget& budget) {
  std::vector<ExpertPlan> result;
  auto layout = StageLayout::of(problem);
  if (!layout) return result;
  const Training& training = problem.settings().training;
  const std::vector<DeviceId> devices = used_devices(problem);
  for (const Expert expert : kAllExperts) {
    const std::uint32_t chunks = stages_of(expert, 1);
    const auto rows = std::min(static_cast<std::uint32_t>(devices.size()), layout->problem_stages() / chunks);
    if (rows == 0) continue;
    layout->join_into(stages_of(expert, rows));
    const StageCosts costs{layout->mean_time(Work::kForward), layout->mean_time(Work::kInputGradient),
                           layout->mean_time(Work::kWeightGradient), hop_latency(problem, *layout, devices)};
    auto schedule = generate(expert, rows, training.microbatches, costs);
    if (!schedule) continue;
    if (schedule->shape == PipelineShape::kTwoWay && !bind_directions(training, *schedule)) continue;
    for (const PairMode pairs : {PairMode::kAtomic, PairMode::kSplit}) {
      if (pairs == PairMode::kSplit && !has_pairs(*schedule)) continue;
      if (budget.expired()) return result;
      std::string reason;  // an expert that does not fit is no error here
      const auto order = detail::order_of(problem, *layout, *schedule, pairs, reason);
      if (!order) break;
      SimulationOptions options;
      options.contention = problem.settings().contention;
      SimulationResult simulated = simulate(problem, *order, options);
      if (!simulated.deadlocked.empty()) continue;
      const std::string suffix = pairs == PairMode::kSplit ? " (split)" : "";
      result.push_back({expert, std::string(to_string(expert)) + suffix, *schedule, std::move(simulated.schedule)});
    }
  }
  return result;
}

}  // namespace opweave
