#include "opweave/pareto.h"

#include <fmt/format.h>

#include <algorithm>

#include "opweave/bounds.h"
#include "opweave/error.h"
#include "planner/incumbent.h"
#include "planner/minimise_makespan.h"
#include "planner/objective_search.h"
#include "planner/restrict.h"

namespace opweave {
namespace {

/// A plan on or above the curve.
struct CurvePlan {
  Schedule schedule;
  Duration makespan;
  Bytes peak;
  std::string method;
};

class ParetoSearch {
 public:
  ParetoSearch(const Problem& problem, const Budget& budget, const PlannerOptions& options)
      : problem_(with_equal_memory(problem)), budget_(budget), options_(options) {
    options_.objectives = {Objective::kMakespan};
    options_.deadline = std::nullopt;
  }

  ParetoCurve run(std::size_t count, const std::function<void(const ParetoPoint&)>& on_point) {
    // The two ends, then a search per point: equal shares of the time.
    const double share = 1.0 / static_cast<double>(count + 2);
    Finding shortest = minimise_makespan(problem_, budget_.share(share), options_);
    keep(shortest);
    if (candidates_.empty()) {
      return {{}, shortest.reason == PlanResult::Reason::kInfeasible, std::move(shortest.detail)};
    }
    find_least_memory(budget_.share(share));
    const auto by_peak = [](const CurvePlan& a, const CurvePlan& b) { return a.peak < b.peak; };
    const Bytes least = std::min_element(candidates_.begin(), candidates_.end(), by_peak)->peak;
    const Bytes most = std::max_element(candidates_.begin(), candidates_.end(), by_peak)->peak;

    std::vector<ParetoPoint> points;
    for (std::size_t i = 0; i < count; ++i) {
      __extension__ using Product = __int128;
      const auto step = static_cast<std::int64_t>(Product{(most - least).value()} * static_cast<std::int64_t>(i) /
                                                  static_cast<std::int64_t>(count - 1));
      const Bytes limit = least + Bytes(step);
      if (points.empty() || points.back().memory_limit < limit) points.push_back({limit, {}, {}, {}, {}, {}, false});
    }
    for (std::size_t i = 0; i < points.size(); ++i) {
      search(points[i], budget_.share(1.0 / static_cast<double>(points.size() - i)));
      take_best(points[i]);
      if (on_point) on_point(points[i]);
    }
    // A plan found at a smaller limit counts at every larger one; a bound at a larger one, at every smaller one.
    for (ParetoPoint& point : points) take_best(point);
    for (std::size_t i = points.size() - 1; i-- > 0;) {
      if (points[i + 1].bound <= points[i].bound) continue;
      points[i].bound = points[i + 1].bound;
      points[i].bound_name = points[i + 1].bound_name;
    }
    return {std::move(points), false, {}};
  }

 private:
  void keep(const Finding& finding) {
    if (finding.schedule) keep(*finding.schedule, finding.method);
  }

  void keep(const Schedule& schedule, const std::string& method) {
    const PlanStatistics figures = statistics(problem_, schedule);
    candidates_.push_back({schedule, figures.makespan,
                           Bytes(objective_value(Objective::kPeakMemory, problem_, schedule, figures)), method});
  }

  void find_least_memory(const Budget& budget) {
    PlannerOptions options = options_;
    options.objectives = {Objective::kPeakMemory, Objective::kMakespan};
    options.warm_start = candidates_.front().schedule;
    keep(search_for_objectives(problem_, budget, options).finding);
  }

  [[nodiscard]] const CurvePlan* best_within(Bytes limit) const {
    const CurvePlan* best = nullptr;
    for (const CurvePlan& candidate : candidates_) {
      if (candidate.peak <= limit && (best == nullptr || candidate.makespan < best->makespan)) best = &candidate;
    }
    return best;
  }

  void search(ParetoPoint& point, const Budget& budget) {
    Restriction restriction;
    restriction.memory = point.memory_limit;
    const auto restricted = RestrictedProblem::create(problem_, restriction);
    if (!restricted) {
      point.is_infeasible = true;
      return;
    }
    PlannerOptions options = options_;
    options.warm_start = std::nullopt;
    if (const CurvePlan* neighbour = best_within(point.memory_limit)) {
      options.warm_start = restricted->narrow(neighbour->schedule);
    }
    const Finding finding = minimise_makespan(restricted->problem(), budget, options);
    point.is_infeasible = finding.reason == PlanResult::Reason::kInfeasible;
    for (const LowerBound& bound : finding.bounds) {
      if (bound.value <= point.bound) continue;
      point.bound = bound.value;
      point.bound_name = bound.name;
    }
    if (finding.schedule && finding.method != kWarmStart) {
      keep(restricted->widen(*finding.schedule), finding.method);
    }
  }

  void take_best(ParetoPoint& point) const {
    const CurvePlan* best = best_within(point.memory_limit);
    if (best == nullptr) return;
    point.makespan = best->makespan;
    point.peak_memory = best->peak;
    point.method = best->method;
  }

  const Problem problem_;
  const Budget& budget_;
  PlannerOptions options_;
  std::vector<CurvePlan> candidates_;
};

}  // namespace

Problem with_equal_memory(const Problem& problem) {
  ClusterParts parts = problem.cluster().parts();
  std::optional<Bytes> most = Bytes();
  for (std::size_t d = 0; d < parts.devices.size(); ++d) {
    const std::optional<Bytes> capacity = problem.capacity(DeviceId(d));
    most = most && capacity ? std::optional(std::max(*most, *capacity)) : std::nullopt;
  }
  for (Device& device : parts.devices) device.memory = most;
  return Problem::create(problem.graph(), Cluster::create(std::move(parts)), problem.settings());
}

ParetoCurve pareto_curve(const Problem& problem, std::size_t points, const Budget& budget,
                         const PlannerOptions& options, const std::function<void(const ParetoPoint&)>& on_point) {
  if (points < 2) throw InputError(fmt::format("points is {}, expected at least 2", points));
  return ParetoSearch(problem, budget, options).run(points, on_point);
}

}  // namespace opweave
