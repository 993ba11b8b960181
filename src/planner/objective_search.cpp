#include "planner/objective_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "core/equal_devices.h"
#include "core/random.h"
#include "opweave/bounds.h"
#include "opweave/error.h"
#include "opweave/partition.h"
#include "order_search/order_search.h"
#include "planner/ask_solver.h"
#include "planner/goal_store.h"
#include "planner/incumbent.h"
#include "planner/minimise_communication.h"
#include "planner/objective_bounds.h"
#include "planner/placement_offers.h"
#include "planner/restrict.h"

namespace opweave {
namespace {

using Reason = PlanResult::Reason;

/// Target of a search that only asks whether there is any schedule.
constexpr Duration kAny{std::numeric_limits<std::int64_t>::max()};
/// Share of what is left of the time that one question "does it still fit?" gets.
constexpr double kFitShare = 0.2;
/// Share of an objective's time for its bound.
constexpr double kObjectiveBoundShare = 0.25;
/// Passes over the values between bound and incumbent in a search for less memory or fewer devices that has no clock.
constexpr std::uint64_t kRounds = 3;
/// Part of the work limit that one question gets: bisection asks a few dozen.
constexpr std::uint64_t kTrialsOfWork = 16;

class ObjectiveSearch {
 public:
  ObjectiveSearch(const Problem& problem, const Budget& budget, const PlannerOptions& options)
      : problem_(problem),
        budget_(budget),
        options_(options),
        deadline_(options.deadline),
        store_(problem, budget, options.objectives, options.deadline, options.on_progress),
        devices_are_alike_(devices_are_alike(problem)) {}

  ObjectiveFinding run() {
    ObjectiveFinding result;
    if (options_.warm_start) store_.offer(*options_.warm_start, kWarmStart);
    find_first();
    std::vector<ObjectiveBound> bounds;
    for (std::size_t i = 0; store_.schedule() && i < options_.objectives.size(); ++i) {
      bounds.push_back(minimise(options_.objectives[i], share_of(i)));
      fix(options_.objectives[i]);
    }
    if (!store_.schedule()) {
      result.finding = std::move(first_);
      result.finding.schedule = std::nullopt;
      return result;
    }
    result.finding.reason = Reason::kPlanned;
    result.finding.schedule = store_.schedule();
    result.finding.method = store_.method();
    result.finding.bounds = std::move(first_.bounds);
    result.finding.trajectory = store_.trajectory();
    result.finding.is_optimal = true;
    for (std::size_t i = 0; i < bounds.size(); ++i) {
      const Objective objective = options_.objectives[i];
      result.figures.push_back({objective, store_.value(objective), bounds[i].value, std::move(bounds[i].proof)});
      result.finding.is_optimal &= result.figures.back().value == result.figures.back().bound;
    }
    return result;
  }

 private:
  enum class Verdict : std::uint8_t { kBetter, kNothing, kImpossible };

  [[nodiscard]] Budget share_of(std::size_t place) const {
    return share_of_objective(budget_, place, options_.objectives.size());
  }

  /// A plan that keeps the deadline, or the reason why there is none. The best makespan where that comes first.
  void find_first() {
    const bool makespan_first = options_.objectives.front() == Objective::kMakespan;
    if (makespan_first) {
      first_ = minimise_makespan(problem_, share_of(0), options_for_parts(true));
    } else if (store_.schedule()) {
      first_.bounds = lower_bounds(problem_, budget_.share(0.1));
    } else {
      first_ = minimise_makespan(problem_, budget_.share(0.8), options_for_parts(false), deadline_.value_or(kAny));
      // A search that has reached its target leaves its bounds unfinished.
      if (first_.schedule) first_.bounds = lower_bounds(problem_, budget_.share(0.1));
    }
    if (first_.schedule) store_.offer(*first_.schedule, first_.method);
    if (store_.schedule() || first_.reason == Reason::kInfeasible || !deadline_) return;
    const auto strongest = std::max_element(first_.bounds.begin(), first_.bounds.end(),
                                            [](const LowerBound& a, const LowerBound& b) { return a.value < b.value; });
    if (strongest != first_.bounds.end() && strongest->value > *deadline_) {
      first_.reason = Reason::kInfeasible;
      first_.detail = fmt::format("none can end by the deadline of {} ns: lower bound \"{}\" is {} ns",
                                  deadline_->value(), strongest->name, strongest->value.value());
    } else if (ask_whether_in_time(); store_.schedule() || first_.reason == Reason::kInfeasible) {
      return;
    } else if (first_.schedule) {
      first_.reason = Reason::kNotFound;
      first_.detail = fmt::format("the shortest plan found ends at {} ns, after the deadline of {} ns",
                                  first_.schedule->makespan(problem_).value(), deadline_->value());
    }
  }

  /// Whether any plan ends by the deadline.
  void ask_whether_in_time() {
    ObjectiveBound none;
    const auto restricted = RestrictedProblem::create(problem_, {});
    const auto verdict =
        ask_solver(exact::UntimedGoal::kNothing, *restricted, deadline_, budget_, options_, store_, none);
    if (verdict != exact::AnySchedule::Verdict::kNone) return;
    first_.reason = Reason::kInfeasible;
    first_.detail = fmt::format("the solver proves that none ends by the deadline of {} ns", deadline_->value());
  }

  /// Options of a search for one part of the question. Its schedules are shown as answers to the whole where they are
  /// that already, so where the makespan comes first: those that end by the deadline.
  [[nodiscard]] PlannerOptions options_for_parts(bool makespan_first) const {
    PlannerOptions options = options_;
    if (!options_.on_progress) return options;
    options.on_progress = [makespan_first, deadline = options_.deadline, show = options_.on_progress](Progress state) {
      const bool is_answer = makespan_first && (!deadline || state.makespan.value_or(Duration()) <= *deadline);
      if (!is_answer) state.schedule = nullptr;
      show(state);
    };
    return options;
  }

  ObjectiveBound minimise(Objective objective, const Budget& budget) {
    switch (objective) {
      case Objective::kMakespan:
        return minimise_time(budget);
      case Objective::kPeriod:
        return minimise_period(budget);
      case Objective::kPeakMemory:
        return minimise_peak_memory(budget);
      case Objective::kDevices:
        return minimise_devices(budget);
      case Objective::kCommunication:
        return minimise_communication(budget);
      case Objective::kUtilisation:
        return utilisation_bound(problem_, Duration(minimise_time(budget).value));
    }
    throw InternalError("unknown objective");
  }

  /// What later objectives must not give up. A placement decides communication, period and, for given
  /// durations, utilisation, so there it stays.
  void fix(Objective objective) {
    switch (objective) {
      case Objective::kMakespan:
        deadline_ = Duration(store_.value(objective));
        return;
      case Objective::kPeakMemory:
        limits_.memory = Bytes(store_.value(objective));
        return;
      case Objective::kDevices:
        limits_.devices = devices_used();
        return;
      case Objective::kPeriod:
      case Objective::kCommunication:
      case Objective::kUtilisation:
        placement_is_fixed_ = true;
        return;
    }
    throw InternalError("unknown objective");
  }

  /// The problem of all plans as good as the incumbent in the objectives before, for proofs: one that may have more
  /// plans, never fewer. Which devices are used is a choice of ours unless all are alike.
  [[nodiscard]] RestrictedProblem restriction_for_proofs() const {
    Restriction restriction = limits_;
    if (!devices_are_alike_) restriction.devices = std::nullopt;
    auto restricted = RestrictedProblem::create(problem_, restriction);
    if (!restricted) throw InternalError("the incumbent has no place in its own restriction");
    return std::move(*restricted);
  }
  [[nodiscard]] Problem problem_for_proofs() const { return restriction_for_proofs().problem(); }

  /// By the clock, to the end of the budget: more chance may find what was missed.
  [[nodiscard]] static bool goes_on(std::uint64_t round, const Budget& budget) {
    return !budget.expired() && (is_by_clock(budget) || round < kRounds);
  }
  [[nodiscard]] static bool is_by_clock(const Budget& budget) { return budget.remaining() && !budget.work_limit(); }

  /// Budget of one question.
  [[nodiscard]] Budget trial_of(const Budget& budget) const {
    Budget part = budget.share(kFitShare);
    return part.work_limit() ? part.with_work(*part.work_limit() / kTrialsOfWork) : part;
  }

  /// Searches a plan under a restriction, and stops at one that ends by `target`. What is found is offered.
  Verdict attempt(const Restriction& restriction, std::optional<Duration> target, const Budget& budget,
                  std::uint64_t seed) {
    const auto restricted = RestrictedProblem::create(problem_, restriction);
    if (!restricted) return Verdict::kImpossible;
    PlannerOptions options = options_for_parts(false);
    options.seed = seed;
    options.warm_start = std::nullopt;
    if (auto known = restricted->narrow(*store_.schedule()); known && is_valid(restricted->problem(), *known)) {
      options.warm_start = std::move(known);
    }
    const Finding finding = minimise_makespan(restricted->problem(), budget, options, target);
    if (finding.schedule && store_.offer(restricted->widen(*finding.schedule), finding.method)) return Verdict::kBetter;
    if (finding.reason == Reason::kInfeasible) return Verdict::kImpossible;
    const bool is_too_late = std::any_of(finding.bounds.begin(), finding.bounds.end(),
                                         [&](const LowerBound& bound) { return target && bound.value > *target; });
    return is_too_late ? Verdict::kImpossible : Verdict::kNothing;
  }

  ObjectiveBound minimise_time(const Budget& budget) {
    std::vector<LowerBound> bounds = first_.bounds;
    if (limits_.memory || (limits_.devices && devices_are_alike_)) {
      const auto more = lower_bounds(problem_for_proofs(), budget.share(kObjectiveBoundShare));
      bounds.insert(bounds.end(), more.begin(), more.end());
    }
    if (placement_is_fixed_) {
      improve_order_of_incumbent(budget);
    } else if (options_.objectives.front() != Objective::kMakespan) {  // else it has been searched for already
      attempt(limits_, std::nullopt, budget, options_.seed);
    }
    ObjectiveBound result;
    for (const LowerBound& bound : bounds) result.raise(bound.value.value(), bound.name);
    return result;
  }

  void improve_order_of_incumbent(const Budget& budget) {
    const auto restricted = RestrictedProblem::create(problem_, limits_);
    const auto start = restricted ? restricted->narrow(*store_.schedule()) : std::nullopt;
    if (!start) return;
    OrderSearchOptions search;
    search.seed = options_.seed;
    if (budget.work_limit()) search.max_evaluations = *budget.work_limit();
    const Schedule better = improve_order(restricted->problem(), *start, budget, search, {});
    store_.offer(restricted->widen(better), "order search from " + store_.method());
  }

  ObjectiveBound minimise_peak_memory(const Budget& budget) {
    const auto peak = [&] { return store_.value(Objective::kPeakMemory); };
    const Problem proven = problem_for_proofs();
    ObjectiveBound bound = peak_memory_bound(proven, deadline_, Bytes(peak()), budget.share(kObjectiveBoundShare));
    if (placement_is_fixed_) return bound;
    for (std::uint64_t round = 0; goes_on(round, budget); ++round) {
      std::int64_t floor = bound.value;  // below, nothing is to be found in this round
      while (floor < peak() && !budget.expired()) {
        const std::int64_t middle = floor + (peak() - 1 - floor) / 2;
        Restriction restriction = limits_;
        restriction.memory = Bytes(middle);
        const Verdict verdict = attempt(restriction, deadline_.value_or(kAny), trial_of(budget), options_.seed + round);
        if (verdict == Verdict::kBetter) continue;
        floor = middle + 1;
        if (verdict == Verdict::kImpossible && (!limits_.devices || devices_are_alike_)) {
          bound.raise(floor, "no plan with less memory ends by the deadline");
        }
      }
      if (bound.value == peak() || budget.expired()) break;
    }
    return bound;
  }

  [[nodiscard]] std::vector<DeviceId> devices_used() const {
    std::vector<bool> used(problem_.cluster().device_count(), false);
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      const ModeIndex mode = store_.schedule()->tasks[t].mode;
      for (const DeviceId device : problem_.mode(TaskId(t), mode).devices) used[device.index()] = true;
    }
    std::vector<DeviceId> result;
    for (std::size_t d = 0; d < used.size(); ++d) {
      if (used[d]) result.emplace_back(d);
    }
    return result;
  }

  ObjectiveBound minimise_devices(const Budget& budget) {
    const auto count = [&] { return store_.value(Objective::kDevices); };
    ObjectiveBound bound = devices_bound(problem_for_proofs(), deadline_, count(), budget.share(kObjectiveBoundShare));
    if (placement_is_fixed_) return bound;
    if (count() > bound.value) {
      const auto goal = exact::UntimedGoal::kDevices;
      (void)ask_solver(goal, restriction_for_proofs(), deadline_, budget, options_, store_, bound);
    }
    const auto attempt_on = [&](std::vector<DeviceId> devices, std::uint64_t round) {
      Restriction restriction = limits_;
      restriction.devices = std::move(devices);
      return attempt(restriction, deadline_.value_or(kAny), trial_of(budget), options_.seed + round);
    };
    if (!devices_are_alike_) {
      while (count() > bound.value && !budget.expired() && drop_one_device(attempt_on, budget)) {
      }
      // Fewer may do only where others do the work.
      Random random(options_.seed);
      for (std::uint64_t round = 0; count() > bound.value && goes_on(round, budget); ++round) {
        (void)attempt_on(some_devices(count() - 1, random), round);
      }
      return bound;
    }
    for (std::uint64_t round = 0; goes_on(round, budget); ++round) {
      std::int64_t floor = bound.value;
      while (floor < count() && !budget.expired()) {
        const std::int64_t middle = floor + (count() - 1 - floor) / 2;
        std::vector<DeviceId> devices;
        for (std::int64_t d = 0; d < middle; ++d) devices.emplace_back(static_cast<std::size_t>(d));
        const Verdict verdict = attempt_on(std::move(devices), round);
        if (verdict == Verdict::kBetter) continue;
        floor = middle + 1;
        if (verdict == Verdict::kImpossible) {
          bound.raise(floor, fmt::format("no plan on {} devices {}", middle,
                                         deadline_ ? "ends by the deadline" : "fits in memory"));
        }
      }
      if (bound.value == count() || budget.expired()) break;
    }
    return bound;
  }

  /// So many devices by chance; ascending.
  [[nodiscard]] std::vector<DeviceId> some_devices(std::int64_t count, Random& random) const {
    std::vector<DeviceId> all;
    for (std::size_t d = 0; d < problem_.cluster().device_count(); ++d) all.emplace_back(d);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      std::swap(all[i], all[i + random.below(all.size() - i)]);
    }
    all.resize(static_cast<std::size_t>(count));
    std::sort(all.begin(), all.end());
    return all;
  }

  /// Tries to do without each device that is used, the least busy first.
  template <class AttemptOn>
  bool drop_one_device(const AttemptOn& attempt_on, const Budget& budget) {
    const PlanStatistics figures = statistics(problem_, *store_.schedule());
    std::vector<DeviceId> used = devices_used();
    std::stable_sort(used.begin(), used.end(), [&](DeviceId a, DeviceId b) {
      return figures.devices[a.index()].compute_busy < figures.devices[b.index()].compute_busy;
    });
    for (const DeviceId dropped : used) {
      std::vector<DeviceId> rest = devices_used();
      std::erase(rest, dropped);
      if (!rest.empty() && attempt_on(std::move(rest), 0) == Verdict::kBetter) return true;
      if (budget.expired()) return false;
    }
    return false;
  }

  ObjectiveBound minimise_communication(const Budget& budget) {
    const RestrictedProblem proven = restriction_for_proofs();
    const auto restricted = RestrictedProblem::create(problem_, limits_);
    return opweave::minimise_communication({proven, *restricted, deadline_, placement_is_fixed_}, budget, options_,
                                           store_);
  }

  ObjectiveBound minimise_period(const Budget& budget) {
    ObjectiveBound bound = period_bound(problem_);
    if (placement_is_fixed_) return bound;
    const auto is_open = [&] { return store_.value(Objective::kPeriod) > bound.value; };
    const auto restricted = RestrictedProblem::create(problem_, limits_);
    PlacementOffers offers(*restricted, deadline_, options_.seed, store_);
    const auto search = [&](std::uint64_t seed) {
      const PeriodAnswer answer = opweave::minimise_period(restricted->problem(), budget.share(0.5), {seed});
      if (!limits_.devices || devices_are_alike_) bound.raise(answer.bound.value.value(), answer.bound.name);
      if (!answer.schedule || store_.offer(restricted->widen(*answer.schedule), answer.method)) return;
      offers.offer(answer.schedule->modes(), answer.method, budget);
    };
    search(options_.seed);
    if (is_open()) offers.offer_guesses(budget.share(0.5));
    if (is_open()) attempt(limits_, std::nullopt, budget, options_.seed);
    std::uint64_t seed = options_.seed;
    while (is_by_clock(budget) && is_open() && !budget.expired()) search(++seed);
    return bound;
  }

  const Problem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  std::optional<Duration> deadline_;
  GoalStore store_;
  const bool devices_are_alike_;
  Finding first_;
  Restriction limits_;
  bool placement_is_fixed_ = false;
};

}  // namespace

Budget share_of_objective(const Budget& budget, std::size_t place, std::size_t objectives) {
  return place + 1 == objectives ? budget : budget.share(kShareBeforeOthers);
}

ObjectiveFinding search_for_objectives(const Problem& problem, const Budget& budget, const PlannerOptions& options) {
  return ObjectiveSearch(problem, budget, options).run();
}

}  // namespace opweave
