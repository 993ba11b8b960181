#include <algorithm>
#include <unordered_map>

#include "bounds/bound_context.h"
#include "bounds/window_work.h"

namespace opweave::bounds {
namespace {

__extension__ using Wide = __int128;

/// One end of the plan, as seen by whichever device a group is on.
class End {
 public:
  End(const BoundContext& context, const Room& room, StreamId stream, Direction direction)
      : earliest_(direction == Direction::kForward ? context.ends.head : context.ends.tail),
        window_(context.relaxation, room, stream, direction, earliest_) {
    const Relaxation& relaxation = context.relaxation;
    const Problem& problem = relaxation.problem();
    const std::vector<Nanoseconds> releases = member_releases(relaxation, room, direction, earliest_);
    struct Times {
      Nanoseconds start;
      Nanoseconds release;
    };
    std::unordered_map<GroupId, Times> groups;
    for (std::size_t m = 0; m < room.members.size(); ++m) {
      for (const Index task : relaxation.classes()[room.members[m]].tasks) {
        if ((problem.streams(TaskId(task)) >> stream.index() & 1U) == 0) continue;
        const auto [entry, is_new] =
            groups.try_emplace(problem.group_of(TaskId(task)), Times{earliest_[task], releases[m]});
        entry->second.start = std::min(entry->second.start, earliest_[task]);
      }
    }
    for (const auto& [group, times] : groups) {
      starts_.push_back(times.start);
      releases_.push_back(times.release);
    }
    std::sort(starts_.begin(), starts_.end());
    std::sort(releases_.begin(), releases_.end());
  }

  [[nodiscard]] Nanoseconds total() const { return window_.total(); }

  /// Least total idle time of `machines` devices in windows of at most `cap` each. Each device is
  /// charged to a group of its own: the one on it that starts first, or the one that releases first.
  [[nodiscard]] Wide idle(std::int64_t machines, Nanoseconds cap) const {
    const auto count = static_cast<std::size_t>(machines);
    Wide by_start = 0;
    for (std::size_t i = 0; i < count; ++i) by_start += i < starts_.size() ? std::min(starts_[i], cap) : cap;

    // Idle time of a device on which nothing is released within a window grows with the window.
    std::vector<WindowWork::Sample> samples = window_.samples();
    for (std::size_t i = 0; i < std::min(count, releases_.size()); ++i) {
      const Nanoseconds length = std::min(releases_[i], cap);
      samples.push_back({length, window_.most(length)});
    }
    std::sort(samples.begin(), samples.end(),
              [](const WindowWork::Sample& a, const WindowWork::Sample& b) { return a.length < b.length; });
    Wide by_release = 0;
    Nanoseconds most_idle = 0;
    std::size_t used = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (i >= releases_.size()) {
        by_release += cap;
        continue;
      }
      const Nanoseconds length = std::min(releases_[i], cap);
      for (; used < samples.size() && samples[used].length <= length; ++used) {
        most_idle = std::max(most_idle, samples[used].length - samples[used].most);
      }
      by_release += most_idle;
    }
    return std::max(by_start, by_release);
  }

 private:
  const Earliest& earliest_;
  WindowWork window_;
  std::vector<Nanoseconds> starts_;    // of each group, ascending
  std::vector<Nanoseconds> releases_;  // of each group, ascending
};

}  // namespace

std::optional<LowerBound> group_ramp_bound(const BoundContext& context) {
  const Problem& problem = context.relaxation.problem();
  std::optional<LowerBound> best;
  for (const Room& room : context.rooms.rooms()) {
    if (room.kind != RoomKind::kUnknown) continue;
    for (std::size_t s = 0; s < problem.cluster().stream_names().size(); ++s) {
      const StreamId stream(s);
      const End head(context, room, stream, Direction::kForward);
      if (head.total() == 0) continue;
      const End tail(context, room, stream, Direction::kBackward);
      std::int64_t machines = 0;
      for (const DeviceId device : room.devices) machines += problem.cluster().stream_mask(device) >> s & 1U;
      // Windows that together are no longer than any plan do not overlap.
      const Nanoseconds half = context.known / 2;
      const Wide sum = Wide{head.total()} + head.idle(machines, half) + tail.idle(machines, context.known - half);
      const Duration value(static_cast<Nanoseconds>((sum + machines - 1) / machines));
      if (!best || value > best->value) best = {"group-ramp", value, describe(problem, room.devices, stream)};
    }
    if (context.budget.expired()) break;
  }
  return best;
}

}  // namespace opweave::bounds
