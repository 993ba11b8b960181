/// Messages that take turns, by the definition: every moment is the latest of those that it waits for.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "opweave/simulate.h"

namespace opweave::testing {

/// Runs an order of single-task blocks without contention and slowdown; everything ends.
class NaiveTurns {
 public:
  NaiveTurns(const Problem& problem, const ExecutionOrder& order, const SimulationOptions& options)
      : problem_(problem), order_(order), options_(options), starts_(problem.task_count()) {}

  std::vector<Duration> starts() {
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t t = 0; t < starts_.size(); ++t) {
        if (!starts_[t]) {
          starts_[t] = start_of(TaskId(t));
          changed = changed || starts_[t];
        }
      }
      for (std::size_t device = 0; device < options_.turns.size(); ++device) changed = play(device) || changed;
    }
    std::vector<Duration> result;
    for (const auto& start : starts_) result.push_back(start.value());
    return result;
  }

 private:
  using Moment = std::optional<Duration>;
  using MessageKey = std::pair<ValueId, DeviceId>;  // destination

  static Moment later(Moment a, Moment b) { return a && b ? Moment(std::max(*a, *b)) : std::nullopt; }

  [[nodiscard]] Mode mode(TaskId task) const { return problem_.mode(task, order_.modes[task.index()]); }
  [[nodiscard]] Moment end_of(TaskId task) const {
    const Moment start = starts_[task.index()];
    return start ? Moment(*start + mode(task).duration) : std::nullopt;
  }
  [[nodiscard]] bool runs_on(TaskId task, DeviceId device) const {
    return std::ranges::find(mode(task).devices, device) != mode(task).devices.end();
  }

  Moment start_of(TaskId task) {
    Moment start = Duration();
    for (const TaskId before : problem_.control_predecessors(task)) start = later(start, end_of(before));
    for (const DeviceId device : mode(task).devices) {
      // On each of its streams: after the tasks before it; a task of no time occupies nothing and waits for starts.
      for (const Block& block : order_.devices[device.index()]) {
        const TaskId other = block.tasks.front();
        if (other == task) break;
        if ((problem_.streams(other) & problem_.streams(task)) == 0) continue;
        const bool instant = mode(task).duration == Duration() || mode(other).duration == Duration();
        start = later(start, instant ? starts_[other.index()] : end_of(other));
      }
      for (const ValueId value : problem_.inputs(task)) {
        const auto producer = problem_.producer(value);
        if (!producer) continue;
        start = later(start, runs_on(*producer, device) ? end_of(*producer) : known(received_, {value, device}));
      }
    }
    return start;
  }

  template <class Map>
  static Moment known(const Map& map, const typename Map::key_type& key) {
    const auto found = map.find(key);
    return found == map.end() ? std::nullopt : found->second;
  }
  template <class Map>
  static bool learn(Map& map, const typename Map::key_type& key, Moment moment) {
    return moment && map.try_emplace(key, moment).second;
  }

  bool play(std::size_t device) {
    bool changed = false;
    Moment tasks_ended = Duration();
    std::map<std::tuple<std::size_t, bool>, Moment> last;  // end of the last message of each queue
    for (const Turn& turn : options_.turns[device]) {
      if (turn.kind == Turn::Kind::kTask) {
        tasks_ended = later(tasks_ended, end_of(turn.task));
        continue;
      }
      const bool sends = turn.kind == Turn::Kind::kSend;
      const MessageKey key{turn.value, sends ? turn.peer : DeviceId(device)};
      const ChannelQueue queue = options_.channels.queue;
      Moment& before = last.try_emplace({queue == ChannelQueue::kRank ? 0 : turn.peer.index(),
                                         queue == ChannelQueue::kDirection && sends},
                                        Duration())
                           .first->second;
      changed = learn(turn_, {key, sends}, later(tasks_ended, before)) || changed;
      const DeviceId source = sends ? DeviceId(device) : turn.peer;
      const Moment send = later(known(turn_, {key, true}), end_of(*problem_.producer(turn.value)));
      const Moment receive = known(turn_, {key, false});
      const Moment begin = options_.channels.rendezvous ? later(send, receive) : send;
      const Duration lasts = *problem_.transfer_time(turn.value, source, key.second);
      const Moment sent = begin ? Moment(*begin + lasts) : std::nullopt;
      changed = learn(received_, key, later(sent, receive)) || changed;
      before = sends ? sent : known(received_, key);
    }
    return changed;
  }

  const Problem& problem_;
  const ExecutionOrder& order_;
  const SimulationOptions& options_;
  std::vector<Moment> starts_;
  std::map<std::pair<MessageKey, bool>, Moment> turn_;
  std::map<MessageKey, Moment> received_;
};

}  // namespace opweave::testing
