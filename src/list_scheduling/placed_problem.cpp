#include "list_scheduling/placed_problem.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "opweave/plan.h"

namespace opweave {
namespace {

using Pairs = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

/// Lists of second elements by first element, ascending, without repeats. Lists are short, so that dealing the pairs to
/// them and sorting each takes less than sorting all.
detail::Lists<std::uint32_t> group_pairs(const Pairs& pairs, std::size_t list_count) {
  std::vector<std::size_t> ends(list_count + 1, 0);  // where each list ends among those dealt so far
  for (const auto& [list, item] : pairs) ++ends[list + 1];
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  std::vector<std::uint32_t> dealt(pairs.size());
  for (const auto& [list, item] : pairs) dealt[ends[list]++] = item;
  detail::Lists<std::uint32_t> lists;
  lists.items.reserve(pairs.size());
  lists.offsets.reserve(list_count + 1);
  auto begin = dealt.begin();
  for (std::size_t i = 0; i < list_count; ++i) {
    const auto end = dealt.begin() + static_cast<std::ptrdiff_t>(ends[i]);
    std::sort(begin, end);
    lists.items.insert(lists.items.end(), begin, std::unique(begin, end));
    lists.close_list();
    begin = end;
  }
  return lists;
}

bool contains(std::span<const DeviceId> devices, DeviceId device) {
  return std::find(devices.begin(), devices.end(), device) != devices.end();
}

}  // namespace

std::optional<PlacedProblem> PlacedProblem::create(const Problem& problem, std::vector<ModeIndex> modes,
                                                   const std::vector<ExtraEdge>& extra) {
  PlacedProblem placed;
  placed.problem_ = &problem;
  placed.modes_ = std::move(modes);
  if (!placed.find_transfers()) return std::nullopt;
  placed.connect_activities(extra);
  placed.find_residences();
  Schedule only_modes;
  only_modes.tasks.resize(placed.task_count());
  for (std::size_t t = 0; t < placed.task_count(); ++t) only_modes.tasks[t].mode = placed.modes_[t];
  for (const Bytes bytes : persistent_memory(problem, only_modes)) placed.persistent_.push_back(bytes.value());
  for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
    const std::optional<Bytes> capacity = problem.capacity(DeviceId(d));
    placed.capacity_.push_back(capacity ? capacity->value() : std::numeric_limits<std::int64_t>::max() / 4);
  }
  return placed;
}

bool PlacedProblem::find_transfers() {
  for (std::size_t t = 0; t < task_count(); ++t) {
    const Mode& mode = problem_->mode(TaskId(t), modes_[t]);
    durations_.push_back(mode.duration.value());
    workspaces_.push_back(mode.workspace.value());
  }
  std::vector<DeviceId> destinations;
  for (std::size_t v = 0; v < problem_->value_count(); ++v) {
    first_transfer_.push_back(static_cast<std::uint32_t>(transfers_.size()));
    const ValueId value(v);
    const std::optional<TaskId> producer = problem_->producer(value);
    if (!producer) continue;
    const auto sources = devices(static_cast<ActivityId>(producer->index()));
    destinations.clear();
    for (const TaskId consumer : problem_->consumers(value)) {
      for (const DeviceId device : devices(static_cast<ActivityId>(consumer.index()))) {
        if (!contains(sources, device)) destinations.push_back(device);
      }
    }
    std::sort(destinations.begin(), destinations.end());
    destinations.erase(std::unique(destinations.begin(), destinations.end()), destinations.end());
    for (const DeviceId destination : destinations) {
      std::optional<std::pair<Duration, DeviceId>> best;
      for (const DeviceId source : sources) {
        const std::optional<Duration> time = problem_->transfer_time(value, source, destination);
        if (time && (!best || std::pair(*time, source) < *best)) best = {*time, source};
      }
      if (!best) return false;
      transfers_.push_back({value, best->second, destination});
      durations_.push_back(best->first.value());
    }
  }
  first_transfer_.push_back(static_cast<std::uint32_t>(transfers_.size()));
  return true;
}

void PlacedProblem::connect_activities(const std::vector<ExtraEdge>& extra) {
  Pairs edges;  // (later, earlier)
  for (const ExtraEdge& edge : extra) edges.emplace_back(edge.later, edge.earlier);
  for (std::size_t t = 0; t < task_count(); ++t) {
    const auto task = static_cast<ActivityId>(t);
    for (const TaskId earlier : problem_->control_predecessors(TaskId(t))) {
      edges.emplace_back(task, static_cast<ActivityId>(earlier.index()));
    }
    const auto here = devices(task);
    for (const ValueId value : problem_->inputs(TaskId(t))) {
      const std::optional<TaskId> producer = problem_->producer(value);
      if (!producer) continue;
      edges.emplace_back(task, static_cast<ActivityId>(producer->index()));
      for (std::uint32_t i = first_transfer_[value.index()]; i < first_transfer_[value.index() + 1]; ++i) {
        if (contains(here, transfers_[i].destination))
          edges.emplace_back(task, static_cast<ActivityId>(task_count() + i));
      }
    }
  }
  for (std::size_t i = 0; i < transfers_.size(); ++i) {
    edges.emplace_back(static_cast<ActivityId>(task_count() + i),
                       static_cast<ActivityId>(problem_->producer(transfers_[i].value)->index()));
  }
  predecessors_ = group_pairs(edges, activity_count());
  for (auto& [later, earlier] : edges) std::swap(later, earlier);
  successors_ = group_pairs(edges, activity_count());
}

void PlacedProblem::find_residences() {
  Pairs made;                                             // (activity, residence)
  Pairs used;                                             // (activity, residence)
  std::vector<std::pair<DeviceId, std::uint32_t>> homes;  // of one value
  for (std::size_t v = 0; v < problem_->value_count(); ++v) {
    const ValueId value(v);
    const std::int64_t bytes = problem_->size(value).value();
    if (bytes == 0) continue;  // occupies nothing
    homes.clear();
    const auto home = [&](DeviceId device, ActivityId maker, bool is_graph_input) {
      for (const auto& [known, id] : homes) {
        if (known == device) return id;
      }
      const auto id = static_cast<std::uint32_t>(residences_.size());
      residences_.push_back({device, bytes, maker, is_graph_input});
      if (!is_graph_input) made.emplace_back(maker, id);
      homes.emplace_back(device, id);
      return id;
    };
    const auto use = [&](ActivityId activity, std::uint32_t residence) { used.emplace_back(activity, residence); };
    const std::optional<TaskId> producer = problem_->producer(value);
    if (producer) {
      const auto maker = static_cast<ActivityId>(producer->index());
      for (const DeviceId device : devices(maker)) home(device, maker, false);
    }
    for (std::uint32_t i = first_transfer_[v]; i < first_transfer_[v + 1]; ++i) {
      const auto activity = static_cast<ActivityId>(task_count() + i);
      use(activity, home(transfers_[i].source, activity, false));
      home(transfers_[i].destination, activity, false);
    }
    for (const TaskId consumer : problem_->consumers(value)) {
      const auto activity = static_cast<ActivityId>(consumer.index());
      for (const DeviceId device : devices(activity)) use(activity, home(device, activity, !producer));
    }
  }
  made_ = group_pairs(made, activity_count());
  made = {};
  used_ = group_pairs(used, activity_count());
  for (auto& [activity, residence] : used) std::swap(activity, residence);
  users_ = group_pairs(used, residences_.size());
}

PlacedProblem PlacedProblem::mirrored() const {
  PlacedProblem mirror = *this;
  std::swap(mirror.predecessors_, mirror.successors_);
  Pairs made;   // (activity, residence)
  Pairs used;   // (activity, residence)
  Pairs users;  // (residence, activity)
  const auto use = [&](ActivityId activity, std::uint32_t residence) {
    used.emplace_back(activity, residence);
    users.emplace_back(residence, activity);
  };
  for (std::uint32_t r = 0; r < residence_count(); ++r) {
    for (const ActivityId user : users_[r]) use(user, r);
    Residence& residence = mirror.residences_[r];
    if (residence.is_graph_input) continue;
    if (users_[r].empty()) {
      made.emplace_back(residence.maker, r);  // it lasts as long as its maker runs
    } else {
      use(residence.maker, r);
      residence.is_graph_input = true;
    }
  }
  mirror.made_ = group_pairs(made, activity_count());
  mirror.used_ = group_pairs(used, activity_count());
  mirror.users_ = group_pairs(users, residence_count());
  return mirror;
}

std::vector<std::int64_t> PlacedProblem::tails() const {
  std::vector<std::int64_t> tails(activity_count(), 0);
  // A transfer's successors are tasks and a task's successors come later, so one pass over descending
  // tasks suffices when each task first settles the transfers of its own outputs.
  for (std::size_t t = task_count(); t-- > 0;) {
    const auto task = static_cast<ActivityId>(t);
    for (const ActivityId successor : successors_[task]) {
      if (is_task(successor)) continue;
      std::int64_t after = 0;
      for (const ActivityId consumer : successors_[successor]) after = std::max(after, tails[consumer]);
      tails[successor] = after + durations_[successor];
    }
    std::int64_t after = 0;
    for (const ActivityId successor : successors_[task]) after = std::max(after, tails[successor]);
    tails[task] = after + durations_[task];
  }
  return tails;
}

std::vector<std::int64_t> PlacedProblem::starts(const Schedule& schedule) const {
  std::map<std::pair<ValueId, DeviceId>, std::int64_t> arrivals;
  for (const Transfer& transfer : schedule.transfers) {
    arrivals[{transfer.value, transfer.destination}] = transfer.start.value();
  }
  std::vector<std::int64_t> result;
  result.reserve(activity_count());
  for (const TaskAssignment& task : schedule.tasks) result.push_back(task.start.value());
  for (const NecessaryTransfer& transfer : transfers_) {
    result.push_back(arrivals.at({transfer.value, transfer.destination}));
  }
  return result;
}

Schedule PlacedProblem::schedule(std::span<const std::int64_t> starts) const {
  Schedule result;
  result.tasks.reserve(task_count());
  for (std::size_t t = 0; t < task_count(); ++t) result.tasks.push_back({modes_[t], Duration(starts[t])});
  result.transfers.reserve(transfers_.size());
  for (std::size_t i = 0; i < transfers_.size(); ++i) {
    const std::int64_t start = starts[task_count() + i];
    result.transfers.push_back({transfers_[i].value, transfers_[i].source, transfers_[i].destination, Duration(start),
                                Duration(start + durations_[task_count() + i])});
  }
  return result;
}

}  // namespace opweave
