/// Values that do not stay: dropped and made again, or copied to a host and back (docs/memory-modes.md).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "opweave/memory_mode.h"
#include "opweave/plan.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// The memory mode of every value, by ValueId.
using MemoryChoice = std::vector<MemoryMode>;

/// When what was let go may come back.
enum class Return : std::uint8_t {
  kAnyTime,     ///< as the rules say
  kJustInTime,  ///< no earlier than some operators before its first reader in the backward pass: fewer schedules, but
                ///< those of schedulers that never let a stream wait are far better
};

namespace detail {
struct MovementData;
}

/// A problem whose memory modes are chosen, as an ordinary problem: what runs again and what is copied are operators
/// like others, what comes back is a tensor of its own. Its schedules are the schedules of the original problem under
/// the choice, one for one, with the same times and the same memory on every device; only the memory of hosts is not
/// in it. Immutable; cheap to copy.
class ProblemWithMovements {
 public:
  /// O(tasks + edges). Where all copies of each tensor have one mode and stand or fall with their operators' devices,
  /// microbatches stay what they are; else every task becomes an operator of its own.
  /// \pre choice has an entry per value.
  /// \throws InputError where a value has a mode that it may not have or that needs a host where there is none, where
  ///   units that run again need each other, or where the modes of microbatches differ and their operators are anti-
  ///   colocated or their replicas may share a device.
  /// With kJustInTime the schedules are some of those of the original problem.
  static ProblemWithMovements create(const Problem& original, MemoryChoice choice, Return when = Return::kAnyTime);

  [[nodiscard]] const Problem& original() const;
  [[nodiscard]] const MemoryChoice& choice() const;
  /// The ordinary problem.
  [[nodiscard]] const Problem& problem() const;

  /// The plan of the original problem that a schedule of problem() is, with figures of hosts and of what runs again.
  [[nodiscard]] Plan plan(const Schedule& schedule, std::vector<LowerBound> bounds, Provenance provenance) const;
  /// Inverse of plan(). \throws InputError where the plan lacks something or has something that the choice does not ask
  ///   for
  [[nodiscard]] Schedule schedule(const Plan& plan) const;
  /// Where each task of problem() comes from.
  struct Origin {
    bool is_movement = false;  ///< else a task of the original problem
    MovementKind kind = MovementKind::kRecompute;
    TaskId task;    ///< of the original problem: the task itself, what runs again, what made the value, or the last of
                    ///< those that add to the gradients
    ValueId value;  ///< of the original problem: what is copied
    ParameterId parameter = {};  ///< whose gradients are reduced
  };
  [[nodiscard]] Origin origin(TaskId task) const;
  /// The highest number of bytes on the host of each device.
  [[nodiscard]] std::vector<Bytes> host_peaks(const Schedule& schedule) const;

 private:
  std::shared_ptr<const detail::MovementData> data_;
};

/// A plan with memory modes as a plan of an ordinary problem, for everything that reads plans: simulate, report,
/// explain. What runs again is named "operator again", copies "tensor to host" and "tensor from host".
struct OrdinaryPlan {
  ProblemWithMovements movements;
  Plan plan;  ///< of movements.problem()
};
/// \pre problem has the plan's settings \throws InputError as the two functions above
[[nodiscard]] OrdinaryPlan with_movements(const Problem& problem, const Plan& plan);

/// The settings allow other modes than kKeep, or some tensor does.
[[nodiscard]] bool may_choose_modes(const Problem& problem);
/// Its plans may have movements: values may have modes, or gradients of replicas are reduced. Then
/// plan_with_memory_modes() plans it, plan() does not.
[[nodiscard]] bool has_movements(const Problem& problem);

/// What a choice of memory modes is for.
struct ModeOptions {
  /// Plans that training frameworks can be told: all microbatches alike, and of every stage the first units, as many of
  /// each. Fewer choices, so plans may be longer; the bounds are those of all plans.
  bool is_uniform = false;
};

/// plan() for problems whose values may have memory modes: chooses modes, placement and order. Where few choices exist
/// all of them are planned, and the plan is optimal if each of them is settled; else modes change by unit, first for
/// all microbatches alike, then for a few. Every plan has passed `check`. The same problem, options and work limit give
/// the same plan. Answers when the budget ends, as plan() does. \throws InputError for objectives other than the
/// makespan, a deadline, or blocks, and for more tasks than it is made for
[[nodiscard]] PlanResult plan_with_memory_modes(const Problem& problem, const Budget& budget,
                                                const PlannerOptions& options = {}, const ModeOptions& modes = {});

}  // namespace opweave
