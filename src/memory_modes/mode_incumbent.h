/// The best plan with memory modes that is known.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "opweave/memory_modes.h"

namespace opweave {

/// Holds the shortest schedule of any choice that `check` accepts from the original problem and the plan alone, and
/// tells of every better one.
class ModeIncumbent {
 public:
  ModeIncumbent(const Problem& problem, const Budget& budget, const PlannerOptions& options, Duration lower_bound)
      : problem_(problem), budget_(budget), options_(options), lower_bound_(lower_bound) {}

  struct Best {
    ProblemWithMovements derived;
    Schedule schedule;
    Duration makespan;
    std::string method;
  };

  /// True if the schedule is the best now. One that holds more on a host than it may is no plan.
  /// \throws InternalError if `check` rejects it for another reason
  bool offer(const ProblemWithMovements& derived, const Schedule& schedule, const std::string& method);
  /// Tells of a makespan whose schedule will be offered.
  void tell(Duration makespan, const std::string& method) const;

  [[nodiscard]] const std::optional<Best>& best() const { return best_; }
  [[nodiscard]] bool is_optimal() const { return best_ && best_->makespan <= lower_bound_; }
  [[nodiscard]] const std::vector<Incumbent>& trajectory() const { return trajectory_; }

 private:
  const Problem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  const Duration lower_bound_;
  std::optional<Best> best_;
  std::vector<Incumbent> trajectory_;
};

}  // namespace opweave
