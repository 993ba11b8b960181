/// How much of the work of a pool's stream can be done within a time of either end of the plan.
#pragma once

#include <limits>
#include <vector>

#include "bounds/earliest.h"
#include "bounds/memory_pools.h"
#include "bounds/mode_rules.h"
#include "bounds/relaxation.h"
#include "opweave/budget.h"

namespace opweave::bounds {

/// Interval [0, h) forward, (T - h, T] backward, of any plan with makespan T. For a pool of unknown
/// place, what one device can do whose groups release nothing within the interval.
class IntervalWork {
 public:
  /// \param earliest  heads forward, tails backward.
  /// \param counts  by member of the pool: whether its tasks count, as a device has only such; null = all
  /// \param modes  where values may leave the device for a while: work counts less what must be done once more behind
  ///   the interval (docs/bounds.md, "memory-modes"). \pre the pool is one device
  IntervalWork(const Relaxation& relaxation, const MemoryPool& pool, StreamId stream, Direction direction,
               const Earliest& earliest, const ModeRules* modes = nullptr, const std::vector<bool>* counts = nullptr);

  /// Work that the members certainly have on the stream: time x devices.
  [[nodiscard]] Nanoseconds total() const { return total_; }
  /// Devices of the pool that have the stream, and work in an interval; 1 for a pool of unknown place.
  [[nodiscard]] std::int64_t machines() const { return machines_; }
  /// Upper bound on the part of total() that is done within the interval of length h; where values may be dropped,
  /// forward less the repetitions that are to come behind the interval, backward with those within it.
  [[nodiscard]] Nanoseconds most(Nanoseconds h) const;

  /// Lengths and what most() says of them: all that matter if they are few, else a choice of them
  /// that is denser where much time stays idle. Fewer if the budget ends: each holds by itself.
  struct Sample {
    Nanoseconds length;
    Nanoseconds most;
  };
  [[nodiscard]] std::vector<Sample> samples(const Budget& budget) const;

 private:
  struct Job {
    Nanoseconds earliest;
    Nanoseconds duration;
    Nanoseconds work;
    std::int64_t widest;
    Index first_charge;  ///< in charges_: kCharges candidates for each way of charging
    OperatorId op;
    Nanoseconds release = std::numeric_limits<Nanoseconds>::max();  ///< of its group, in a pool of unknown place
  };
  /// Copy of a value; a job can only run after it has been taken, together with its ancestors.
  struct Holding {
    std::int64_t bytes;
    Nanoseconds release;                   ///< earliest
    Index parent;                          ///< always earlier in the array
    std::optional<TensorId> dropped = {};  ///< what may be dropped and made again, here
  };
  struct FluidStep {
    Nanoseconds from;
    Nanoseconds done;
    Nanoseconds backlog;
    std::int64_t rate;
  };

  /// Which of the holdings that a job needs its work is charged to. Neither way is best always.
  enum Charging : std::size_t { kDeepest, kMostSpecific };
  static constexpr std::size_t kWays = 2;
  static constexpr std::size_t kCharges = 4;  ///< candidates per way; the first that is not releasable counts

  void collect_holdings(const Relaxation& relaxation, const MemoryPool& pool, Direction direction,
                        const Earliest& earliest);
  void collect_jobs(const Relaxation& relaxation, const MemoryPool& pool, StreamId stream, Direction direction,
                    const Earliest& earliest, const std::vector<bool>* counts);
  void collect_repetitions(const Relaxation& relaxation, const MemoryPool& pool, StreamId stream,
                           const Earliest& earliest);
  void pour();
  [[nodiscard]] Nanoseconds fluid(Nanoseconds h) const;
  [[nodiscard]] Nanoseconds held_work(const std::vector<Nanoseconds>& work, Nanoseconds h) const;
  [[nodiscard]] Nanoseconds most_in_memory(Nanoseconds h, Charging charging, std::int64_t price) const;
  [[nodiscard]] std::vector<std::int64_t> prices() const;
  [[nodiscard]] std::int64_t gain_of_dropped(const Job& job, const Holding& holding, std::int64_t price) const;

  const ModeRules* modes_ = nullptr;
  const Relaxation& relaxation_;
  DeviceId device_;             ///< with modes: the pool
  Nanoseconds first_copy_ = 0;  ///< no copy to or from a host begins earlier
  std::int64_t machines_ = 0;
  Nanoseconds total_ = 0;
  std::optional<std::int64_t> capacity_;
  std::vector<Job> jobs_;  // by earliest
  std::vector<Holding> holdings_;
  std::vector<Index> charges_;
  std::vector<FluidStep> fluid_;
  std::vector<Index> member_values_;  // kWays x kCharges per member
  std::vector<Index> first_holding_;  // by value
};

/// Per member of a pool of unknown place: moment before which its group releases nothing that more
/// than one task uses; the largest number where it keeps nothing, and for all other pools.
[[nodiscard]] std::vector<Nanoseconds> member_releases(const Relaxation& relaxation, const MemoryPool& pool,
                                                       Direction direction, const Earliest& earliest);

}  // namespace opweave::bounds
