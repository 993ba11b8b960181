/// Placement and order by levels of merged tasks, for problems too large to search as a whole (docs/coarsening.md).
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "coarsen/hierarchy.h"
#include "planner/search_method.h"

namespace opweave {

/// Tasks are merged and placed, level by level, and levels that are finer than the best of these are searched, each
/// from what the coarser one found. What comes of it becomes the only start where the problem itself is too large for
/// the routing search; where it is not, the method ends at once unless a coarser level leads to a better schedule.
class LevelsMethod final : public SearchMethod {
 public:
  /// The placement is open, and tasks can be merged in the time that there usually is.
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);

  LevelsMethod(SearchContext& context, std::uint64_t seed);
  /// \param only_from_coarser  the problem itself is searched by others
  LevelsMethod(SearchContext& context, std::uint64_t seed, bool only_from_coarser);
  ~LevelsMethod() override;
  void advance(IncumbentStore& incumbent, const Slice& slice) override;
  [[nodiscard]] bool is_done() const override { return is_done_; }

 private:
  class Descent;

  SearchContext& context_;
  std::uint64_t seed_;
  const bool only_from_coarser_;
  std::deque<coarsen::Hierarchy> hierarchies_;
  bool is_done_ = false;
  // The level from which the way down begins, once it is known.
  const coarsen::Hierarchy* chosen_ = nullptr;
  std::size_t level_ = 0;
  std::optional<Schedule> coarse_;
};

}  // namespace opweave
