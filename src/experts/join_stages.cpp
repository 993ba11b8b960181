// How many layers each stage of a schedule gets where it may choose.
#include <algorithm>
#include <set>

#include "experts/schedule_judge.h"
#include "experts/stage_layout.h"

namespace opweave::detail {
namespace {

/// Little beside the simulation of the plan for which the stages are joined.
constexpr CutEffort kJoinEffort = {.search = 150'000, .judge = 600'000};

bool has_one_stream(const Problem& problem) {
  for (std::size_t task = 1; task < problem.task_count(); ++task) {
    if (problem.streams(TaskId(task)) != problem.streams(TaskId(0))) return false;
  }
  return true;
}

}  // namespace

std::vector<DeviceId> used_devices(const Problem& problem) {
  std::set<DeviceId> result;
  for (std::size_t group = 0; group < problem.group_count(); ++group) {
    const auto devices = problem.devices_of(GroupId(group));
    result.insert(devices.begin(), devices.end());
  }
  return {result.begin(), result.end()};
}

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

StageRounds rounds_of(const Problem& problem, const StageLayout& layout, const PipelineSchedule& schedule,
                      const std::vector<DeviceId>& devices) {
  const auto rows = static_cast<std::uint32_t>(schedule.devices.size());
  if (schedule.shape == PipelineShape::kFree || devices.size() < rows) {
    return opweave::rounds_of(PipelineShape::kLinear, schedule.stages, schedule.stages, {});
  }
  StageRounds rounds = opweave::rounds_of(schedule.shape, schedule.stages, rows, problem.settings().training);
  if (rounds.stages() != schedule.stages) {
    return opweave::rounds_of(PipelineShape::kLinear, schedule.stages, schedule.stages, {});
  }
  rounds.kind_of_device = layout.kinds({devices.begin(), devices.begin() + rows});
  return rounds;
}

StageCut cut_for(const Problem& problem, const StageLayout& layout, const PipelineSchedule& schedule,
                 const std::vector<DeviceId>& devices, Duration hop) {
  const StageRounds rounds = rounds_of(problem, layout, schedule, devices);
  const LayerRow row = layout.row(devices, hop);
  CutJudge judge;
  if (rounds.devices == schedule.devices.size() && schedule.stages < layout.problem_stages()) {
    judge = schedule_judge(row, rounds, schedule);
    judge.over_loads = has_one_stream(problem);
  }
  return cut_stages(row, rounds, judge, kJoinEffort);
}

StageCut even_cut(const StageLayout& layout, const PipelineSchedule& schedule, const std::vector<DeviceId>& devices) {
  StageRounds rounds;
  rounds.devices = schedule.stages;
  return cut_stages(layout.row({devices.front()}, {}), rounds);
}

}  // namespace opweave::detail
