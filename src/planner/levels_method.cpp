#include "planner/levels_method.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "list_scheduling/list_schedule.h"
#include "placement/earliest_finish.h"
#include "placement_search/routing_model.h"
#include "placement_search/routing_search.h"
#include "planner/offers.h"
#include "planner/routing_method.h"

namespace opweave {
namespace {

constexpr const char* kLevelsName = "routing search through levels";
/// Tasks of the largest problem that is merged: of a larger one, the levels alone take minutes.
constexpr std::size_t kMostLevelTasks = 300'000;
/// Share of the time before the order search at the best placement.
constexpr double kLevelsShare = 0.7;
/// Tasks of the smallest problem that is placed by levels before it is searched as a whole, and the share of the time.
constexpr std::size_t kFewestTasks = 500;
constexpr double kShareBeforeWhole = 0.2;
/// Clusters per device at the coarsest level.
constexpr std::size_t kClustersPerDevice = 32;

/// A valid schedule of the placement by earliest finish.
std::optional<Schedule> first_of(const Problem& problem) {
  std::optional<Schedule> schedule = earliest_finish(problem);
  if (!schedule) return std::nullopt;
  std::optional<Schedule> other = list_schedule(problem, schedule->modes());
  const bool is_schedule = problem.settings().contention == Contention::kNone &&
                           (!other || schedule->makespan(problem) < other->makespan(problem)) &&
                           is_valid(problem, *schedule);
  return is_schedule ? std::move(schedule) : std::move(other);
}

}  // namespace

/// What one slice does: finds the best level at first, and goes down from it.
class LevelsMethod::Descent {
 public:
  Descent(LevelsMethod& method, IncumbentStore& incumbent, const Slice& slice)
      : method_(method),
        problem_(method.context_.problem()),
        slice_(slice),
        for_steps_(slice.budget.keeping(method.context_.step)),
        incumbent_(incumbent),
        best_{incumbent.schedule(), *incumbent.makespan(), incumbent.method()} {}

  void run() {
    if (!method_.chosen_) choose_level();
    method_.is_done_ = method_.level_ == 0 && method_.only_from_coarser_;
    if (!method_.is_done_) {
      // The problem itself is searched from the best plan.
      descend(method_.level_ == 0 ? best_.schedule : *method_.coarse_);
    }
    // Other placements have had their chance here.
    if (!method_.only_from_coarser_) method_.context_.starts = {std::move(best_)};
  }

 private:
  void choose_level() {
    const std::size_t coarsest = kClustersPerDevice * problem_.cluster().device_count();
    for (const bool is_gentle : {true, false}) {
      method_.hierarchies_.emplace_back(problem_, coarsest, is_gentle, for_steps_);
    }
    method_.chosen_ = &method_.hierarchies_.front();
    for (const coarsen::Hierarchy& hierarchy : method_.hierarchies_) {
      for (std::size_t l = hierarchy.level_count(); l-- > 1 && !for_steps_.expired();) {
        std::optional<Schedule> tried = first_of(hierarchy.problem(l));
        if (!tried || !offer(hierarchy, l, *tried, "")) continue;
        method_.chosen_ = &hierarchy;
        method_.level_ = l;
        method_.coarse_ = std::move(*tried);
      }
    }
  }

  /// Takes the schedule, as it is or in list order, down to the problem itself. True if that is the best so far.
  bool offer(const coarsen::Hierarchy& hierarchy, std::size_t level, const Schedule& schedule, const char* how) {
    Schedule fine = schedule;
    for (std::size_t l = level; l > 0; --l) fine = hierarchy.expand(l, fine);
    if (level > 0) {
      std::optional<Schedule> other = list_schedule(problem_, fine.modes());
      if (other && other->makespan(problem_) < fine.makespan(problem_)) fine = std::move(*other);
    }
    const Duration makespan = fine.makespan(problem_);
    if (makespan >= best_.makespan) return false;
    std::string method = fmt::format("earliest finish of {} clusters{}", hierarchy.problem(level).task_count(), how);
    if (level == 0) method = kLevelsName;
    incumbent_.offer(fine, method);
    best_ = {std::move(fine), makespan, std::move(method)};
    return true;
  }

  /// Searches the level and all finer ones, with the same share of the slice for each.
  void descend(Schedule schedule) {
    const coarsen::Hierarchy& hierarchy = *method_.chosen_;
    const std::size_t first = method_.level_;
    for (std::size_t level = first;; --level) {
      // Of the time, what is left is shared; evaluations are as many for each.
      Slice own{slice_.budget.share(1 / static_cast<double>(level + 1)), slice_.evaluations, slice_.threads};
      if (own.evaluations) *own.evaluations /= first + 1;
      schedule = searched(hierarchy.problem(level), level == 0, schedule, own);
      if (level == first && level > 0) method_.coarse_ = schedule;
      (void)offer(hierarchy, level, schedule, ", searched");
      if (level == 0 || for_steps_.expired()) return;
      schedule = hierarchy.expand(level, schedule);
      const Problem& finer = hierarchy.problem(level - 1);
      std::optional<Schedule> other = list_schedule(finer, schedule.modes());
      if (other && other->makespan(finer) < schedule.makespan(finer)) schedule = std::move(*other);
      // Elsewhere the way down may have been better already.
      if (level == 1 && best_.makespan < schedule.makespan(problem_)) schedule = best_.schedule;
    }
  }

  /// The best of several routing searches.
  Schedule searched(const Problem& level, bool is_finest, const Schedule& schedule, const Slice& slice) {
    if (for_steps_.expired()) return schedule;
    const auto model = routing::Model::create(level);
    if (!model || !model->has_choice()) return schedule;
    std::vector<std::unique_ptr<RoutingSearch>> searches(slice.parallel_searches());
    const std::uint64_t seed = method_.seed_;
    method_.seed_ += searches.size();
    slice.each(searches.size(), [&](std::size_t i, const Slice& own) {
      searches[i] = std::make_unique<RoutingSearch>(model, schedule, seed + i);
      Offers offers(incumbent_, own, kLevelsName);
      searches[i]->advance(
          own.most_evaluations(), [&] { return own.budget.expired(); },
          [&](const Schedule& better) {
            if (is_finest) offers.remember(better);
          });
    });
    return (*std::ranges::min_element(searches, {}, [](const auto& search) { return search->makespan(); }))->best();
  }

  LevelsMethod& method_;
  const Problem& problem_;
  const Slice& slice_;
  const Budget for_steps_;  ///< asked before what takes as long as a list schedule
  IncumbentStore& incumbent_;
  Start best_;
};

bool LevelsMethod::supports(const ProblemTraits& traits) {
  const bool is_of_use = traits.tasks >= kFewestTasks || !RoutingMethod::supports(traits);
  return traits.has_open_placement && traits.can_be_merged && traits.tasks <= kMostLevelTasks && is_of_use;
}

double LevelsMethod::share(const ProblemTraits& traits) {
  return RoutingMethod::supports(traits) ? kShareBeforeWhole : kLevelsShare;
}

LevelsMethod::LevelsMethod(SearchContext& context, std::uint64_t seed)
    : LevelsMethod(context, seed, RoutingMethod::supports(context.traits)) {}

LevelsMethod::LevelsMethod(SearchContext& context, std::uint64_t seed, bool only_from_coarser)
    : context_(context), seed_(seed), only_from_coarser_(only_from_coarser) {}

LevelsMethod::~LevelsMethod() = default;

void LevelsMethod::advance(IncumbentStore& incumbent, const Slice& slice) { Descent(*this, incumbent, slice).run(); }

}  // namespace opweave
