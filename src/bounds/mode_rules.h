/// What the bounds know of memory modes.
#pragma once

#include <cstdint>
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
