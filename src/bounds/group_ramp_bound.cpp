#include <algorithm>
#include <limits>
#include <map>
#include <unordered_map>

#include "bounds/bound_context.h"
#include "bounds/device_loads.h"
#include "bounds/interval_work.h"

namespace opweave::bounds {
namespace {

/// Kinds of groups beside the most frequent one of which all sets are looked at.
constexpr std::size_t kMostOtherKinds = 3;

/// One end of the plan, as seen by whichever device a group is on: for each group the least time for which a device
/// is idle in its interval if that group starts (or gives memory back) first of those on the device.
class End {
 public:
  End(const BoundContext& context, const MemoryPool& pool, StreamId stream, Direction direction, Nanoseconds cap,
      const std::vector<GroupId>& groups, std::size_t machines)
      : cap_(cap) {
    const Earliest& earliest = direction == Direction::kForward ? context.ends.head : context.ends.tail;
    const Relaxation& relaxation = context.relaxation;
    const Problem& problem = relaxation.problem();
    std::unordered_map<GroupId, std::size_t> position;
    for (const GroupId group : groups) position.emplace(group, position.size());
    std::vector<bool> counts;
    for (const Index member : pool.members) {
      counts.push_back(position.contains(problem.group_of(TaskId(relaxation.classes()[member].tasks.front()))));
    }
    const IntervalWork interval(relaxation, pool, stream, direction, earliest, nullptr, &counts);
    const std::vector<Nanoseconds> releases = member_releases(relaxation, pool, direction, earliest);
    std::vector<Nanoseconds> first_release(groups.size(), std::numeric_limits<Nanoseconds>::max());
    by_start_.assign(groups.size(), std::numeric_limits<Nanoseconds>::max());
    for (std::size_t m = 0; m < pool.members.size(); ++m) {
      for (const Index task : relaxation.classes()[pool.members[m]].tasks) {
        const auto group = position.find(problem.group_of(TaskId(task)));
        if (group == position.end() || (problem.streams(TaskId(task)) >> stream.index() & 1U) == 0) continue;
        by_start_[group->second] = std::min({by_start_[group->second], earliest[task], cap});
        first_release[group->second] = std::min(first_release[group->second], releases[m]);
      }
    }
    by_release_ = idle_until(interval, first_release, 2 * machines, context.budget);
  }

  /// By position in the list of groups.
  [[nodiscard]] const std::vector<Nanoseconds>& by_start() const { return by_start_; }
  [[nodiscard]] const std::vector<Nanoseconds>& by_release() const { return by_release_; }

 private:
  /// Idle time of a device on which nothing is given back within an interval: it grows with the interval.
  [[nodiscard]] std::vector<Nanoseconds> idle_until(const IntervalWork& interval,
                                                    const std::vector<Nanoseconds>& releases, std::size_t exact,
                                                    const Budget& budget) const {
    std::vector<IntervalWork::Sample> samples = interval.samples(budget);
    std::vector<Nanoseconds> lengths;
    for (const Nanoseconds release : releases) lengths.push_back(std::min(release, cap_));
    std::sort(lengths.begin(), lengths.end());
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
    // Only the groups that release first can be the first ones of their devices in the bound.
    for (std::size_t i = 0; i < std::min(exact, lengths.size()) && !budget.expired(); ++i) {
      samples.push_back({lengths[i], interval.most(lengths[i])});
    }
    std::sort(samples.begin(), samples.end(),
              [](const IntervalWork::Sample& a, const IntervalWork::Sample& b) { return a.length < b.length; });
    std::vector<Nanoseconds> most_idle;
    for (const IntervalWork::Sample& sample : samples) {
      most_idle.push_back(std::max(sample.length - sample.most, most_idle.empty() ? 0 : most_idle.back()));
    }
    std::vector<Nanoseconds> result;
    for (const Nanoseconds release : releases) {
      const auto after = std::upper_bound(samples.begin(), samples.end(), std::min(release, cap_),
                                          [](Nanoseconds x, const IntervalWork::Sample& s) { return x < s.length; });
      result.push_back(after == samples.begin() ? 0 : most_idle[static_cast<std::size_t>(after - samples.begin()) - 1]);
    }
    return result;
  }

  Nanoseconds cap_;
  std::vector<Nanoseconds> by_start_;
  std::vector<Nanoseconds> by_release_;
};

/// For k = 1 .. machines: of any placement, the device that has the k-th least idle time at both ends together is idle
/// at least this long. If fewer than k groups are below a at the head or below b at the tail, one of the k devices with
/// the least idle time has none of them, so it is idle for at least a + b.
std::vector<Nanoseconds> least_idle(const std::vector<Nanoseconds>& head, const std::vector<Nanoseconds>& tail,
                                    Nanoseconds caps, std::size_t machines) {
  std::vector<std::size_t> by_head(head.size());
  for (std::size_t g = 0; g < head.size(); ++g) by_head[g] = g;
  std::sort(by_head.begin(), by_head.end(), [&](std::size_t a, std::size_t b) { return head[a] < head[b]; });
  std::vector<Nanoseconds> result(machines, 0);
  for (std::size_t below = 0; below < machines; ++below) {  // groups that the head excludes
    if (below >= head.size()) {
      // A device beyond one per group has nothing to do at all.
      for (std::size_t k = below; k < machines; ++k) result[k] = caps;
      break;
    }
    std::vector<Nanoseconds> rest;
    for (std::size_t i = below; i < by_head.size(); ++i) rest.push_back(tail[by_head[i]]);
    const std::size_t needed = std::min(rest.size(), machines - below);
    std::partial_sort(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(needed), rest.end());
    for (std::size_t k = below; k < std::min(machines, below + needed); ++k) {
      result[k] = std::max(result[k], head[by_head[below]] + rest[k - below]);
    }
  }
  for (std::size_t k = 1; k < machines; ++k) result[k] = std::max(result[k], result[k - 1]);
  return result;
}

/// Groups of the pool with their work on the stream, and what a device keeps of parameters for it.
DeviceLoads loads_of(const BoundContext& context, const MemoryPool& pool, StreamId stream, std::vector<GroupId>& groups,
                     std::vector<Nanoseconds>& loads) {
  const Relaxation& relaxation = context.relaxation;
  const Problem& problem = relaxation.problem();
  std::map<GroupId, Nanoseconds> work;
  for (const Index member : pool.members) {
    for (const Index task : relaxation.classes()[member].tasks) {
      if ((problem.streams(TaskId(task)) >> stream.index() & 1U) == 0) continue;
      if (relaxation.duration(task) > 0) work[problem.group_of(TaskId(task))] += relaxation.duration(task);
    }
  }
  std::vector<DeviceLoads::Part> parts;
  for (const auto& [group, load] : work) {
    groups.push_back(group);
    loads.push_back(load);
    parts.push_back({load, 0});
  }
  std::map<ParameterId, std::vector<std::size_t>> readers;
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    for (const ParameterId parameter : problem.parameters_of(GroupId(g))) {
      const auto found = std::lower_bound(groups.begin(), groups.end(), GroupId(g));
      const bool counts = found != groups.end() && *found == GroupId(g);
      readers[parameter].push_back(counts ? static_cast<std::size_t>(found - groups.begin()) : groups.size());
    }
  }
  for (const auto& [parameter, list] : readers) {
    // Groups that read one parameter may share it on a device.
    const std::int64_t share = problem.persistent_bytes(parameter).value() / static_cast<std::int64_t>(list.size());
    for (const std::size_t reader : list) {
      if (reader < parts.size()) parts[reader].bytes += share;
    }
  }
  return DeviceLoads(std::move(parts));
}

class GroupRamp {
 public:
  GroupRamp(const BoundContext& context, const MemoryPool& pool, StreamId stream)
      : context_(context), loads_(loads_of(context, pool, stream, groups_, work_)) {
    for (const DeviceId device : pool.devices) {
      machines_ += context.relaxation.problem().cluster().stream_mask(device) >> stream.index() & 1U;
    }
    if (groups_.empty() || machines_ == 0) return;
    // A device with little to do keeps few parameters; around the mean load it pays to count them.
    const Nanoseconds mean = loads_.total() / static_cast<Nanoseconds>(machines_);
    std::vector<Nanoseconds> from = {0};
    if (pool.capacity && loads_.bytes_for(loads_.total()) > 0) {
      from.push_back(loads_.most_within(mean));
      from.push_back(mean + 1);
    }
    for (const Nanoseconds load : from) {
      MemoryPool reduced = pool;
      if (reduced.capacity) *reduced.capacity = std::max<std::int64_t>(0, *reduced.capacity - loads_.bytes_for(load));
      levels_.push_back({load, idle(reduced, stream, groups_, machines_)});
    }
    look_at_kinds(pool, stream);
  }

  /// The least makespan for which the devices can take all work.
  [[nodiscard]] Nanoseconds value() const {
    if (groups_.empty() || machines_ == 0) return 0;
    Nanoseconds low = 0;
    Nanoseconds high = low;
    for (const Level& level : levels_) high = std::max(high, loads_.total() + level.idle.back());
    while (low < high) {
      const Nanoseconds middle = low + (high - low) / 2;
      if (can_take_all(middle)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

 private:
  struct Level {
    Nanoseconds from;               ///< for devices with at least this load
    std::vector<Nanoseconds> idle;  ///< k-th least over the devices
  };

  /// Of so many devices that have these groups and no others.
  [[nodiscard]] std::vector<Nanoseconds> idle(const MemoryPool& pool, StreamId stream,
                                              const std::vector<GroupId>& groups, std::size_t machines) const {
    // Intervals that together are no longer than any plan do not overlap.
    const Nanoseconds half = context_.known / 2;
    const End head(context_, pool, stream, Direction::kForward, half, groups, machines);
    const End tail(context_, pool, stream, Direction::kBackward, context_.known - half, groups, machines);
    std::vector<Nanoseconds> most(machines, 0);
    for (const auto* at_head : {&head.by_start(), &head.by_release()}) {
      for (const auto* at_tail : {&tail.by_start(), &tail.by_release()}) {
        const std::vector<Nanoseconds> least = least_idle(*at_head, *at_tail, context_.known, machines);
        for (std::size_t k = 0; k < machines; ++k) most[k] = std::max(most[k], least[k]);
      }
    }
    return most;
  }

  /// What a group of few does for the head and the tail of its device, it does for no other.
  void look_at_kinds(const MemoryPool& pool, StreamId stream) {
    const std::vector<DeviceLoads::Kind>& kinds = loads_.kinds();
    if (machines_ < 2 || kinds.size() < 2 || kinds.size() - 1 > kMostOtherKinds) return;
    const auto kind_of = [&](GroupId group) {
      const auto at = static_cast<std::size_t>(std::ranges::lower_bound(groups_, group) - groups_.begin());
      return static_cast<std::size_t>(std::ranges::find(kinds, work_[at], &DeviceLoads::Kind::work) - kinds.begin());
    };
    for (std::size_t others = 0; others < std::size_t{1} << (kinds.size() - 1); ++others) {
      std::vector<GroupId> groups;
      for (const GroupId group : groups_) {
        const std::size_t kind = kind_of(group);
        if (kind == 0 || (others >> (kind - 1) & 1U) != 0) groups.push_back(group);
      }
      idle_with_.push_back(context_.budget.expired() ? 0 : idle(pool, stream, groups, 1).front());
    }
  }

  [[nodiscard]] bool can_take_all(Nanoseconds makespan) const {
    std::vector<Nanoseconds> loads;
    for (std::size_t k = 0; k < machines_; ++k) {
      Nanoseconds most = 0;
      for (std::size_t i = 0; i < levels_.size(); ++i) {
        Nanoseconds load = loads_.most_within(makespan - levels_[i].idle[k]);
        if (i + 1 < levels_.size() && load >= levels_[i + 1].from) load = loads_.most_below(levels_[i + 1].from);
        if (load >= levels_[i].from) most = std::max(most, load);
      }
      loads.push_back(most);
    }
    std::vector<Nanoseconds> loads_with;
    for (const Nanoseconds idle : idle_with_) loads_with.push_back(makespan - idle);
    return loads_.can_be_packed(loads, loads_with);
  }

  const BoundContext& context_;
  std::vector<GroupId> groups_;
  std::vector<Nanoseconds> work_;  ///< by position in the list of groups
  DeviceLoads loads_;
  std::size_t machines_ = 0;
  std::vector<Level> levels_;
  std::vector<Nanoseconds> idle_with_;  ///< least, of a device with groups of the first kind and of these others
};

}  // namespace

std::optional<LowerBound> group_ramp_bound(const BoundContext& context) {
  const Problem& problem = context.relaxation.problem();
  std::optional<LowerBound> best;
  for (const MemoryPool& pool : context.pools.pools()) {
    if (pool.kind != MemoryPoolKind::kUnknown) continue;
    for (std::size_t s = 0; s < problem.cluster().stream_names().size(); ++s) {
      const StreamId stream(s);
      const Duration value(GroupRamp(context, pool, stream).value());
      if (value > Duration() && (!best || value > best->value)) {
        best = {"group-ramp", value, describe(problem, pool.devices, stream)};
      }
    }
    if (context.budget.expired()) break;
  }
  return best;
}

}  // namespace opweave::bounds
