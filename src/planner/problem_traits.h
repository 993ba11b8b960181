/// What of a problem decides which methods work on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "exact/schedule_space.h"
#include "opweave/problem.h"
#include "placement_search/routing_model.h"

namespace opweave {

/// Found out once per search. Every method says by `supports(traits)` whether it is of use, and keeps the numbers that
/// this depends on beside its others. What takes long is found out when it is asked for first; used from one thread.
class ProblemTraits {
 public:
  /// O(tasks + groups). The problem outlives its traits.
  explicit ProblemTraits(const Problem& of);

  const Problem& problem;
  std::size_t tasks = 0;
  std::uint32_t microbatches = 1;
  bool has_open_placement = false;  ///< some group has several options
  bool can_be_merged = false;       ///< as coarsen::can_merge says

  /// What routing searches share; null where its tables would be too large.
  [[nodiscard]] const std::shared_ptr<const routing::Model>& routing_model() const;
  /// Intervals that the constraint program of the whole would have; the largest integer without looking closely where
  /// there are very many. O(tasks x options)
  [[nodiscard]] std::size_t intervals() const;
  /// What lag programs choose from.
  [[nodiscard]] const std::shared_ptr<const exact::ScheduleSpace>& space() const;

 private:
  mutable std::optional<std::shared_ptr<const routing::Model>> routing_model_;
  mutable std::optional<std::size_t> intervals_;
  mutable std::shared_ptr<const exact::ScheduleSpace> space_;
};

}  // namespace opweave
