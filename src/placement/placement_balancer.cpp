#include "placement/placement_balancer.h"

#include <algorithm>
#include <tuple>

#include "placement/placement_state.h"

namespace opweave {
namespace {

constexpr std::size_t kMostGroups = 2048;
constexpr std::size_t kMostWorkEntries = 10'000'000;  ///< tasks x devices

}  // namespace

PlacementBalancer::PlacementBalancer(const Problem& problem)
    : problem_(problem),
      devices_(problem.cluster().device_count()),
      streams_(problem.cluster().stream_names().size()),
      is_small_(problem.group_count() <= kMostGroups && problem.task_count() * devices_ <= kMostWorkEntries) {
  if (!is_small_) return;
  work_.assign(problem.group_count() * devices_ * streams_, -1);
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    for (const DeviceId device : problem.devices_of(GroupId(g))) {
      const auto work = work_.begin() + static_cast<std::ptrdiff_t>((g * devices_ + device.index()) * streams_);
      std::fill_n(work, streams_, 0);
      for (const TaskId task : problem.tasks_of(GroupId(g))) {
        const std::int64_t duration = problem.mode(task, *problem.mode_on(task, device)).duration.value();
        for (std::size_t s = 0; s < streams_; ++s) {
          if ((problem.streams(task) >> s & 1U) != 0) work[static_cast<std::ptrdiff_t>(s)] += duration;
        }
      }
    }
  }
}

std::optional<std::vector<ModeIndex>> PlacementBalancer::balanced(const std::vector<ModeIndex>& modes) {
  if (!is_small_) return std::nullopt;
  load_.assign(devices_ * streams_, 0);
  home_.assign(problem_.group_count(), std::nullopt);
  for (std::size_t t = 0; t < modes.size(); ++t) {
    const Mode mode = problem_.mode(TaskId(t), modes[t]);
    for (const DeviceId device : mode.devices) {
      for (std::size_t s = 0; s < streams_; ++s) {
        if ((problem_.streams(TaskId(t)) >> s & 1U) == 0) continue;
        load_[device.index() * streams_ + s] += mode.duration.value();
      }
    }
    if (mode.devices.size() == 1) home_[problem_.group_of(TaskId(t)).index()] = mode.devices.front().index();
  }
  bool changed = false;
  while (improve()) changed = true;
  if (!changed) return std::nullopt;

  PlacementState state(problem_);
  std::vector<bool> seen(problem_.group_count(), false);
  for (std::size_t t = 0; t < modes.size(); ++t) {
    const GroupId group = problem_.group_of(TaskId(t));
    if (seen[group.index()]) continue;
    seen[group.index()] = true;
    const auto gang = problem_.mode(TaskId(t), modes[t]).devices;
    std::vector<DeviceId> devices(gang.begin(), gang.end());
    if (home_[group.index()]) devices = {DeviceId(*home_[group.index()])};
    if (!state.allows(group, devices)) return std::nullopt;
    state.place(group, devices);
  }
  return state.modes();
}

std::int64_t PlacementBalancer::busiest(std::size_t device) const {
  const auto first = load_.begin() + static_cast<std::ptrdiff_t>(device * streams_);
  return *std::max_element(first, first + static_cast<std::ptrdiff_t>(streams_));
}

void PlacementBalancer::move(std::size_t group, std::size_t from, std::size_t to) {
  for (std::size_t s = 0; s < streams_; ++s) {
    load_[from * streams_ + s] -= work_[(group * devices_ + from) * streams_ + s];
    load_[to * streams_ + s] += work_[(group * devices_ + to) * streams_ + s];
  }
  home_[group] = to;
}

bool PlacementBalancer::improve() {
  std::size_t worst = 0;
  for (std::size_t d = 1; d < devices_; ++d) {
    if (busiest(d) > busiest(worst)) worst = d;
  }
  const std::int64_t before = busiest(worst);
  const std::size_t groups = home_.size();
  const auto may_run = [&](std::size_t group, std::size_t device) {
    return work_[(group * devices_ + device) * streams_] >= 0;
  };
  // The larger of the two loads, then the group that leaves, where to, and the group that comes for it.
  using Change = std::tuple<std::int64_t, std::size_t, std::size_t, std::size_t>;
  std::optional<Change> best;
  const auto consider = [&](std::size_t leaves, std::size_t to, std::size_t comes) {
    move(leaves, worst, to);
    if (comes < groups) move(comes, to, worst);
    const Change change{std::max(busiest(worst), busiest(to)), leaves, to, comes};
    if (comes < groups) move(comes, worst, to);
    move(leaves, to, worst);
    if (std::get<0>(change) < before && (!best || change < *best)) best = change;
  };
  for (std::size_t leaves = 0; leaves < groups; ++leaves) {
    if (home_[leaves] != worst || !may_run(leaves, worst)) continue;
    for (std::size_t to = 0; to < devices_; ++to) {
      if (to != worst && may_run(leaves, to)) consider(leaves, to, groups);
    }
    for (std::size_t comes = 0; comes < groups; ++comes) {
      const std::optional<std::size_t> to = home_[comes];
      if (to && *to != worst && may_run(leaves, *to) && may_run(comes, *to) && may_run(comes, worst)) {
        consider(leaves, *to, comes);
      }
    }
  }
  if (!best) return false;
  const auto [after, leaves, to, comes] = *best;
  move(leaves, worst, to);
  if (comes < groups) move(comes, to, worst);
  return true;
}

}  // namespace opweave
