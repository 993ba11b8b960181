/// Evening out a placement: the device with the most work gives some of it away.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "opweave/problem.h"

namespace opweave {

/// Moves groups from the device whose busiest stream has the most work, or swaps them for smaller ones, as long as that
/// lowers the maximum. Of equally good changes it takes the one that moves the earliest group: a device should keep its
/// latest one, which decides how soon memory comes back to it. Pipelines of unequal layers (embedding, loss head)
/// cannot be cut evenly into consecutive parts; single groups even them out. Gangs stay where they are.
class PlacementBalancer {
 public:
  /// O(tasks x devices); does nothing where that, or the pairs of groups to try, would be too many.
  explicit PlacementBalancer(const Problem& problem);

  /// \pre modes is a placement that keeps parameters within memory.
  /// \return nothing if no change helps, or if parameters would not fit.
  [[nodiscard]] std::optional<std::vector<ModeIndex>> balanced(const std::vector<ModeIndex>& modes);

 private:
  [[nodiscard]] std::int64_t busiest(std::size_t device) const;
  void move(std::size_t group, std::size_t from, std::size_t to);
  bool improve();

  const Problem& problem_;
  std::size_t devices_;
  std::size_t streams_;
  bool is_small_;
  std::vector<std::int64_t> work_;  ///< by group, device, stream, where the group may run alone; else negative
  std::vector<std::int64_t> load_;  ///< by device, stream
  std::vector<std::optional<std::size_t>> home_;  ///< by group; nothing for gangs
};

}  // namespace opweave
