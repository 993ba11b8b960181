/// Which values the memory of a device, or of several devices together, must hold, and when.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bounds/relaxation.h"

namespace opweave::bounds {

/// Copies of a value that are held in a room at least from the earliest start among `first` until the
/// latest end among `last` of the same rank.
struct HeldValue {
  std::int64_t bytes = 0;
  Index count = 1;
  std::vector<Index> first;  ///< classes
  std::vector<Index> last;
  /// The value arrives this much before the earliest start among `first` (a transfer to the room).
  Nanoseconds lead = 0;
  /// The value stays this much beyond the end of its producer (a transfer from the room).
  Nanoseconds trail = 0;
};

/// A device, or a set of devices whose memory is taken as one.
struct Room {
  DeviceSet devices;
  /// Bytes beside the parameters that certainly live here; nothing = unlimited. Negative if these alone overflow.
  std::optional<std::int64_t> capacity;
  /// Classes that certainly run here: on the device, or for several devices nowhere else. Topological order.
  std::vector<Index> members;
  /// Largest first; empty if the capacity is unlimited.
  std::vector<HeldValue> values;
  /// Bit v of row i: if a copy of member i has started, the copy of value v of its rank has been taken.
  std::vector<std::uint64_t> taken;
  /// Bit v of row i: if a copy of member i has not ended, the copy of value v of its rank has not been released.
  std::vector<std::uint64_t> kept;
  std::size_t words = 0;  ///< per row

  [[nodiscard]] bool taken_by(std::size_t member, std::size_t value) const {
    return (taken[member * words + value / 64] >> (value % 64) & 1U) != 0;
  }
  [[nodiscard]] bool kept_by(std::size_t member, std::size_t value) const {
    return (kept[member * words + value / 64] >> (value % 64) & 1U) != 0;
  }
};

/// The rooms of a problem: every device on which some task must run, and, if not every task has its
/// devices fixed, the sets of devices within which tasks are confined, the whole cluster among them.
class MemoryRooms {
 public:
  explicit MemoryRooms(const Relaxation& relaxation);

  [[nodiscard]] const std::vector<Room>& rooms() const { return rooms_; }
  /// Where a class is a member.
  struct Membership {
    Index room;
    Index member;
  };
  [[nodiscard]] std::span<const Membership> memberships(Index task_class) const { return memberships_[task_class]; }

 private:
  std::vector<Room> rooms_;
  detail::Lists<Membership> memberships_;
};

}  // namespace opweave::bounds
