/// The best plan with options that is known.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "opweave/layouts.h"

namespace opweave {

/// Holds the shortest schedule of any selection that `check` accepts from the files' content and the plan alone.
class LayoutIncumbent {
 public:
  LayoutIncumbent(const LayoutProblem& problem, const Budget& budget, const PlannerOptions& options)
      : problem_(problem), budget_(budget), options_(options) {}

  struct Best {
    DerivedProblem derived;
    std::optional<ProblemWithMovements> movements;  ///< of derived.problem(), where values have memory modes
    Schedule schedule;                              ///< of movements->problem(), or of derived.problem()
    Duration makespan;
    std::string method;

    [[nodiscard]] LayoutPlan plan(std::vector<LowerBound> bounds, Provenance provenance) const;
  };

  /// True if the schedule is the best now. One that holds more on a host than it may is no plan.
  /// \param candidate  its makespan is found anew
  /// \throws InternalError if `check` rejects it for another reason
  bool offer(Best candidate);

  void raise_lower_bound(Duration bound) { lower_bound_ = std::max(lower_bound_, bound); }
  [[nodiscard]] const std::optional<Best>& best() const { return best_; }
  [[nodiscard]] bool is_optimal() const { return best_ && best_->makespan <= lower_bound_; }
  [[nodiscard]] const std::vector<Improvement>& trajectory() const { return trajectory_; }

 private:
  const LayoutProblem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  Duration lower_bound_;
  std::optional<Best> best_;
  std::vector<Improvement> trajectory_;
};

}  // namespace opweave
