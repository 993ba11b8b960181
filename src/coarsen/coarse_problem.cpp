#include "coarsen/coarse_problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "coarsen/merging.h"
#include "opweave/cost.h"
#include "opweave/error.h"

namespace opweave::coarsen {
namespace {

/// Bytes that the members take while they run one after the other, beside what comes from outside or leaves: their
/// workspaces, and the values that only they use.
Bytes internal_peak(const Problem& problem, const std::vector<TaskId>& members,
                    const std::vector<std::uint32_t>& last_use) {
  Bytes held;
  Bytes peak;
  std::vector<std::pair<std::uint32_t, Bytes>> releases;  // (position of the last use, bytes)
  for (std::uint32_t i = 0; i < members.size(); ++i) {
    for (const ValueId value : problem.outputs(members[i])) {
      if (last_use[value.index()] == kNone) continue;
      held += problem.size(value);
      releases.emplace_back(std::max(i, last_use[value.index()]), problem.size(value));
    }
    peak = std::max(peak, held + problem.mode(members[i], 0).workspace);
    std::erase_if(releases, [&](const auto& release) {
      if (release.first > i) return false;
      held -= release.second;
      return true;
    });
  }
  return peak;
}

/// Durations by device type, added up; types for which one of the operators has none are left out.
class Durations {
 public:
  explicit Durations(const Cluster& cluster) : cluster_(cluster) {
    sums_.assign(cluster.types().size() + 1, Duration());
  }
  void add(const Operator& op) {
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      const auto duration = operator_duration(op, i < cluster_.types().size() ? &cluster_.types()[i] : nullptr);
      if (duration && sums_[i]) {
        *sums_[i] += *duration;
      } else {
        sums_[i].reset();
      }
    }
  }
  [[nodiscard]] std::vector<MeasuredDuration> list() const {
    std::vector<MeasuredDuration> result;
    for (std::size_t i = 0; i < cluster_.types().size(); ++i) {
      if (sums_[i]) result.push_back({cluster_.types()[i].name, *sums_[i]});
    }
    if (sums_.back()) result.push_back({"", *sums_.back()});
    return result;
  }

 private:
  const Cluster& cluster_;
  std::vector<std::optional<Duration>> sums_;  // by type; the last one for devices without a type
};

}  // namespace

CoarseProblem::CoarseProblem(const Problem& fine, const Merging& merging) : fine_(fine) {
  members_.resize(merging.cluster_count);
  for (std::size_t t = 0; t < fine_.task_count(); ++t) members_[merging.cluster_of[t]].emplace_back(t);
  build(merging);
}

void CoarseProblem::build(const Merging& merging) {
  std::vector<Operator> operators(merging.cluster_count);
  std::vector<Tensor> tensors;
  const std::vector<std::uint32_t> last_use = connect(merging, operators, tensors);

  // Groups that have members in one cluster must share their devices.
  std::vector<std::uint32_t> parent(fine_.group_count());
  std::iota(parent.begin(), parent.end(), 0U);
  const auto find = [&](std::size_t g) {
    auto group = static_cast<std::uint32_t>(g);
    while (parent[group] != group) group = parent[group] = parent[parent[group]];
    return group;
  };
  for (const auto& members : members_) {
    for (const TaskId task : members) {
      parent[find(fine_.group_of(task).index())] = find(fine_.group_of(members.front()).index());
    }
  }
  for (std::uint32_t c = 0; c < merging.cluster_count; ++c) {
    operators[c].colocation = fmt::format("g{}", find(fine_.group_of(members_[c].front()).index()));
    merge(c, merging, last_use, operators[c]);
  }
  ProblemSettings settings = fine_.settings();
  coarse_ = Problem::create(ComputationGraph::create(fine_.graph().name(), std::move(operators), std::move(tensors),
                                                     fine_.graph().parameters(), settings.training),
                            fine_.cluster(), settings);
}

std::vector<std::uint32_t> CoarseProblem::connect(const Merging& merging, std::vector<Operator>& operators,
                                                  std::vector<Tensor>& tensors) {
  const std::vector<std::uint32_t>& cluster_of = merging.cluster_of;
  std::vector<std::uint32_t> last_use(fine_.value_count(), kNone);
  std::vector<std::uint32_t> position(fine_.task_count());
  for (const auto& members : members_) {
    for (std::uint32_t i = 0; i < members.size(); ++i) position[members[i].index()] = i;
  }
  std::vector<std::uint32_t> readers;
  for (std::size_t v = 0; v < fine_.value_count(); ++v) {
    const ValueId value(v);
    const auto producer = fine_.producer(value);
    readers.clear();
    for (const TaskId consumer : fine_.consumers(value)) readers.push_back(cluster_of[consumer.index()]);
    std::ranges::sort(readers);
    readers.erase(std::unique(readers.begin(), readers.end()), readers.end());
    const std::uint32_t maker = producer ? cluster_of[producer->index()] : kNone;
    if (producer && (readers.empty() || (readers.size() == 1 && readers.front() == maker))) {
      last_use[v] = position[producer->index()];
      for (const TaskId consumer : fine_.consumers(value)) {
        last_use[v] = std::max(last_use[v], position[consumer.index()]);
      }
      continue;
    }
    if (readers.empty()) continue;
    const TensorId tensor(tensors.size());
    tensors.push_back({fmt::format("t{}", tensors.size()), fine_.size(value), std::nullopt, {}});
    value_of_tensor_.push_back(value);
    if (producer) operators[maker].outputs.push_back(tensor);
    for (const std::uint32_t reader : readers) {
      if (reader != maker) operators[reader].inputs.push_back(tensor);
    }
  }
  return last_use;
}

void CoarseProblem::merge(std::uint32_t cluster, const Merging& merging, const std::vector<std::uint32_t>& last_use,
                          Operator& op) const {
  const std::vector<TaskId>& members = members_[cluster];
  op.name = fmt::format("c{}", cluster);
  op.streams = fine_.op(members.front()).streams;
  if (std::ranges::any_of(members, [&](TaskId task) { return !fine_.op(task).devices.empty(); })) {
    op.devices.emplace_back();
    for (const DeviceId device : fine_.devices_of(fine_.group_of(members.front()))) {
      op.devices.front().push_back(fine_.cluster().at(device).name);
    }
  }
  op.anti_colocation = fine_.op(members.front()).anti_colocation;
  op.workspace = internal_peak(fine_, members, last_use);
  Durations durations(fine_.cluster());
  for (const TaskId task : members) {
    durations.add(fine_.op(task));
    const auto& parameters = fine_.op(task).parameters;
    op.parameters.insert(op.parameters.end(), parameters.begin(), parameters.end());
    for (const TaskId earlier : fine_.control_predecessors(task)) {
      const std::uint32_t before = merging.cluster_of[earlier.index()];
      if (before != cluster) op.after.emplace_back(before);
    }
  }
  op.durations = durations.list();
  std::ranges::sort(op.parameters);
  op.parameters.erase(std::unique(op.parameters.begin(), op.parameters.end()), op.parameters.end());
  std::ranges::sort(op.after);
  op.after.erase(std::unique(op.after.begin(), op.after.end()), op.after.end());
}

Schedule CoarseProblem::expand(const Schedule& schedule) const {
  Schedule result;
  result.tasks.resize(fine_.task_count());
  for (std::size_t c = 0; c < members_.size(); ++c) {
    const TaskId whole = coarse_->task_of(OperatorId(c), 0);
    const TaskAssignment& assignment = schedule.tasks[whole.index()];
    const DeviceId device = coarse_->mode(whole, assignment.mode).devices.front();
    Duration start = assignment.start;
    for (const TaskId task : members_[c]) {
      const std::optional<ModeIndex> mode = fine_.mode_on(task, device);
      if (!mode) throw InternalError("a cluster was placed where one of its tasks has no mode");
      result.tasks[task.index()] = {*mode, start};
      start += fine_.mode(task, *mode).duration;
    }
  }
  result.transfers.reserve(schedule.transfers.size());
  for (Transfer transfer : schedule.transfers) {
    transfer.value = value_of_tensor_[coarse_->tensor_of(transfer.value).index()];
    result.transfers.push_back(transfer);
  }
  return result;
}

}  // namespace opweave::coarsen
