/// How much of the work of a room's stream can be done within a time of either end of the plan.
#pragma once

#include <vector>

#include "bounds/earliest.h"
#include "bounds/memory_rooms.h"
#include "bounds/relaxation.h"

namespace opweave::bounds {

/// Window [0, h) forward, (T - h, T] backward, of any plan with makespan T.
class WindowWork {
 public:
  /// \param earliest  heads forward, tails backward.
  WindowWork(const Relaxation& relaxation, const Room& room, StreamId stream, Direction direction,
             const Earliest& earliest);

  /// Work that the members certainly have on the stream: time x devices.
  [[nodiscard]] Nanoseconds total() const { return total_; }
  /// Devices of the room that have the stream.
  [[nodiscard]] std::int64_t machines() const { return machines_; }
  /// Upper bound on the part of total() that is done within the window of length h.
  [[nodiscard]] Nanoseconds most(Nanoseconds h) const;

  /// Lengths and what most() says of them: all that matter if they are few, else a choice of them
  /// that is denser where much time stays idle.
  struct Sample {
    Nanoseconds length;
    Nanoseconds most;
  };
  [[nodiscard]] std::vector<Sample> samples() const;

 private:
  struct Job {
    Nanoseconds earliest;
    Nanoseconds duration;
    Nanoseconds work;
    std::int64_t widest;
    Index first_holding;  ///< in holdings_
    Index holding_count;
  };
  /// Copy of a value; a job can only run after it has been taken, together with its ancestors.
  struct Holding {
    std::int64_t bytes;
    Nanoseconds release;  ///< earliest
    Index parent;         ///< always earlier in the array
  };
  struct FluidStep {
    Nanoseconds from;
    Nanoseconds done;
    Nanoseconds backlog;
    std::int64_t rate;
  };

  void collect_holdings(const Relaxation& relaxation, const Room& room, Direction direction, const Earliest& earliest);
  void collect_jobs(const Relaxation& relaxation, const Room& room, StreamId stream, Direction direction,
                    const Earliest& earliest);
  void pour();
  [[nodiscard]] Nanoseconds fluid(Nanoseconds h) const;
  [[nodiscard]] Nanoseconds held_work(const std::vector<Nanoseconds>& work, Nanoseconds h) const;

  std::int64_t machines_ = 0;
  Nanoseconds total_ = 0;
  std::optional<std::int64_t> capacity_;
  std::vector<Job> jobs_;  // by earliest
  std::vector<Holding> holdings_;
  std::vector<Index> job_holdings_;
  std::vector<FluidStep> fluid_;
  std::vector<std::vector<Index>> member_values_;  // candidates to charge a member's work to
  std::vector<Index> first_holding_;               // by value
};

}  // namespace opweave::bounds
