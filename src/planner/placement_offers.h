/// Placements that somebody proposes, as schedules for a store.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/problem.h"
#include "planner/goal_store.h"
#include "planner/restrict.h"

namespace opweave {

/// Schedules placements quickly and offers what comes out. Used from one thread.
class PlacementOffers {
 public:
  PlacementOffers(const RestrictedProblem& restricted, std::optional<Duration> deadline, std::uint64_t seed,
                  GoalStore& store)
      : restricted_(restricted), deadline_(deadline), seed_(seed), store_(store) {}

  /// List schedules of a placement of the restricted problem, and one with a better order if they miss the deadline.
  /// \return whether the store took it
  bool offer(const std::vector<ModeIndex>& modes, const std::string& method, const Budget& budget);
  /// The placements that rules of thumb suggest.
  void offer_guesses(const Budget& budget);

 private:
  const RestrictedProblem& restricted_;
  const std::optional<Duration> deadline_;
  const std::uint64_t seed_;
  GoalStore& store_;
};

}  // namespace opweave
