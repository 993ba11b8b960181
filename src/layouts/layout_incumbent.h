/// The best plan with options that is known.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "opweave/layouts.h"

namespace opweave {

/// What a search has found, for whoever waits for it, and may stop waiting.
class LayoutFindings {
 public:
  struct Copy {
    std::shared_ptr<const LayoutPlan> best;  ///< without bounds and provenance
    std::string method;
    std::vector<Improvement> trajectory;
    std::vector<LowerBound> bounds;  ///< largest first
  };

  [[nodiscard]] Copy copy() const;
  void add_bounds(const std::vector<LowerBound>& bounds);
  void replace(std::shared_ptr<const LayoutPlan> best, std::string method, double seconds);

 private:
  mutable std::mutex mutex_;
  Copy found_;
};

/// Holds the shortest schedule of any selection that `check` accepts from the files' content and the plan alone.
class LayoutIncumbent {
 public:
  LayoutIncumbent(const LayoutProblem& problem, const Budget& budget, const PlannerOptions& options,
                  std::shared_ptr<LayoutFindings> findings)
      : problem_(problem), budget_(budget), options_(options), findings_(std::move(findings)) {}

  struct Best {
    DerivedProblem derived;
    std::optional<ProblemWithMovements> movements;  ///< of derived.problem(), where values have memory modes
    Schedule schedule;                              ///< of movements->problem(), or of derived.problem()
    Duration makespan;
    std::string method;

    [[nodiscard]] LayoutPlan plan() const;
  };

  /// True if the schedule is the best now. One that holds more on a host than it may is no plan.
  /// \param candidate  its makespan is found anew
  /// \throws InternalError if `check` rejects it for another reason
  bool offer(Best candidate);

  void add_bounds(const std::vector<LowerBound>& bounds);
  [[nodiscard]] const std::optional<Best>& best() const { return best_; }
  [[nodiscard]] bool is_optimal() const { return best_ && best_->makespan <= lower_bound_; }

 private:
  const LayoutProblem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  const std::shared_ptr<LayoutFindings> findings_;
  Duration lower_bound_;
  std::optional<Best> best_;
};

}  // namespace opweave
