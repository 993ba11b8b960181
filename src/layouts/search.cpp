#include <algorithm>
#include <memory>
#include <string>

#include "core/random.h"
#include "core/state_bounds.h"
#include "layouts/earliest_selection.h"
#include "layouts/layout_bounds.h"
#include "layouts/layout_incumbent.h"
#include "layouts/quick_value.h"
#include "layouts/selection_moves.h"
#include "list_scheduling/list_schedule.h"
#include "opweave/bounds.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/layouts.h"
#include "opweave/memory_modes.h"
#include "planner/on_time.h"
#include "planner/provenance.h"

namespace opweave {
namespace {

/// So many selections of problems with so few tasks are all planned.
constexpr std::uint64_t kMostSelections = 243;
constexpr std::uint64_t kMostTasks = 40;
/// With more tasks than these a search takes long until it comes back.
constexpr std::uint64_t kManyTasks = 2'000;
/// Share of time or work in which each of them is planned once.
constexpr double kShareOfFirstRound = 0.25;
/// Shares of the time for bounds, those that know movements among them, for choosing by quick values, and of the time
/// or work for the selections that came out best of it.
constexpr double kShareOfBounds = 0.05;
constexpr double kShareOfRelaxation = 0.1;
constexpr double kShareOfQuick = 0.2;
constexpr double kShareOfFirst = 0.3;
/// Of the first selection of many tasks: gangs are taken where they waste little.
constexpr double kWeightOfWork = 0.5;
/// Share for the selection that everything begins with, so that there is a plan to come back with.
constexpr double kShareOfStart = 0.05;
/// Share of what is then left for changes; the rest is for the best selection alone.
constexpr double kShareOfRest = 1 - kShareOfStart - kShareOfFirst;
constexpr double kShareOfChanges = 0.5;
constexpr std::size_t kFirst = 3;
/// Quick values, where the work is limited: so many for each evaluation of the limit.
constexpr std::uint64_t kQuickPerEvaluation = 1;
/// Candidate plans for each change of a selection.
constexpr std::uint64_t kEvaluationsPerChange = 400;

void require_supported(const PlannerOptions& options) {
  if (options.objectives != std::vector{Objective::kMakespan}) {
    throw InputError("options with layouts are planned for the makespan alone, expected no other objective");
  }
  if (options.deadline) throw InputError("options with layouts are planned without a deadline, expected none");
  if (options.warm_start) throw InputError("options with layouts know no warm start, expected none");
}

std::uint64_t task_count(const LayoutProblem& problem) {
  std::uint64_t tasks = 0;
  for (const Operator& op : problem.graph().graph.operators()) {
    tasks += op.phase == Phase::kOptimizer ? 1 : problem.settings().training.microbatches;
  }
  return tasks;
}

class LayoutSearch {
 public:
  LayoutSearch(const LayoutProblem& problem, const Budget& budget, const PlannerOptions& options,
               const ModeOptions& modes, LayoutIncumbent& incumbent)
      : problem_(problem), budget_(budget), options_(options), modes_(modes), incumbent_(incumbent) {}

  /// Number of selections; nothing where they are too many to plan them all.
  [[nodiscard]] std::optional<std::uint64_t> few() const {
    std::uint64_t count = task_count(problem_) <= kMostTasks ? 1 : kMostSelections + 1;
    for (const LayoutChoice& choice : problem_.choices()) {
      count *= choice.alternatives.size();
      if (count > kMostSelections) return std::nullopt;
    }
    return count;
  }

  /// Plans all selections: for a part of the budget first, then those longer that may still be better.
  /// \return the least of their bounds, if each has a plan or is known to have none; nothing else
  std::optional<Duration> every(std::uint64_t count) {
    std::vector<Settled> settled;
    for (std::uint64_t number = 0; number < count; ++number) {
      LayoutSelection selection;
      std::uint64_t rest = number;
      for (const LayoutChoice& choice : problem_.choices()) {
        selection.push_back(static_cast<std::uint32_t>(rest % choice.alternatives.size()));
        rest /= choice.alternatives.size();
      }
      settled.push_back({std::move(selection), {}, false});
    }
    for (const double share : {kShareOfFirstRound, 1.0}) plan_open(settled, share);
    std::optional<Duration> least;
    bool is_complete = true;
    for (const Settled& one : settled) {
      is_complete = is_complete && (one.bound || one.is_impossible);
      if (one.bound) least = std::min(least.value_or(*one.bound), *one.bound);
    }
    has_no_plan_ = is_complete && !least;
    return is_complete ? least : std::nullopt;
  }
  [[nodiscard]] bool has_no_plan() const { return has_no_plan_; }
  /// Why the last selection that has no plan has none; empty if that is not known.
  [[nodiscard]] const std::string& why_not() const { return why_not_; }

  void run() {
    const SelectionMoves moves(problem_);
    choose_quickly(moves);
    plan_first();
    if (!incumbent_.best() || incumbent_.is_optimal()) return;
    change(moves);
    plan_best();
  }

  /// So that there is a plan to come back with: of many tasks one list schedule of a selection that is found on the way
  /// through the graph, since anything else takes long; else what the planner makes of the first alternatives or the
  /// fastest ones, whichever are worth more.
  void plan_start() {
    if (task_count(problem_) > kManyTasks && schedule_start()) return;
    note(LayoutSelection(problem_.choices().size(), 0));
    note(fastest());
    const LayoutSelection selection = best_.empty() ? fastest() : best_.front().second;
    Budget part = budget_.share(kShareOfStart);
    if (budget_.work_limit()) part = part.with_work(of_work(kShareOfStart));
    if (!budget_.work_limit() && task_count(problem_) > kManyTasks) part = part.with_work(1);  // the very first plan
    plan_selection(selection, part);
  }

  /// Bounds, and the selections that those which know movements suggest.
  void relax() {
    incumbent_.add_bounds(layout_bounds(problem_, budget_.share(kShareOfBounds)));
    if (budget_.expired() && incumbent_.best()) return;
    LayoutRelaxation found = relax_layouts(costs(), budget_.share(kShareOfRelaxation));
    incumbent_.add_bounds(found.bounds);
    for (const LayoutSelection& selection : found.selections) note(selection);
  }

 private:
  struct Settled {
    LayoutSelection selection;
    std::optional<Duration> bound;  ///< nothing: no plan was found
    bool is_impossible;             ///< there is none
  };

  MovementCosts& costs() {
    if (!costs_) costs_.emplace(problem_);
    return *costs_;
  }

  /// False if no plan came out. Where values may have memory modes all are kept.
  bool schedule_start() {
    try {
      const DerivedProblem derived = DerivedProblem::create(problem_, earliest_selection(costs(), kWeightOfWork));
      std::optional<ProblemWithMovements> movements;
      if (problem_.chooses_modes()) {
        const MemoryChoice keep(derived.problem().value_count(), MemoryMode::kKeep);
        movements = ProblemWithMovements::create(derived.problem(), keep);
      }
      const Problem& problem = movements ? movements->problem() : derived.problem();
      std::optional<Schedule> schedule = list_schedule(problem, std::vector<ModeIndex>(problem.task_count(), 0));
      if (!schedule) return false;
      return incumbent_.offer({derived, std::move(movements), *std::move(schedule), {}, "earliest finish"});
    } catch (const InputError&) {
      return false;  // as in plan_selection()
    }
  }

  /// Plans the selections that may have a better plan than the best, each for an equal part of a share of the budget.
  void plan_open(std::vector<Settled>& settled, double share) {
    const auto is_open = [&](const Settled& one) {
      const std::optional<LayoutIncumbent::Best>& best = incumbent_.best();
      return !one.is_impossible && (!best || !one.bound || *one.bound < best->makespan);
    };
    auto open = static_cast<std::uint64_t>(std::ranges::count_if(settled, is_open));
    const std::uint64_t all = open;
    const Budget round = budget_.share(share);
    for (Settled& one : settled) {
      if (incumbent_.is_optimal()) return;
      if (!is_open(one)) continue;
      Budget part = round.share(1 / static_cast<double>(std::max<std::uint64_t>(1, open)));
      if (open > 0) --open;
      if (budget_.work_limit()) {
        const double rest = share < 1 ? share : 1 - kShareOfFirstRound;
        part = part.with_work(std::max<std::uint64_t>(1, of_work(rest) / all));
      }
      std::optional<Duration> bound;
      // Choices of modes are many, and each gets little: the complete program settles them at once, if it is there.
      const bool settles = share >= 1 && problem_.chooses_modes() && options_.method == Method::kAuto;
      if (settles) bound = plan_selection(one.selection, part, Method::kCp);
      if (!bound && !(settles && is_impossible_)) bound = plan_selection(one.selection, part, options_.method);
      if (bound) one.bound = std::max(one.bound.value_or(*bound), *bound);
      one.is_impossible = is_impossible_;
    }
  }

  /// Plans one selection. \return its bound if a plan came out; nothing and is_impossible_ where there is none
  std::optional<Duration> plan_selection(const LayoutSelection& selection, const Budget& budget) {
    return plan_selection(selection, budget, options_.method);
  }
  std::optional<Duration> plan_selection(const LayoutSelection& selection, const Budget& budget, Method method) {
    is_impossible_ = true;
    std::optional<DerivedProblem> derived;
    try {
      derived = DerivedProblem::create(problem_, selection);
    } catch (const InputError& error) {
      why_not_ = error.what();  // no movement makes a layout, or devices that are apart coincide
      return std::nullopt;
    }
    PlannerOptions inner = options_;
    inner.on_progress = nullptr;
    inner.method = method;
    const PlanResult result = planned(*derived, budget, inner);
    is_impossible_ = result.reason == PlanResult::Reason::kInfeasible;
    if (!result.plan) {
      if (!result.detail.empty()) why_not_ = result.detail;
      return std::nullopt;
    }
    offer(*derived, *result.plan);
    return result.plan->lower_bound();
  }

  [[nodiscard]] PlanResult planned(const DerivedProblem& derived, const Budget& budget,
                                   const PlannerOptions& options) const {
    if (!problem_.chooses_modes()) return opweave::plan(derived.problem(), budget, options);
    return plan_with_memory_modes(derived.problem(), budget, options, modes_);
  }

  void offer(const DerivedProblem& derived, const Plan& plan) {
    if (!problem_.chooses_modes()) {
      incumbent_.offer({derived, {}, to_schedule(derived.problem(), plan), {}, plan.provenance.method});
      return;
    }
    OrdinaryPlan ordinary = with_movements(derived.problem(), plan);
    Schedule schedule = to_schedule(ordinary.movements.problem(), ordinary.plan);
    incumbent_.offer({derived, std::move(ordinary.movements), std::move(schedule), {}, plan.provenance.method});
  }

  /// Descent by quick values from the best selection that is known, from the first alternatives and from the fastest
  /// ones; the best selections are kept.
  void choose_quickly(const SelectionMoves& moves) {
    const Budget part = budget_.share(kShareOfQuick);
    std::uint64_t left = UINT64_MAX;
    if (const auto work = budget_.work_limit()) left = std::max<std::uint64_t>(1, *work * kQuickPerEvaluation);
    std::vector<LayoutSelection> starts = {LayoutSelection(problem_.choices().size(), 0), fastest()};
    if (!best_.empty() && std::ranges::find(starts, best_.front().second) == starts.end()) {
      starts.insert(starts.begin(), best_.front().second);
    }
    for (LayoutSelection& selection : starts) {
      if (part.expired() && !best_.empty()) return;
      std::optional<QuickValue> value = note(selection);
      bool is_better = true;
      while (is_better) {
        is_better = false;
        for (std::size_t move = 0; move < moves.count(); ++move) {
          if (left-- == 0 || part.expired()) return;
          LayoutSelection next = moves.after(move, selection);
          if (next == selection) continue;
          const std::optional<QuickValue> other = note(next);
          if (!other || (value && *other >= *value)) continue;
          selection = std::move(next);
          value = other;
          is_better = true;
        }
      }
    }
  }

  [[nodiscard]] LayoutSelection fastest() const {
    LayoutSelection selection;
    for (const LayoutChoice& choice : problem_.choices()) {
      const auto time = [&](const LayoutAlternative& alternative) {
        Duration sum;
        for (std::size_t i = 0; i < choice.operators.size(); ++i) {
          sum += problem_.graph().options[choice.operators[i].index()][alternative.option_index[i]].duration;
        }
        return sum;
      };
      const auto least = std::ranges::min_element(choice.alternatives, {}, time);
      selection.push_back(static_cast<std::uint32_t>(least - choice.alternatives.begin()));
    }
    return selection;
  }

  std::optional<QuickValue> note(const LayoutSelection& selection) {
    const std::optional<QuickValue> value = quick_value(problem_, selection);
    if (!value) return value;
    const auto place = std::ranges::lower_bound(best_, std::pair(*value, selection));
    if (place != best_.end() && place->second == selection) return value;
    best_.emplace(place, *value, selection);
    if (best_.size() > kFirst) best_.pop_back();
    return value;
  }

  void plan_first() {
    for (std::size_t i = 0; i < best_.size(); ++i) {
      if (incumbent_.is_optimal() || (budget_.expired() && incumbent_.best())) return;
      const double share = kShareOfFirst / static_cast<double>(best_.size());
      // Where no plan is known the search for one may take what it takes.
      Budget part = i + 1 == best_.size() && !incumbent_.best() ? budget_ : budget_.share(share);
      if (const auto work = budget_.work_limit()) part = part.with_work(of_work(share));
      plan_selection(best_[i].second, part);
    }
  }

  [[nodiscard]] std::uint64_t of_work(double share) const {
    return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(static_cast<double>(*budget_.work_limit()) * share));
  }

  /// Changes of the best selection, valued by the plans that they lead to.
  void change(const SelectionMoves& moves) {
    if (moves.count() == 0) return;
    const Budget part = budget_.share(kShareOfChanges);
    std::uint64_t work = UINT64_MAX;
    if (budget_.work_limit()) {
      work = of_work(kShareOfRest * kShareOfChanges);
    } else if (!budget_.time_limit_seconds()) {
      work = moves.count() * kEvaluationsPerChange;
    }
    Random random(options_.seed);
    while (!part.expired() && !incumbent_.is_optimal() && work >= kEvaluationsPerChange) {
      work -= kEvaluationsPerChange;
      const LayoutSelection next = moves.after(random.below(moves.count()), incumbent_.best()->derived.selection());
      if (next == incumbent_.best()->derived.selection() || !quick_value(problem_, next)) continue;
      plan_selection(next, part.with_work(kEvaluationsPerChange));
    }
  }

  void plan_best() {
    if (incumbent_.is_optimal()) return;
    const LayoutIncumbent::Best best = *incumbent_.best();
    PlannerOptions inner = options_;
    if (!best.movements) inner.warm_start = best.schedule;
    inner.on_progress = nullptr;
    Budget part = budget_;
    if (budget_.work_limit()) part = part.with_work(of_work(kShareOfRest * (1 - kShareOfChanges)));
    const PlanResult result = planned(best.derived, part, inner);
    if (result.plan) offer(best.derived, *result.plan);
  }

  const LayoutProblem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  const ModeOptions& modes_;
  LayoutIncumbent& incumbent_;
  std::optional<MovementCosts> costs_;
  std::vector<std::pair<QuickValue, LayoutSelection>> best_;  // ascending
  bool is_impossible_ = false;
  bool has_no_plan_ = false;
  std::string why_not_;
};

/// What a search and the one who waits for it share.
struct LayoutDesk : SearchDesk {
  std::string why_not;  ///< there is no plan, or none was found
  bool has_no_plan = false;
};

/// Leaves what it finds in `findings`, and on the desk what it knows when it has ended.
void search_layouts(const LayoutProblem& problem, const Budget& budget, const PlannerOptions& options,
                    const ModeOptions& modes, const std::shared_ptr<LayoutFindings>& findings, LayoutDesk& desk) {
  LayoutIncumbent incumbent(problem, budget, options, findings);
  LayoutSearch search(problem, budget, options, modes, incumbent);
  const auto count = search.few();
  if (!count) search.plan_start();
  if (!incumbent.best() || !budget.expired()) search.relax();
  if (!count) {
    if (!incumbent.best() || !budget.expired()) search.run();
  } else if (const std::optional<Duration> bound = search.every(*count)) {
    incumbent.add_bounds({{"options", *bound, "least over all selections of options"}});
  }
  const std::lock_guard lock(desk.mutex);
  desk.has_no_plan = search.has_no_plan();
  desk.why_not = search.why_not();
}

/// Of the microbatches' operators and their movements, about: measured.
constexpr double kSecondsToWrite = 15e-6;

}  // namespace

LayoutPlanResult plan_with_layouts(const LayoutProblem& problem, const Budget& budget, const PlannerOptions& options,
                                   const ModeOptions& modes) {
  require_supported(options);
  const auto findings = std::make_shared<LayoutFindings>();
  const auto desk = std::make_shared<LayoutDesk>();
  const auto work = [problem, options, modes, findings, desk](const Budget& own) {
    PlannerOptions telling = options;
    telling.on_progress = [&](const Progress& progress) {
      const std::lock_guard lock(desk->mutex);
      if (desk->is_closed) return;
      if (!desk->told_at) desk->told_at = own.elapsed();
      if (options.on_progress) options.on_progress(progress);
    };
    search_layouts(problem, own, telling, modes, findings, *desk);
  };
  std::string cluster_hash;
  const auto find_hash = [&] { cluster_hash = content_hash(problem.cluster()); };
  const double seconds_to_write = kSecondsToWrite * static_cast<double>(task_count(problem));
  const bool has_ended = end_on_time(desk, budget, seconds_to_write, work, find_hash);
  const LayoutFindings::Copy found = findings->copy();
  LayoutPlanResult answer;
  PlanResult& result = answer.result;
  result.bounds = found.bounds;
  if (has_ended && desk->has_no_plan) {
    result.reason = PlanResult::Reason::kInfeasible;
    result.detail = "no selection of options has a valid plan";
    if (!desk->why_not.empty()) result.detail += ": " + desk->why_not;
    return answer;
  }
  answer.plan = found.best ? std::optional(*found.best) : std::nullopt;
  if (answer.plan) state_bounds(answer.plan->plan, found.bounds);
  result.limit = reached_limit(budget, answer.plan && answer.plan->plan.status == PlanStatus::kOptimal);
  if (has_ended && desk->is_out_of_memory) result.limit = "memory";
  if (!answer.plan) {
    if (has_ended) result.detail = desk->why_not;
    return answer;
  }
  result.reason = PlanResult::Reason::kPlanned;
  answer.plan->plan.provenance = provenance_of(budget, options, found.method, found.trajectory);
  answer.plan->plan.provenance.cluster_hash = std::move(cluster_hash);
  result.plan = answer.plan->plan;
  return answer;
}

}  // namespace opweave
