#include "bounds/earliest.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <queue>

namespace opweave::bounds {
namespace {

std::span<const Edge> edges_into(const Relaxation& r, Direction direction, Index task) {
  return direction == Direction::kForward ? r.before(task) : r.after(task);
}

/// Longest path to a task from what comes before it in the direction's time.
Nanoseconds after_predecessors(const Relaxation& r, Direction direction, const Earliest& earliest, Index task) {
  Nanoseconds longest = 0;
  for (const Edge& edge : edges_into(r, direction, task)) {
    longest = std::max(longest, earliest[edge.task] + r.duration(edge.task) + edge.delay);
  }
  const std::vector<Index>& copies = r.classes()[r.class_of(task)].tasks;
  const Index rank = r.rank(task);
  const bool first = direction == Direction::kForward ? rank == 0 : rank + 1 == copies.size();
  if (!first) {
    const Index previous = copies[direction == Direction::kForward ? rank - 1 : rank + 1];
    longest = std::max(longest, earliest[previous] + r.duration(previous));
  }
  return longest;
}

/// Visits tasks so that what comes before in the direction's time is visited before.
template <class Visit>
void for_each_in_order(const Relaxation& r, Direction direction, Visit visit) {
  const auto count = static_cast<Index>(r.task_count());
  for (Index i = 0; i < count; ++i) visit(direction == Direction::kForward ? i : count - 1 - i);
}

/// The moments at which memory comes free for one member of a room, asked for its copies in order.
class ReleaseQueue {
 public:
  ReleaseQueue(const Relaxation& r, const Room& room, std::size_t member, Direction direction)
      : r_(r), room_(room), direction_(direction), copies_(r.classes()[room.members[member]].tasks.size()) {
    for (Index v = 0; v < room.values.size(); ++v) {
      const bool takes = direction == Direction::kForward ? room.taken_by(member, v) : room.kept_by(member, v);
      if (!takes) continue;
      const bool keeps = direction == Direction::kForward ? room.kept_by(member, v) : room.taken_by(member, v);
      values_.push_back({v, keeps, 0});
      const std::int64_t bytes = room.values[v].bytes;
      total_ += bytes * room.values[v].count;
      (room.values[v].count == 1 ? single_ : per_copy_) += bytes;
    }
  }

  /// Earliest moment at which the member's copy of `rank` (in the direction's time) can run; nothing
  /// if what must be held at once exceeds the capacity. Ranks must not decrease between calls.
  std::optional<Nanoseconds> earliest(Index rank, const Earliest& known) {
    const std::int64_t taken =
        copies_ == 1 ? total_ : single_ + per_copy_ * (static_cast<std::int64_t>(rank) + 1);
    if (taken - released_ <= *room_.capacity) return moment_;
    for (State& state : values_) {
      if (!state.queued) offer(state, rank, known);
    }
    while (taken - released_ > *room_.capacity) {
      if (queue_.empty()) return std::nullopt;
      const Entry next = queue_.top();
      queue_.pop();
      State& state = values_[next.state];
      released_ += room_.values[state.value].bytes;
      moment_ = std::max(moment_, next.moment);
      state.queued = false;
      ++state.released;
      offer(state, rank, known);
    }
    return moment_;
  }

 private:
  struct State {
    Index value;
    bool keeps;  ///< the member's own copy cannot be released before the member has run
    Index released;
    bool queued = false;
  };
  struct Entry {
    Nanoseconds moment;
    std::size_t state;
    bool operator>(const Entry& other) const {
      return moment != other.moment ? moment > other.moment : state > other.state;
    }
  };

  void offer(State& state, Index rank, const Earliest& known) {
    const HeldValue& value = room_.values[state.value];
    // Copies taken by now: those up to the rank; a task that runs once follows all of them.
    const Index taken = copies_ == 1 ? value.count : std::min(value.count, rank + 1);
    const Index kept = !state.keeps ? 0 : (copies_ == 1 && value.count > 1 ? value.count : 1);
    if (state.released + kept >= taken) return;
    state.queued = true;
    queue_.push({earliest_release(r_, value, state.released, direction_, known),
                 static_cast<std::size_t>(&state - values_.data())});
  }

  const Relaxation& r_;
  const Room& room_;
  const Direction direction_;
  const std::size_t copies_;
  std::vector<State> values_;
  std::int64_t total_ = 0;     // of all copies
  std::int64_t single_ = 0;    // of values with one copy
  std::int64_t per_copy_ = 0;  // of the others, for each rank
  std::int64_t released_ = 0;
  Nanoseconds moment_ = 0;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
};

}  // namespace

Earliest path_lengths(const Relaxation& relaxation, Direction direction) {
  Earliest earliest(relaxation.task_count(), 0);
  for_each_in_order(relaxation, direction, [&](Index task) {
    earliest[task] = after_predecessors(relaxation, direction, earliest, task);
  });
  return earliest;
}

Nanoseconds earliest_release(const Relaxation& relaxation, const HeldValue& value, Index rank, Direction direction,
                             const Earliest& earliest) {
  const bool forward = direction == Direction::kForward;
  const Index copy = forward ? rank : value.count - 1 - rank;
  Nanoseconds moment = 0;
  for (const Index c : forward ? value.last : value.first) {
    const Index task = task_at(relaxation.classes()[c], copy);
    moment = std::max(moment, earliest[task] + relaxation.duration(task));
  }
  if (!forward) return moment + value.lead;
  if (value.trail > 0) {
    const Index producer = task_at(relaxation.classes()[value.first.front()], copy);
    moment = std::max(moment, earliest[producer] + relaxation.duration(producer) + value.trail);
  }
  return moment;
}

Earliest memory_path_lengths(const Relaxation& relaxation, const MemoryRooms& rooms, Direction direction,
                             std::vector<std::string>* proofs) {
  // Releases by tasks that are not yet visited count with their plain path length, which is never too late.
  Earliest earliest = path_lengths(relaxation, direction);
  std::vector<std::vector<std::unique_ptr<ReleaseQueue>>> queues(rooms.rooms().size());
  for (std::size_t i = 0; i < queues.size(); ++i) queues[i].resize(rooms.rooms()[i].members.size());
  std::vector<bool> reported(relaxation.classes().size(), false);

  for_each_in_order(relaxation, direction, [&](Index task) {
    earliest[task] = std::max(earliest[task], after_predecessors(relaxation, direction, earliest, task));
    if (relaxation.duration(task) == 0) return;  // may hold what it takes for no time
    const Index c = relaxation.class_of(task);
    const auto copies = static_cast<Index>(relaxation.classes()[c].tasks.size());
    const Index rank = direction == Direction::kForward ? relaxation.rank(task) : copies - 1 - relaxation.rank(task);
    for (const auto& [room_index, member] : rooms.memberships(c)) {
      const Room& room = rooms.rooms()[room_index];
      if (!room.capacity) continue;
      std::unique_ptr<ReleaseQueue>& queue = queues[room_index][member];
      if (!queue) queue = std::make_unique<ReleaseQueue>(relaxation, room, member, direction);
      const auto moment = queue->earliest(rank, earliest);
      if (moment) {
        earliest[task] = std::max(earliest[task], *moment);
      } else if (proofs != nullptr && !reported[c]) {
        reported[c] = true;
        const Problem& problem = relaxation.problem();
        const std::string where =
            room.devices.size() == 1
                ? fmt::format("device \"{}\"", problem.cluster().at(room.devices.front()).name)
                : fmt::format("the {} devices it is confined to", room.devices.size());
        proofs->push_back(fmt::format(
            "while operator \"{}\" runs, tensors that cannot be released exceed the {} bytes that parameters leave on {}",
            problem.op(TaskId(task)).name, *room.capacity, where));
      }
    }
  });
  return earliest;
}

}  // namespace opweave::bounds
