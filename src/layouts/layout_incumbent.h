/// The best plan with options that is known.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "opweave/layouts.h"

namespace opweave {

/// Holds the shortest schedule of any selection that `check` accepts from the files' content and the plan alone.
class LayoutIncumbent {
 public:
  LayoutIncumbent(const LayoutProblem& problem, const Budget& budget, const PlannerOptions& options,
                  Duration lower_bound)
      : problem_(problem), budget_(budget), options_(options), lower_bound_(lower_bound) {}

  struct Best {
    DerivedProblem derived;
    Schedule schedule;
    Duration makespan;
    std::string method;
  };

  /// True if the schedule is the best now. \throws InternalError if `check` rejects it
  bool offer(const DerivedProblem& derived, const Schedule& schedule, const std::string& method);

  [[nodiscard]] const std::optional<Best>& best() const { return best_; }
  [[nodiscard]] bool is_optimal() const { return best_ && best_->makespan <= lower_bound_; }
  [[nodiscard]] const std::vector<Improvement>& trajectory() const { return trajectory_; }

 private:
  const LayoutProblem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  const Duration lower_bound_;
  std::optional<Best> best_;
  std::vector<Improvement> trajectory_;
};

}  // namespace opweave
