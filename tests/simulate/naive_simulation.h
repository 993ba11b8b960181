/// The definition of the simulation, read literally: look at everything in every nanosecond.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "opweave/simulate.h"

namespace opweave::testing {

/// Runs an order of single-task blocks with small integer times, O(time x size^2).
class NaiveSimulation {
 public:
  NaiveSimulation(const Problem& problem, const ExecutionOrder& order, const SimulationOptions& options)
      : problem_(problem), order_(order), options_(options), runs_(problem.task_count()) {
    for (std::size_t t = 0; t < runs_.size(); ++t) {
      const Duration duration = options.durations.empty() ? mode(TaskId(t)).duration : options.durations[t];
      runs_[t].work = duration.value() * slowdown();
      runs_[t].instant = duration == Duration();
    }
  }

  /// Starts, ends and transfers; the transfers sorted.
  SimulationResult run() {
    constexpr int kLongEnough = 20000;  // no test lasts so long: what has not run by then never will
    for (now_ = 0; now_ < kLongEnough; ++now_) {
      while (something_happens()) {
      }
      book_transfers();
      if (std::ranges::all_of(runs_, [](const Run& run) { return run.ended; })) break;
      advance();
    }
    SimulationResult result;
    result.schedule.tasks.resize(runs_.size());
    result.task_ends.resize(runs_.size());
    for (std::size_t t = 0; t < runs_.size(); ++t) {
      result.schedule.tasks[t] = {order_.modes[t], Duration(runs_[t].start)};
      result.task_ends[t] = Duration(runs_[t].end);
      if (!runs_[t].started) result.deadlocked.emplace_back(t);
      result.makespan = std::max(result.makespan, result.task_ends[t]);
    }
    for (const auto& [key, transfer] : transfers_) {
      if (transfer.booked) {
        result.schedule.transfers.push_back(
            {key.first, transfer.source, key.second, Duration(transfer.start), Duration(transfer.end)});
      }
    }
    std::sort(result.schedule.transfers.begin(), result.schedule.transfers.end());
    return result;
  }

 private:
  struct Run {
    std::int64_t work = 0;  // left, in millionths at the speed of 1
    bool instant = false;
    bool started = false;
    bool ended = false;
    std::int64_t start = 0;
    std::int64_t end = 0;
  };
  struct TransferUnderway {
    DeviceId source;
    bool booked = false;
    std::int64_t start = 0;
    std::int64_t end = 0;
  };
  static constexpr std::int64_t kMillion = 1'000'000;

  [[nodiscard]] std::int64_t slowdown() const {
    return static_cast<std::int64_t>(options_.compute_slowdown * static_cast<double>(kMillion) + 0.5);
  }
  [[nodiscard]] Mode mode(TaskId task) const { return problem_.mode(task, order_.modes[task.index()]); }
  [[nodiscard]] bool runs_on(TaskId task, DeviceId device) const {
    return std::ranges::find(mode(task).devices, device) != mode(task).devices.end();
  }
  Run& run_of(TaskId task) { return runs_[task.index()]; }

  bool something_happens() {
    for (Run& run : runs_) {
      if (run.started && !run.ended && run.work <= 0) {
        run.ended = true;
        run.end = now_;
        return true;
      }
    }
    for (std::size_t v = 0; v < problem_.value_count(); ++v) {
      if (appears(ValueId(v))) return true;
    }
    for (std::size_t t = 0; t < runs_.size(); ++t) {
      if (!runs_[t].started && may_start(TaskId(t))) {
        runs_[t].started = true;
        runs_[t].start = now_;
        return true;
      }
    }
    return false;
  }

  /// Once the producer has ended: a transfer to every device where the value is needed and not made.
  bool appears(ValueId value) {
    const auto producer = problem_.producer(value);
    if (!producer || !run_of(*producer).ended) return false;
    bool something = false;
    for (const TaskId consumer : problem_.consumers(value)) {
      for (const DeviceId device : mode(consumer).devices) {
        if (runs_on(*producer, device) || transfers_.contains({value, device})) continue;
        std::optional<std::pair<Duration, DeviceId>> best;
        for (const DeviceId source : mode(*producer).devices) {
          const auto time = problem_.transfer_time(value, source, device);
          if (time && (!best || std::pair(*time, source) < *best)) best = {*time, source};
        }
        if (!best) continue;
        const bool instant = best->first == Duration();
        transfers_[{value, device}] = {best->second, instant, now_, now_};
        something = something || instant;
      }
    }
    return something;
  }

  bool may_start(TaskId task) {
    for (const TaskId before : problem_.control_predecessors(task)) {
      if (!run_of(before).ended) return false;
    }
    for (const ValueId value : problem_.inputs(task)) {
      const auto producer = problem_.producer(value);
      if (!producer) continue;
      for (const DeviceId device : mode(task).devices) {
        if (runs_on(*producer, device)) {
          if (!run_of(*producer).ended) return false;
        } else {
          const auto transfer = transfers_.find({value, device});
          if (transfer == transfers_.end() || !transfer->second.booked || transfer->second.end > now_) return false;
        }
      }
    }
    for (const DeviceId device : mode(task).devices) {
      for (const Block& block : order_.devices[device.index()]) {
        const TaskId before = block.tasks.front();
        if (before == task) break;
        if ((problem_.streams(before) & problem_.streams(task)) == 0) continue;
        if (!(run_of(task).instant ? run_of(before).started : run_of(before).ended)) return false;
      }
    }
    return true;
  }

  /// In the order of value and destination; each channel is given to the first that asks.
  void book_transfers() {
    for (auto& [key, transfer] : transfers_) {
      if (transfer.booked) continue;
      const std::int64_t lasts = problem_.transfer_time(key.first, transfer.source, key.second).value().value();
      transfer.booked = true;
      transfer.start = now_;
      const auto channels = channels_between(transfer.source, key.second);
      for (const auto& channel : channels) transfer.start = std::max(transfer.start, free_from_[channel]);
      transfer.end = transfer.start + lasts;
      for (const auto& channel : channels) free_from_[channel] = transfer.end;
    }
  }

  using Channel = std::pair<int, std::vector<std::size_t>>;
  [[nodiscard]] std::vector<Channel> channels_between(DeviceId from, DeviceId to) const {
    if (options_.contention == Contention::kNone) return {};
    if (options_.contention == Contention::kEndpoint) return {{0, {from.index()}}, {1, {to.index()}}};
    std::vector<Channel> channels;
    const auto route = problem_.cluster().route(from, to);
    for (const Hop& hop : route->hops) {
      const bool both_ways = !problem_.cluster().links()[hop.link.index()].full_duplex;
      channels.push_back({2, {hop.link.index(), both_ways || hop.forward ? 1U : 0U}});
    }
    if (channels.empty()) channels.push_back({3, {from.index(), to.index()}});
    return channels;
  }

  /// Lets one nanosecond pass.
  void advance() {
    for (std::size_t t = 0; t < runs_.size(); ++t) {
      Run& run = runs_[t];
      if (run.started && !run.ended) run.work -= hampered(TaskId(t)) ? kMillion : slowdown();
    }
  }

  [[nodiscard]] bool hampered(TaskId task) const {
    if ((problem_.streams(task) & 1U) == 0) return false;
    for (std::size_t other = 0; other < runs_.size(); ++other) {
      if (other == task.index() || !runs_[other].started || runs_[other].ended) continue;
      if ((problem_.streams(TaskId(other)) & ~1U) == 0) continue;
      for (const DeviceId device : mode(task).devices) {
        if (runs_on(TaskId(other), device)) return true;
      }
    }
    return false;
  }

  const Problem& problem_;
  const ExecutionOrder& order_;
  const SimulationOptions& options_;
  std::vector<Run> runs_;
  std::map<std::pair<ValueId, DeviceId>, TransferUnderway> transfers_;
  std::map<Channel, std::int64_t> free_from_;
  std::int64_t now_ = 0;
};

}  // namespace opweave::testing
