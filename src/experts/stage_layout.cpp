#include "experts/stage_layout.h"

#include <algorithm>
#include <map>

#include "opweave/error.h"

namespace opweave::detail {

namespace {

bool belongs_to(Phase phase, Work work) {
  switch (phase) {
    case Phase::kNone:
    case Phase::kForward:
      return work == Work::kForward;
    case Phase::kInputGradient:
    case Phase::kBackward:
      return work == Work::kInputGradient || work == Work::kBackward;
    case Phase::kWeightGradient:
      return work == Work::kWeightGradient || work == Work::kBackward;
    case Phase::kOptimizer:
      return false;
  }
  return false;
}

constexpr std::array kAllWork = {Work::kForward, Work::kInputGradient, Work::kWeightGradient, Work::kBackward};

/// Numbers of stages that nobody has are empty stages where all stages lie on one device each and the numbers fill
/// as many rounds over the devices; else they only tell the order.
bool has_empty_stages(const Problem& problem, std::uint32_t stages, StageId last) {
  for (std::size_t group = 0; group < problem.group_count(); ++group) {
    if (problem.devices_of(GroupId(group)).size() != 1) return false;
  }
  const auto devices = static_cast<std::uint32_t>(used_devices(problem).size());
  return last.index() < std::size_t{(stages + devices - 1) / devices} * devices;
}

}  // namespace

std::optional<StageLayout> StageLayout::of(const Problem& problem) {
  StageLayout layout(problem);
  const auto& operators = problem.graph().operators();
  std::map<StageId, std::uint32_t> stages;
  for (const Operator& op : operators) {
    if (op.phase == Phase::kOptimizer) continue;
    if (!op.stage) return std::nullopt;
    stages[*op.stage] = 0;
  }
  if (stages.empty()) return std::nullopt;
  if (has_empty_stages(problem, static_cast<std::uint32_t>(stages.size()), stages.rbegin()->first)) {
    for (auto& [id, index] : stages) index = static_cast<std::uint32_t>(id.index());
    layout.problem_stages_ = stages.rbegin()->second + 1;
  } else {
    for (auto& [id, index] : stages) index = layout.problem_stages_++;
  }
  for (const Operator& op : operators) {
    const bool repeated = op.phase != Phase::kOptimizer;
    layout.stage_of_operator_.push_back(repeated ? std::optional(stages[*op.stage]) : std::nullopt);
  }
  layout.keep_apart();
  return layout;
}

Duration StageLayout::time(OperatorId op) const { return problem_->shortest(problem_->task_of(op, 0)); }

void StageLayout::add_empty(std::uint32_t stages) {
  problem_stages_ = std::max(problem_stages_, stages);
  keep_apart();
}

void StageLayout::keep_apart() { join_by(even_stages(problem_stages_, problem_stages_), problem_stages_); }

void StageLayout::join(const StageCut& cut) {
  join_by(cut.stage_of_layer(), static_cast<std::uint32_t>(cut.layers_of_stage.size()));
}

void StageLayout::join_by(const std::vector<std::uint32_t>& joined, std::uint32_t stages) {
  stages_ = stages;
  operators_.assign(stages, {});
  for (const OperatorId op : problem_->graph().topological_order()) {
    if (!stage_of_operator_[op.index()]) continue;
    auto& of_stage = operators_[joined[*stage_of_operator_[op.index()]]];
    for (const Work work : kAllWork) {
      if (belongs_to(problem_->graph().at(op).phase, work)) of_stage[static_cast<std::size_t>(work)].push_back(op);
    }
  }
}

Duration StageLayout::total_time(Work work) const {
  Duration total;
  for (std::uint32_t stage = 0; stage < stages_; ++stage) {
    for (const OperatorId op : operators(stage, work)) total += time(op);
  }
  return total;
}

std::vector<std::uint32_t> StageLayout::kinds(const std::vector<DeviceId>& devices) const {
  std::vector<std::string> types;
  std::vector<std::uint32_t> result;
  for (const DeviceId device : devices) {
    const std::string& type = problem_->cluster().at(device).type;
    const auto known = std::ranges::find(types, type);
    result.push_back(static_cast<std::uint32_t>(known - types.begin()));
    if (known == types.end()) types.push_back(type);
  }
  return result;
}

LayerRow StageLayout::row(const std::vector<DeviceId>& devices, Duration hop) const {
  const std::vector<std::uint32_t> kind_of = kinds(devices);
  LayerRow result;
  result.hops.assign(problem_stages_, hop);
  for (std::size_t place = 0; place < devices.size(); ++place) {
    if (kind_of[place] < result.times.size()) continue;
    auto& times = result.times.emplace_back(problem_stages_);
    for (const OperatorId op : problem_->graph().topological_order()) {
      if (!stage_of_operator_[op.index()]) continue;
      const TaskId task = problem_->task_of(op, 0);
      const auto mode = problem_->mode_on(task, devices[place]);
      const Duration duration = mode ? problem_->mode(task, *mode).duration : time(op);
      LayerTimes& of_stage = times[*stage_of_operator_[op.index()]];
      const Phase phase = problem_->graph().at(op).phase;
      if (belongs_to(phase, Work::kForward)) of_stage.forward += duration;
      if (belongs_to(phase, Work::kInputGradient)) of_stage.input_gradient += duration;
      if (belongs_to(phase, Work::kWeightGradient)) of_stage.weight_gradient += duration;
    }
  }
  return result;
}

std::vector<ActionPart> parts_of(const PipelineAction& action) {
  switch (action.kind) {
    case ActionKind::kForward:
      return {{action.stage, action.microbatch, Work::kForward}};
    case ActionKind::kInputGradient:
      return {{action.stage, action.microbatch, Work::kInputGradient}};
    case ActionKind::kWeightGradient:
      return {{action.stage, action.microbatch, Work::kWeightGradient}};
    case ActionKind::kBackward:
      return {{action.stage, action.microbatch, Work::kBackward}};
    case ActionKind::kPair:
      return {{action.stage, action.microbatch, Work::kForward},
              {action.backward_stage, action.backward_microbatch, Work::kBackward}};
  }
  throw InternalError("action of no kind");
}

namespace {

/// Devices on which all groups of a row may run; ascending.
std::vector<DeviceId> common(const std::vector<DeviceId>& some, std::span<const DeviceId> others) {
  std::vector<DeviceId> result;
  std::set_intersection(some.begin(), some.end(), others.begin(), others.end(), std::back_inserter(result));
  return result;
}

/// Gives every row a device of its own among its candidates (augmenting paths, first choice its own number).
class Matching {
 public:
  Matching(std::vector<std::vector<DeviceId>> candidates, std::size_t devices)
      : candidates_(std::move(candidates)), row_on_(devices) {}

  [[nodiscard]] std::optional<std::vector<DeviceId>> run() {
    for (std::size_t row = 0; row < candidates_.size(); ++row) {
      auto& list = candidates_[row];
      const auto own = std::find(list.begin(), list.end(), DeviceId(row));
      if (own != list.end()) std::rotate(list.begin(), own, own + 1);
      std::vector<bool> seen(row_on_.size(), false);
      if (!place(row, seen)) return std::nullopt;
    }
    std::vector<DeviceId> result(candidates_.size());
    for (std::size_t device = 0; device < row_on_.size(); ++device) {
      if (row_on_[device]) result[*row_on_[device]] = DeviceId(device);
    }
    return result;
  }

 private:
  bool place(std::size_t row, std::vector<bool>& seen) {
    for (const DeviceId device : candidates_[row]) {
      if (seen[device.index()]) continue;
      seen[device.index()] = true;
      auto& holder = row_on_[device.index()];
      if (holder && !place(*holder, seen)) continue;
      holder = row;
      return true;
    }
    return false;
  }

  std::vector<std::vector<DeviceId>> candidates_;
  std::vector<std::optional<std::size_t>> row_on_;
};

}  // namespace

std::optional<RowPlacement> place_rows(const Problem& problem, const StageLayout& layout,
                                       const PipelineSchedule& schedule, std::string& reason) {
  RowPlacement result;
  result.row_of_group.resize(problem.group_count());
  std::vector<DeviceId> all;
  for (std::size_t device = 0; device < problem.cluster().device_count(); ++device) all.emplace_back(device);
  std::vector<std::vector<DeviceId>> candidates(schedule.devices.size(), all);
  for (std::uint32_t row = 0; row < schedule.devices.size(); ++row) {
    for (const PipelineAction& action : schedule.devices[row]) {
      for (const ActionPart& part : parts_of(action)) {
        if (part.stage >= layout.stages() || part.microbatch >= problem.settings().training.microbatches) {
          reason = "action " + to_string(action) + " has no operators: the problem has " +
                   std::to_string(layout.stages()) + " stages and " +
                   std::to_string(problem.settings().training.microbatches) + " microbatches";
          return std::nullopt;
        }
        for (const OperatorId op : layout.operators(part.stage, part.work)) {
          const GroupId group = problem.group_of(problem.task_of(op, part.microbatch));
          auto& row_of_group = result.row_of_group[group.index()];
          if (row_of_group == row) continue;
          if (row_of_group) {
            reason = "action " + to_string(action) + " of row " + std::to_string(row) +
                     " shares a device with actions of row " + std::to_string(*row_of_group);
            return std::nullopt;
          }
          row_of_group = row;
          candidates[row] = common(candidates[row], problem.devices_of(group));
          for (const GroupId other : problem.apart_from(group)) {
            if (result.row_of_group[other.index()] != row) continue;
            reason = "action " + to_string(action) + " must not share a device with others of its row";
            return std::nullopt;
          }
        }
      }
    }
  }
  auto devices = Matching(std::move(candidates), all.size()).run();
  if (!devices) {
    reason = "the rows of the schedule do not fit the devices that their operators may use";
    return std::nullopt;
  }
  result.devices = std::move(*devices);
  return result;
}

}  // namespace opweave::detail
