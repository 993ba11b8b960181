/// Makespan against memory: how much time a byte is worth.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/problem.h"

namespace opweave {

/// One point of the curve. Plans at this memory limit are plans at every larger one.
struct ParetoPoint {
  Bytes memory_limit;                ///< capacity of every device, as ProblemSettings::memory_limit
  std::optional<Duration> makespan;  ///< best known; nothing if no plan is known
  Bytes peak_memory;                 ///< of that plan
  Duration bound;                    ///< no valid plan at this limit is shorter
  std::string bound_name;
  std::string method;          ///< what found the plan
  bool is_infeasible = false;  ///< proven: no valid plan keeps this limit

  /// (makespan - bound) / makespan; 0 without a plan.
  [[nodiscard]] double gap() const;
};

struct ParetoCurve {
  std::vector<ParetoPoint> points;  ///< smallest limit first; none if there is no plan at all
  bool is_infeasible = false;       ///< proven: there is no valid plan
  std::string detail;               ///< where there is no plan: why, or what was tried
};

/// The problem whose devices all have as much memory as the one that has most: the curve's largest limit. Ids stay.
[[nodiscard]] Problem with_equal_memory(const Problem& problem);

/// The curve of with_equal_memory(problem) at `points` memory limits, evenly spaced from the least memory for which a
/// plan is known to the peak of the shortest plan known, smallest first. Each search starts from its neighbour's plan
/// and each plan counts for all larger limits, so the curve never rises; nor do the bounds, which hold for all smaller
/// limits. Fewer points if the ends lie closer together. Objectives and deadline of the options are not looked at.
/// \param on_point  called as each point gets its search; may be empty
/// \throws InputError for fewer than 2 points
[[nodiscard]] ParetoCurve pareto_curve(const Problem& problem, std::size_t points, const Budget& budget,
                                       const PlannerOptions& options,
                                       const std::function<void(const ParetoPoint&)>& on_point = {});

/// The points as files for programs: a row or an object each.
[[nodiscard]] std::string pareto_to_csv(const ParetoCurve& curve);
[[nodiscard]] std::string pareto_to_json(const ParetoCurve& curve);

}  // namespace opweave
