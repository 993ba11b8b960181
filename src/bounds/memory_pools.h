/// Which values the memory of a device, or of several devices together, must hold, and when.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "bounds/relaxation.h"

namespace opweave::bounds {

/// Copies of a value that are held in a pool at least from the earliest start among `first` until the
/// latest end among `last` of the same rank.
struct HeldValue {
  std::int64_t bytes = 0;
  Index count = 1;
  std::vector<Index> first;  ///< classes
  std::vector<Index> last;
  /// The value arrives this much before the earliest start among `first` (a transfer to the pool).
  Nanoseconds lead = 0;
  /// The value stays this much beyond the end of its producer (a transfer from the pool).
  Nanoseconds trail = 0;
  std::optional<TensorId> tensor = {};  ///< none for a workspace
  bool is_made_here = true;
};

/// What a pool stands for.
enum class MemoryPoolKind : std::uint8_t {
  kDevice,   ///< one device; members certainly run on it
  kShared,   ///< several devices whose memory is taken as one; members run nowhere else
  kUnknown,  ///< whichever single one of several devices: members of one group meet there
};

/// A place with limited memory, the tasks that run there and the values that they keep there.
struct MemoryPool {
  MemoryPoolKind kind = MemoryPoolKind::kDevice;
  DeviceSet devices;
  /// Bytes beside the parameters that certainly live here; nothing = unlimited. Negative if these alone
  /// overflow.
  std::optional<std::int64_t> capacity;
  std::vector<Index> members;     ///< classes, ascending (a topological order)
  std::vector<HeldValue> values;  ///< largest first; empty if the capacity is unlimited
  /// Bit v of row i: if a copy of member i has started, the copy of value v of its rank has been taken.
  std::vector<std::uint64_t> taken;
  /// Bit v of row i: if a copy of member i has not ended, the copy of value v of its rank has not been released.
  std::vector<std::uint64_t> kept;
  std::size_t words = 0;  ///< per row

  /// Position among the members. \pre it is one.
  [[nodiscard]] std::size_t member(Index task_class) const {
    return static_cast<std::size_t>(std::lower_bound(members.begin(), members.end(), task_class) - members.begin());
  }
  [[nodiscard]] bool taken_by(std::size_t member, std::size_t value) const {
    return (taken[member * words + value / 64] >> (value % 64) & 1U) != 0;
  }
  [[nodiscard]] bool kept_by(std::size_t member, std::size_t value) const {
    return (kept[member * words + value / 64] >> (value % 64) & 1U) != 0;
  }
};

/// The pools of a problem: every device on which some task must run, and, if not every task has its
/// devices fixed, the sets of devices within which tasks are confined, the whole cluster among them,
/// once as shared and, where groups of several tasks exist, once as unknown.
class MemoryPools {
 public:
  explicit MemoryPools(const Relaxation& relaxation);

  [[nodiscard]] const std::vector<MemoryPool>& pools() const { return pools_; }
  /// Where a class is a member.
  struct Membership {
    Index pool;
    Index member;
  };
  [[nodiscard]] std::span<const Membership> memberships(Index task_class) const { return memberships_[task_class]; }

 private:
  std::vector<MemoryPool> pools_;
  detail::Lists<Membership> memberships_;
};

}  // namespace opweave::bounds
