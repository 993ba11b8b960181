#include "planner/improve_levels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "coarsen/hierarchy.h"
#include "list_scheduling/listed.h"
#include "placement/earliest_finish.h"
#include "placement_search/routing_model.h"
#include "placement_search/routing_search.h"
#include "planner/side_by_side.h"

namespace opweave {
namespace {

/// Tasks of the largest problem that is merged: of a larger one, the levels alone take minutes.
constexpr std::size_t kMostMergedTasks = 300'000;
/// Clusters per device at the coarsest level.
constexpr std::size_t kClustersPerDevice = 32;
/// Seconds between two offers: an offer costs a full check.
constexpr double kOfferInterval = 1;

class Levels {
 public:
  Levels(const Problem& problem, const Budget& budget, double step, const PlannerOptions& options, const Start& start,
         IncumbentStore& incumbent, bool only_from_coarser)
      : problem_(problem),
        budget_(budget),
        for_steps_(budget.keeping(step)),
        options_(options),
        incumbent_(incumbent),
        best_(start),
        only_from_coarser_(only_from_coarser) {}

  std::optional<Start> run() {
    const Duration before = best_.makespan;
    const std::size_t coarsest = kClustersPerDevice * problem_.cluster().device_count();
    const std::array hierarchies = {coarsen::Hierarchy(problem_, coarsest, true, for_steps_),
                                    coarsen::Hierarchy(problem_, coarsest, false, for_steps_)};
    const coarsen::Hierarchy* chosen = &hierarchies.front();
    std::size_t level = 0;
    Schedule schedule = best_.schedule;
    for (const coarsen::Hierarchy& hierarchy : hierarchies) {
      for (std::size_t l = hierarchy.level_count(); l-- > 1 && !for_steps_.expired();) {
        std::optional<Schedule> tried = first_of(hierarchy.problem(l));
        if (!tried || !offer(hierarchy, l, *tried, "")) continue;
        chosen = &hierarchy;
        level = l;
        schedule = std::move(*tried);
      }
    }
    if (level > 0 || !only_from_coarser_) descend(*chosen, level, std::move(schedule));
    return best_.makespan < before ? std::optional(std::move(best_)) : std::nullopt;
  }

 private:
  /// A valid schedule of the placement by earliest finish.
  static std::optional<Schedule> first_of(const Problem& problem) {
    std::optional<Schedule> schedule = earliest_finish(problem);
    if (!schedule) return std::nullopt;
    std::optional<Schedule> other = listed(problem, schedule->modes());
    const bool is_schedule = problem.settings().contention == Contention::kNone &&
                             (!other || schedule->makespan(problem) < other->makespan(problem)) &&
                             is_valid(problem, *schedule);
    return is_schedule ? std::move(schedule) : std::move(other);
  }

  /// Takes the schedule, as it is or listed anew, down to the problem itself. True if that is the best so far.
  bool offer(const coarsen::Hierarchy& hierarchy, std::size_t level, const Schedule& schedule, const char* how) {
    Schedule fine = schedule;
    for (std::size_t l = level; l > 0; --l) fine = hierarchy.expand(l, fine);
    if (level > 0) {
      std::optional<Schedule> other = listed(problem_, fine.modes());
      if (other && other->makespan(problem_) < fine.makespan(problem_)) fine = std::move(*other);
    }
    const Duration makespan = fine.makespan(problem_);
    if (makespan >= best_.makespan) return false;
    std::string method = fmt::format("earliest finish of {} clusters{}", hierarchy.problem(level).task_count(), how);
    if (level == 0) method = kSearch;
    incumbent_.offer(fine, method);
    best_ = {std::move(fine), makespan, std::move(method)};
    return true;
  }

  /// Searches the level and all finer ones, with the same share of the time for each.
  void descend(const coarsen::Hierarchy& hierarchy, std::size_t level, Schedule schedule) {
    for (;; --level) {
      schedule = searched(hierarchy, level, schedule, budget_.share(1 / static_cast<double>(level + 1)));
      (void)offer(hierarchy, level, schedule, ", searched");
      if (level == 0 || for_steps_.expired()) return;
      schedule = hierarchy.expand(level, schedule);
      const Problem& finer = hierarchy.problem(level - 1);
      std::optional<Schedule> other = listed(finer, schedule.modes());
      if (other && other->makespan(finer) < schedule.makespan(finer)) schedule = std::move(*other);
      // Elsewhere the way down may have been better already.
      if (level == 1 && best_.makespan < schedule.makespan(problem_)) schedule = best_.schedule;
    }
  }

  /// The best of one routing search per thread.
  Schedule searched(const coarsen::Hierarchy& hierarchy, std::size_t level, const Schedule& schedule,
                    const Budget& budget) {
    if (for_steps_.expired()) return schedule;
    const auto model = routing::Model::create(hierarchy.problem(level));
    if (!model || !model->has_choice()) return schedule;
    std::vector<std::unique_ptr<RoutingSearch>> searches(std::max(1U, options_.threads));
    const auto search = [&](std::size_t i) {
      searches[i] = std::make_unique<RoutingSearch>(model, schedule, options_.seed + i);
      double next_offer = budget.elapsed() + kOfferInterval;
      searches[i]->advance(
          std::numeric_limits<std::uint64_t>::max(), [&] { return budget.expired(); },
          [&](const Schedule& better) {
            if (level > 0 || budget.elapsed() < next_offer) return;
            next_offer = budget.elapsed() + kOfferInterval;
            incumbent_.offer(better, kSearch);
          });
    };
    side_by_side(searches.size(), search);
    const auto best = std::min_element(searches.begin(), searches.end(),
                                       [](const auto& a, const auto& b) { return a->makespan() < b->makespan(); });
    return (*best)->best();
  }

  static constexpr const char* kSearch = "routing search through levels";

  const Problem& problem_;
  const Budget& budget_;
  const Budget for_steps_;  ///< asked before what takes as long as a list schedule
  const PlannerOptions& options_;
  IncumbentStore& incumbent_;
  Start best_;
  const bool only_from_coarser_;
};

}  // namespace

bool levels_support(const ProblemTraits& traits) {
  return traits.has_open_placement && traits.can_be_merged && traits.tasks <= kMostMergedTasks;
}

std::optional<Start> improve_levels(const Problem& problem, const Budget& budget, double step,
                                    const PlannerOptions& options, const Start& start, IncumbentStore& incumbent,
                                    bool only_from_coarser) {
  return Levels(problem, budget, step, options, start, incumbent, only_from_coarser).run();
}

}  // namespace opweave
