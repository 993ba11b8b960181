/// The best answer so far to a question of several objectives.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/objective.h"
#include "opweave/plan.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// Keeps the schedule that is first in the order of the objectives among the valid ones that keep the deadline.
/// Used from one thread.
class GoalStore {
 public:
  /// \param on_progress  told of every schedule that is taken; may be empty
  GoalStore(const Problem& problem, const Budget& budget, std::vector<Objective> objectives,
            std::optional<Duration> deadline, std::function<void(const Progress&)> on_progress);

  /// Takes the schedule if it is valid, keeps the deadline and is better than what is held.
  bool offer(const Schedule& schedule, const std::string& method);

  [[nodiscard]] const std::optional<Schedule>& schedule() const { return schedule_; }
  [[nodiscard]] const std::string& method() const { return method_; }
  /// Value of an objective of the schedule that is held. \pre schedule() has a value
  [[nodiscard]] std::int64_t value(Objective objective) const;
  [[nodiscard]] const std::vector<Improvement>& trajectory() const { return trajectory_; }

 private:
  [[nodiscard]] std::vector<std::int64_t> values_of(const Schedule& schedule, const PlanStatistics& statistics) const;

  const Problem& problem_;
  const Budget& budget_;
  const std::vector<Objective> objectives_;
  const std::optional<Duration> deadline_;
  const std::function<void(const Progress&)> on_progress_;
  std::optional<Schedule> schedule_;
  PlanStatistics statistics_;
  std::vector<std::int64_t> values_;
  std::string method_;
  std::vector<Improvement> trajectory_;
};

}  // namespace opweave
