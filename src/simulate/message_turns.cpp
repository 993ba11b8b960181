#include <algorithm>
#include <functional>
#include <map>
#include <queue>
#include <tuple>

#include "simulate/turns.h"

namespace opweave {
namespace {

/// Tasks and messages on their way into one order. Tasks of one block start together once all their inputs are there,
/// so that they are one node of it: a run.
class TurnPlacer {
 public:
  TurnPlacer(const Problem& problem, const ExecutionOrder& order, const Schedule& schedule)
      : problem_(problem), order_(order), turns_(order.devices.size()) {
    find_runs();
    ends_.resize(blocks_.size());
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      const Duration end = schedule.tasks[t].start + mode(TaskId(t)).duration;
      ends_[run_[t]] = std::max(ends_[run_[t]], end);
    }
    followers_.resize(blocks_.size());
    waits_.resize(blocks_.size());
    follow_streams();
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      for (const TaskId before : problem.control_predecessors(TaskId(t))) add(run(before), run(TaskId(t)));
      for (const ValueId value : problem.outputs(TaskId(t))) follow_value(TaskId(t), value);
    }
  }

  MessageTurns place() {
    using Entry = std::tuple<Duration, bool, std::uint32_t>;  // end, whether it is a message, which
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
    const auto offer = [&](std::uint32_t node) {
      if (waits_[node] > 0) return;
      const bool is_message = node >= blocks_.size();
      const std::uint32_t made_by = is_message ? run(messages_[node - blocks_.size()].producer) : node;
      ready.emplace(ends_[made_by], is_message, node);
    };
    for (std::uint32_t node = 0; node < waits_.size(); ++node) offer(node);
    std::vector<bool> is_placed(waits_.size());
    while (!ready.empty()) {
      const std::uint32_t node = std::get<2>(ready.top());
      ready.pop();
      take(node);
      is_placed[node] = true;
      for (const std::uint32_t follower : followers_[node]) {
        --waits_[follower];
        offer(follower);
      }
    }
    // An order that cannot run is for the simulation to report: what waits in a circle comes last.
    for (std::uint32_t node = 0; node < waits_.size(); ++node) {
      if (!is_placed[node]) take(node);
    }
    return std::move(turns_);
  }

 private:
  struct Message {
    ValueId value;
    TaskId producer;
    DeviceId source;
    DeviceId destination;
  };
  /// A block of a device.
  struct Place {
    std::size_t device;
    std::size_t block;
  };

  [[nodiscard]] Mode mode(TaskId task) const { return problem_.mode(task, order_.modes[task.index()]); }
  [[nodiscard]] std::uint32_t run(TaskId task) const { return run_[task.index()]; }

  /// Blocks that share a task (of a gang) are one run.
  void find_runs() {
    constexpr std::uint32_t kNone = static_cast<std::uint32_t>(-1);
    run_.assign(problem_.task_count(), kNone);
    for (std::size_t device = 0; device < order_.devices.size(); ++device) {
      for (std::size_t block = 0; block < order_.devices[device].size(); ++block) {
        const std::vector<TaskId>& tasks = order_.devices[device][block].tasks;
        const auto known = std::ranges::find_if(tasks, [&](TaskId task) { return run(task) != kNone; });
        const auto number = known == tasks.end() ? static_cast<std::uint32_t>(blocks_.size()) : run(*known);
        if (number == blocks_.size()) blocks_.emplace_back();
        for (const TaskId task : tasks) run_[task.index()] = number;
        blocks_[number].push_back({device, block});
      }
    }
  }

  /// To itself nothing has to be said.
  void add(std::uint32_t before, std::uint32_t after) {
    if (before == after) return;
    followers_[before].push_back(after);
    ++waits_[after];
  }

  void follow_streams() {
    const std::size_t streams = problem_.cluster().stream_names().size();
    for (const auto& blocks : order_.devices) {
      std::vector<std::optional<std::uint32_t>> last(streams);
      for (const Block& block : blocks) {
        std::uint32_t held = 0;
        for (const TaskId task : block.tasks) held |= problem_.streams(task);
        for (std::size_t stream = 0; stream < streams; ++stream) {
          if ((held >> stream & 1U) == 0) continue;
          const std::uint32_t now = run(block.tasks.front());
          if (last[stream]) add(*last[stream], now);
          last[stream] = now;
        }
      }
    }
  }

  void follow_value(TaskId producer, ValueId value) {
    const std::span<const DeviceId> made_on = mode(producer).devices;
    std::map<DeviceId, std::uint32_t> message_to;
    for (const TaskId consumer : problem_.consumers(value)) {
      for (const DeviceId device : mode(consumer).devices) {
        if (std::ranges::find(made_on, device) != made_on.end()) {
          add(run(producer), run(consumer));
          continue;
        }
        const auto [place, is_new] = message_to.try_emplace(device, static_cast<std::uint32_t>(waits_.size()));
        if (is_new) {
          const auto source = simulation::sender(problem_, made_on, value, device);
          if (!source) {  // no route: the simulation says so
            message_to.erase(place);
            continue;
          }
          messages_.push_back({value, producer, *source, device});
          followers_.emplace_back();
          waits_.push_back(0);
          add(run(producer), place->second);
        }
        add(place->second, run(consumer));
      }
    }
  }

  void take(std::uint32_t node) {
    if (node < blocks_.size()) {
      for (const Place& place : blocks_[node]) {
        for (const TaskId task : order_.devices[place.device][place.block].tasks) {
          turns_[place.device].push_back({Turn::Kind::kTask, task, {}, {}});
        }
      }
      return;
    }
    const Message& message = messages_[node - blocks_.size()];
    turns_[message.source.index()].push_back({Turn::Kind::kSend, {}, message.value, message.destination});
    turns_[message.destination.index()].push_back({Turn::Kind::kReceive, {}, message.value, message.source});
  }

  const Problem& problem_;
  const ExecutionOrder& order_;
  std::vector<std::uint32_t> run_;          // by task
  std::vector<std::vector<Place>> blocks_;  // by run
  std::vector<Duration> ends_;              // by run
  std::vector<Message> messages_;
  // By node: runs, then messages.
  std::vector<std::vector<std::uint32_t>> followers_;
  std::vector<std::uint32_t> waits_;
  MessageTurns turns_;
};

}  // namespace

MessageTurns message_turns(const Problem& problem, const ExecutionOrder& order, const Schedule& schedule) {
  return TurnPlacer(problem, order, schedule).place();
}

}  // namespace opweave
