// From the actions of a schedule to blocks of tasks.
#include <algorithm>
#include <map>
#include <set>

#include "experts/interleave.h"
#include "experts/stage_layout.h"
#include "opweave/error.h"

namespace opweave {

namespace detail {

namespace {

class OrderBuilder {
 public:
  OrderBuilder(const Problem& problem, const StageLayout& layout, const RowPlacement& rows, PairMode pairs)
      : problem_(problem), layout_(layout), rows_(rows), pairs_(pairs), placed_(problem.task_count(), false) {
    order_.modes.resize(problem.task_count());
    order_.devices.resize(problem.cluster().device_count());
  }

  std::optional<ExecutionOrder> build(const PipelineSchedule& schedule, std::string& reason) {
    for (std::size_t row = 0; row < schedule.devices.size(); ++row) {
      for (const PipelineAction& action : schedule.devices[row]) {
        if (!add(action, rows_.devices[row], reason)) return std::nullopt;
      }
    }
    for (std::size_t task = 0; task < problem_.task_count(); ++task) {
      if (placed_[task] || (is_optimizer(TaskId(task)) && add_optimizer(TaskId(task)))) continue;
      reason = "no action runs operator \"" + problem_.task_name(TaskId(task)) + "\"";
      return std::nullopt;
    }
    return std::move(order_);
  }

 private:
  [[nodiscard]] bool is_optimizer(TaskId task) const { return problem_.op(task).phase == Phase::kOptimizer; }

  /// At the end of the device where its parameters are: everything there comes before it anyway.
  bool add_optimizer(TaskId task) {
    const auto row = rows_.row_of_group[problem_.group_of(task).index()];
    if (!row) return false;
    const DeviceId device = rows_.devices[*row];
    order_.devices[device.index()].push_back(sequence({task}, device));
    return true;
  }

  bool add(const PipelineAction& action, DeviceId device, std::string& reason) {
    auto& blocks = order_.devices[device.index()];
    std::vector<std::vector<TaskId>> parts;
    for (const ActionPart& part : parts_of(action)) {
      parts.emplace_back();
      for (const OperatorId op : layout_.operators(part.stage, part.work)) {
        const TaskId task = problem_.task_of(op, part.microbatch);
        if (placed_[task.index()]) {
          reason = "action " + to_string(action) + " runs operator \"" + problem_.task_name(task) + "\" again";
          return false;
        }
        placed_[task.index()] = true;
        parts.back().push_back(task);
      }
    }
    if (action.kind == ActionKind::kPair && pairs_ == PairMode::kAtomic) {
      if (depends(parts[1], parts[0])) {
        reason = "action " + to_string(action) + " overlaps a forward with the backward that needs it";
        return false;
      }
      blocks.push_back(overlap(parts[0], parts[1], device));
      return true;
    }
    for (const std::vector<TaskId>& tasks : parts) {
      if (!tasks.empty()) blocks.push_back(sequence(tasks, device));
    }
    return true;
  }

  [[nodiscard]] bool depends(const std::vector<TaskId>& later, const std::vector<TaskId>& earlier) const {
    const std::set<TaskId> sources(earlier.begin(), earlier.end());
    return std::any_of(later.begin(), later.end(), [&](TaskId task) {
      const auto predecessors = problem_.predecessors(task);
      return std::any_of(predecessors.begin(), predecessors.end(), [&](TaskId p) { return sources.contains(p); });
    });
  }

  Duration choose_mode(TaskId task, DeviceId device) {
    const auto mode = problem_.mode_on(task, device);
    if (!mode) throw InternalError("a row was placed on a device that its operators may not use");
    order_.modes[task.index()] = *mode;
    return problem_.mode(task, *mode).duration;
  }

  Block sequence(const std::vector<TaskId>& tasks, DeviceId device) {
    Block block;
    for (const TaskId task : tasks) {
      block.tasks.push_back(task);
      block.offsets.push_back(block.duration);
      block.duration += choose_mode(task, device);
    }
    return block;
  }

  Block overlap(const std::vector<TaskId>& forward, const std::vector<TaskId>& backward, DeviceId device) {
    const auto describe = [&](TaskId task) { return PairOperator{problem_.streams(task), choose_mode(task, device)}; };
    PairWork work;
    for (const TaskId task : forward) work.forward.push_back(describe(task));
    std::map<TaskId, std::uint32_t> position;  // in the chain, from 1
    std::vector<TaskId> chain;
    std::vector<TaskId> deferred;
    for (const TaskId task : backward) {
      if (problem_.op(task).phase != Phase::kWeightGradient) {
        work.backward.push_back(describe(task));
        chain.push_back(task);
        position[task] = static_cast<std::uint32_t>(chain.size());
        continue;
      }
      std::uint32_t released_by = 0;
      for (const TaskId predecessor : problem_.predecessors(task)) {
        if (const auto found = position.find(predecessor); found != position.end()) {
          released_by = std::max(released_by, found->second);
        }
      }
      position[task] = released_by;
      work.deferred.push_back({describe(task), released_by});
      deferred.push_back(task);
    }
    const Interleaving& result = cached(work);
    Block block;
    block.duration = result.duration;
    const auto append = [&](const std::vector<TaskId>& tasks, const std::vector<Duration>& starts) {
      block.tasks.insert(block.tasks.end(), tasks.begin(), tasks.end());
      block.offsets.insert(block.offsets.end(), starts.begin(), starts.end());
    };
    append(forward, result.forward);
    append(chain, result.backward);
    append(deferred, result.deferred);
    return block;
  }

  /// Pairs of equal stages are alike for all microbatches.
  const Interleaving& cached(const PairWork& work) {
    const auto [entry, is_new] = interleavings_.try_emplace(work);
    if (is_new) entry->second = interleave(work);
    return entry->second;
  }

  const Problem& problem_;
  const StageLayout& layout_;
  const RowPlacement& rows_;
  PairMode pairs_;
  std::vector<bool> placed_;
  ExecutionOrder order_;
  std::map<PairWork, Interleaving> interleavings_;
};

}  // namespace

std::optional<ExecutionOrder> order_of(const Problem& problem, const StageLayout& layout,
                                       const PipelineSchedule& schedule, PairMode pairs, std::string& reason) {
  const auto rows = place_rows(problem, layout, schedule, reason);
  if (!rows) return std::nullopt;
  return OrderBuilder(problem, layout, *rows, pairs).build(schedule, reason);
}

}  // namespace detail

ExecutionOrder to_order(const Problem& problem, const PipelineSchedule& schedule, PairMode pairs) {
  const std::string where = "schedule \"" + schedule.name + "\": ";
  auto layout = detail::StageLayout::of(problem);
  if (!layout) throw InputError(where + "the problem has operators without a stage");
  if (schedule.stages == 0 || schedule.stages > layout->problem_stages()) {
    throw InputError(where + "has " + std::to_string(schedule.stages) + " stages, the problem has " +
                     std::to_string(layout->problem_stages()));
  }
  const std::vector<DeviceId> devices = detail::used_devices(problem);
  const Duration hop = detail::hop_latency(problem, *layout, devices);
  layout->join(detail::cut_for(problem, *layout, schedule, devices, hop));
  std::string reason;
  auto order = detail::order_of(problem, *layout, schedule, pairs, reason);
  if (!order) throw InputError(where + reason);
  return std::move(*order);
}

}  // namespace opweave
