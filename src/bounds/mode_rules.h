/// What the bounds know of memory modes.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include "bounds/memory_pools.h"
#include "opweave/problem.h"

namespace opweave::bounds {

/// Which values may leave their device for a while, and what that takes.
class ModeRules {
 public:
  explicit ModeRules(const Problem& problem);

  /// Modes of the value beside keeping it; none for a workspace.
  [[nodiscard]] MemoryModes modes(const HeldValue& value) const {
    return value.tensor ? modes_[value.tensor->index()] : MemoryModes();
  }
  [[nodiscard]] bool may_drop() const { return may_drop_; }
  /// The operator runs again whenever the maker of the tensor does.
  [[nodiscard]] bool runs_again_with(OperatorId op, TensorId tensor) const;
  static constexpr Nanoseconds kNever = std::numeric_limits<Nanoseconds>::max();
  /// By task: least time from the end of its repetition to the end of the plan, where no repetition is in vain; kNever
  /// where there is none. A repetition ends before something behind the forward pass that reads a value of its unit, or
  /// of a unit that runs again and reads one. `after` says for what is behind the forward pass the least time from its
  /// start to the end of the plan. O(passes x edges)
  [[nodiscard]] std::vector<Nanoseconds> repetition_tails(const std::function<Nanoseconds(TaskId)>& after) const;
  /// Most bytes that copies may move from the device, or back, in this time, and at most what its host holds; 0 where
  /// it has none.
  [[nodiscard]] std::int64_t bytes_copied(DeviceId device, Nanoseconds time) const;

 private:
  const Problem& problem_;
  std::vector<MemoryModes> modes_;    ///< by tensor
  std::vector<std::uint32_t> units_;  ///< by operator
  bool may_drop_ = false;
};

}  // namespace opweave::bounds
