/// The best plan with memory modes that is known.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "opweave/memory_modes.h"
#include "opweave/objective.h"
#include "planner/objective_bounds.h"

namespace opweave {

/// What a search has found, for whoever waits for it, and may stop waiting.
class ModeFindings {
 public:
  struct Best {
    ProblemWithMovements derived;
    Schedule schedule;
    Duration makespan;
    std::string method;
    std::shared_ptr<const Plan> plan;  ///< without bounds and provenance
  };
  struct Copy {
    std::optional<Best> best;
    std::vector<Improvement> trajectory;
    std::vector<LowerBound> bounds;                   ///< largest first
    std::map<Objective, ObjectiveBound> proofs = {};  ///< where the makespan is not all that is asked for
  };

  [[nodiscard]] Copy copy() const;
  void add_bounds(std::vector<LowerBound> bounds);
  void prove(Objective objective, std::int64_t bound, std::string proof);
  void replace(Best best, double seconds);

 private:
  mutable std::mutex mutex_;
  Copy found_;
};

/// Holds the shortest schedule of any choice that `check` accepts from the original problem and the plan alone, and
/// tells of every better one.
class ModeIncumbent {
 public:
  using Best = ModeFindings::Best;

  ModeIncumbent(const Problem& problem, const Budget& budget, const PlannerOptions& options, Duration lower_bound,
                std::shared_ptr<ModeFindings> findings)
      : problem_(problem),
        budget_(budget),
        options_(options),
        lower_bound_(lower_bound),
        findings_(std::move(findings)) {}

  /// True if the schedule is the best now. One that holds more on a host than it may is no plan.
  /// \throws InternalError if `check` rejects it for another reason
  bool offer(const ProblemWithMovements& derived, const Schedule& schedule, const std::string& method);
  /// Tells of a makespan whose schedule will be offered.
  void tell(Duration makespan, const std::string& method) const;

  [[nodiscard]] const std::optional<Best>& best() const { return best_; }
  [[nodiscard]] bool is_optimal() const { return best_ && best_->makespan <= lower_bound_; }

 private:
  const Problem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  const Duration lower_bound_;
  const std::shared_ptr<ModeFindings> findings_;
  std::optional<Best> best_;
};

}  // namespace opweave
