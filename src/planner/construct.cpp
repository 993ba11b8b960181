#include "planner/construct.h"

#include <algorithm>

#include "heuristics/list_scheduler.h"
#include "heuristics/placed_problem.h"
#include "heuristics/placement.h"
#include "heuristics/priority_rules.h"
#include "heuristics/reference_order.h"
#include "opweave/experts.h"

namespace opweave {
namespace {

class Constructor {
 public:
  Constructor(const Problem& problem, const Budget& budget, IncumbentStore& incumbent)
      : problem_(problem), budget_(budget), incumbent_(incumbent) {}

  Construction run() {
    for (const PlacementGuess& guess : guess_placements(problem_)) {
      if (finished()) break;
      schedule_placement(guess);
    }
    if (!finished()) {
      for (const ExpertPlan& expert : expert_plans(problem_)) {
        ++result_.evaluations;
        if (is_valid(problem_, expert.schedule)) keep(expert.schedule, expert.name);  // else: too much memory
      }
    }
    std::stable_sort(result_.starts.begin(), result_.starts.end(),
                     [](const Start& a, const Start& b) { return a.makespan < b.makespan; });
    return std::move(result_);
  }

 private:
  [[nodiscard]] bool finished() const {
    return incumbent_.makespan() && (incumbent_.is_optimal() || budget_.expired());
  }

  void schedule_placement(const PlacementGuess& guess) {
    const std::optional<PlacedProblem> placed = PlacedProblem::create(problem_, guess.modes);
    if (!placed) return;
    const ReferenceOrder reference = reference_order(*placed);
    if (!reference.fits) return;
    result_.any_placement_fits = true;
    for (const PriorityRule& rule : priority_rules(*placed, reference)) {
      ++result_.evaluations;
      keep(placed->schedule(list_schedule(*placed, reference, rule.priority)), guess.method + ", " + rule.name);
      if (finished()) return;
    }
  }

  /// A start is remembered only if it is valid, and only the best one per placement.
  void keep(Schedule schedule, const std::string& method) {
    const Duration makespan = schedule.makespan(problem_);
    const auto same_placement = [&](const Start& start) {
      return std::ranges::equal(start.schedule.tasks, schedule.tasks, {}, &TaskAssignment::mode, &TaskAssignment::mode);
    };
    const auto known = std::find_if(result_.starts.begin(), result_.starts.end(), same_placement);
    if (known != result_.starts.end() && known->makespan <= makespan) return;
    const bool better = !incumbent_.makespan() || makespan < *incumbent_.makespan();
    const bool valid = better ? incumbent_.offer(schedule, method) : is_valid(problem_, schedule);
    if (!valid) return;
    if (known != result_.starts.end()) {
      *known = {std::move(schedule), makespan, method};
    } else {
      result_.starts.push_back({std::move(schedule), makespan, method});
    }
  }

  const Problem& problem_;
  const Budget& budget_;
  IncumbentStore& incumbent_;
  Construction result_;
};

}  // namespace

Construction construct(const Problem& problem, const Budget& budget, IncumbentStore& incumbent) {
  return Constructor(problem, budget, incumbent).run();
}

}  // namespace opweave
