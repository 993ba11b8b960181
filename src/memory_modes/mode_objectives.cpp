#include "memory_modes/mode_objectives.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "opweave/bounds.h"
#include "opweave/error.h"
#include "planner/objective_search.h"
#include "planner/restrict.h"

namespace opweave {
namespace {

/// Shares of what is left of the time and of the work: of the first plan where memory comes first, of what is proven of
/// memory, and of one question "does it still fit?".
constexpr double kShareOfFirst = 0.3;
constexpr double kShareOfBound = 0.1;
constexpr double kShareOfQuestion = 0.2;
/// Part of the work limit that one question gets, of which there is one pass: halving asks about a dozen.
constexpr double kQuestionOfWork = 1.0 / 16;
/// Questions end where the peak is known to this part of itself.
constexpr std::int64_t kFineness = 1000;

Bytes peak_of(const Plan& plan) {
  Bytes peak;
  for (const DeviceStatistics& device : plan.statistics.devices) peak = std::max(peak, device.peak_memory);
  return peak;
}

std::int64_t value_of(Objective objective, const Plan& plan) {
  return objective == Objective::kMakespan ? plan.statistics.makespan.value() : peak_of(plan).value();
}

/// What a task holds while it runs, whatever the modes: what it reads, which is there or back, what it makes, and its
/// parameters. The most of all tasks, which no peak is below. One that takes no time may hold nothing.
ObjectiveBound most_of_one_task(const Problem& problem) {
  ObjectiveBound bound;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const TaskId task(t);
    if (problem.shortest(task) == Duration()) continue;
    std::int64_t bytes = problem.mode(task, 0).workspace.value();
    for (ModeIndex m = 1; m < problem.mode_count(task); ++m) {
      bytes = std::min(bytes, problem.mode(task, m).workspace.value());
    }
    for (const ValueId value : problem.inputs(task)) bytes += problem.size(value).value();
    for (const ValueId value : problem.outputs(task)) bytes += problem.size(value).value();
    for (const ParameterId parameter : problem.op(task).parameters) {
      bytes += problem.persistent_bytes(parameter).value();
    }
    if (bytes <= bound.value) continue;
    bound.raise(bytes, fmt::format("task \"{}\" with all that it reads and makes", problem.task_name(task)));
  }
  return bound;
}

/// A share of the time that is left and of the work limit.
Budget part_of(const Budget& budget, double share) {
  const Budget part = budget.share(share);
  if (!part.work_limit()) return part;
  const auto work = static_cast<std::uint64_t>(static_cast<double>(*part.work_limit()) * share);
  return part.with_work(std::max<std::uint64_t>(1, work));
}

class ModeObjectives {
 public:
  ModeObjectives(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                 const ShortestWithModes& shortest, ModeFindings& findings)
      : problem_(problem),
        budget_(budget),
        options_(options),
        shortest_(shortest),
        findings_(findings),
        deadline_(options.deadline) {}

  PlanResult run() {
    PlanResult none;
    for (std::size_t i = 0; i < options_.objectives.size(); ++i) {
      const bool is_last = i + 1 == options_.objectives.size();
      const Budget part = is_last ? budget_ : part_of(budget_, kShareBeforeOthers);
      if (options_.objectives[i] == Objective::kMakespan) {
        minimise_makespan(part);
      } else {
        minimise_peak(part);
      }
      if (best_) continue;
      if (is_impossible_) none.reason = PlanResult::Reason::kInfeasible;
      none.detail = why_not_;
      return none;
    }
    return none;
  }

 private:
  /// Asks for the shortest plan in which no device holds more than so much. What is found is offered, if it is in time.
  /// \return false if it is proven that no such plan ends by the deadline
  bool ask(std::optional<Bytes> memory, const Budget& budget, std::uint64_t seed) {
    const auto restricted = RestrictedProblem::create(problem_, {memory, {}});
    if (!restricted) return false;
    const auto found = std::make_shared<ModeFindings>();
    PlannerOptions inner = options_;
    inner.seed = seed;
    inner.objectives = {Objective::kMakespan};
    inner.deadline.reset();
    if (memory) inner.warm_start.reset();  // it may not fit
    inner.on_progress = [&](const Progress& progress) {
      if (progress.schedule != nullptr) offer(*found->copy().best);
    };
    const PlanResult result = shortest_(restricted->problem(), budget, inner, found);
    const ModeFindings::Copy last = found->copy();
    if (!last.bounds.empty()) shortest_bound_ = last.bounds.front();
    if (result.reason == PlanResult::Reason::kInfeasible) {
      why_not_ = result.detail;
      return false;
    }
    const bool is_late = deadline_ && !last.bounds.empty() && last.bounds.front().value > *deadline_;
    if (is_late) {
      why_not_ = fmt::format("none can end by the deadline of {} ns: lower bound \"{}\" is {} ns", deadline_->value(),
                             last.bounds.front().name, last.bounds.front().value.value());
    } else if (last.best && deadline_ && last.best->makespan > *deadline_) {
      why_not_ = fmt::format("the shortest plan found ends at {} ns, after the deadline of {} ns",
                             last.best->makespan.value(), deadline_->value());
    }
    return !is_late;
  }

  void offer(const ModeFindings::Best& candidate) {
    if (deadline_ && candidate.makespan > *deadline_) return;
    const auto values = [&](const Plan& plan) {
      std::vector<std::int64_t> result;
      for (const Objective objective : options_.objectives) result.push_back(value_of(objective, plan));
      return result;
    };
    if (best_ && values(*candidate.plan) >= values(*best_)) return;
    Plan plan = *candidate.plan;
    plan.settings = problem_.settings();
    best_ = std::make_shared<const Plan>(std::move(plan));
    ModeFindings::Best taken = candidate;
    taken.plan = best_;
    findings_.replace(std::move(taken), budget_.elapsed());
    if (!options_.on_progress) return;
    options_.on_progress(
        {budget_.elapsed(), candidate.makespan, Duration(), candidate.method, &candidate.schedule, {}});
  }

  void minimise_makespan(const Budget& budget) {
    is_impossible_ = !ask(limit_, budget, options_.seed);
    if (shortest_bound_) findings_.prove(Objective::kMakespan, shortest_bound_->value.value(), shortest_bound_->name);
    if (best_) deadline_ = best_->statistics.makespan;
  }

  void minimise_peak(const Budget& budget) {
    if (!best_) is_impossible_ = !ask({}, part_of(budget, kShareOfFirst), options_.seed);
    if (!best_) return;
    const std::int64_t least = least_peak(budget.share(kShareOfBound));
    std::int64_t proven = least;
    const auto peak = [&] { return peak_of(*best_).value(); };
    for (std::uint64_t round = 0; goes_on(round, budget) && peak() - proven > peak() / kFineness; ++round) {
      std::int64_t floor = proven;  // below, nothing is to be found in this round
      while (peak() - floor > peak() / kFineness && !budget.expired()) {
        const std::int64_t middle = floor + (peak() - 1 - floor) / 2;
        const bool is_possible = ask(Bytes(middle), question_of(budget), options_.seed + round);
        if (peak() <= middle) continue;
        floor = middle + 1;
        if (!is_possible) prove_peak(proven = floor);
      }
    }
    limit_ = peak_of(*best_);
  }

  [[nodiscard]] static bool is_by_clock(const Budget& budget) { return budget.remaining() && !budget.work_limit(); }
  [[nodiscard]] static bool goes_on(std::uint64_t round, const Budget& budget) {
    return !budget.expired() && (is_by_clock(budget) || round == 0);
  }
  [[nodiscard]] static Budget question_of(const Budget& budget) {
    return is_by_clock(budget) ? budget.share(kShareOfQuestion) : part_of(budget, kQuestionOfWork);
  }

  void prove_peak(std::int64_t value) {
    findings_.prove(Objective::kPeakMemory, value,
                    deadline_ ? "no plan with less memory ends by the deadline" : "no plan needs less memory");
  }

  /// The largest memory at which a plan is proven impossible, plus one: what a single task holds, then bisection, as
  /// far as the time goes.
  std::int64_t least_peak(const Budget& budget) {
    const ObjectiveBound of_task = most_of_one_task(problem_);
    findings_.prove(Objective::kPeakMemory, of_task.value, of_task.proof);
    std::int64_t low = of_task.value - 1;
    std::int64_t high = peak_of(*best_).value();
    while (high - low > 1 + high / kFineness && !budget.expired()) {
      const std::int64_t middle = low + (high - low) / 2;
      (is_impossible_with(Bytes(middle), budget) ? low : high) = middle;
    }
    if (low >= of_task.value) prove_peak(low + 1);
    return low + 1;
  }

  [[nodiscard]] bool is_impossible_with(Bytes memory, const Budget& budget) const {
    const auto restricted = RestrictedProblem::create(problem_, {memory, {}});
    if (!restricted || !infeasibility_proofs_with_modes(restricted->problem()).empty()) return true;
    if (!deadline_) return false;
    const auto bounds = lower_bounds_with_modes(restricted->problem(), budget);
    return !bounds.empty() && bounds.front().value > *deadline_;
  }

  const Problem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  const ShortestWithModes& shortest_;
  ModeFindings& findings_;
  std::optional<Duration> deadline_;  ///< of the options, or the best makespan where that comes first
  std::optional<Bytes> limit_;        ///< the best peak where that comes first
  std::shared_ptr<const Plan> best_;
  std::optional<LowerBound> shortest_bound_;  ///< of the last question
  bool is_impossible_ = false;
  std::string why_not_;
};

}  // namespace

void require_objectives_with_modes(const std::vector<Objective>& objectives) {
  for (const Objective objective : objectives) {
    if (objective == Objective::kMakespan || objective == Objective::kPeakMemory) continue;
    throw InputError(fmt::format(
        "memory modes and reductions are planned for makespan and peak-memory, expected no objective \"{}\"",
        to_string(objective)));
  }
  if (objectives.empty()) throw InputError("no objective is given");
  if (std::ranges::count(objectives, objectives.front()) == 1 && objectives.size() <= 2) return;
  throw InputError("an objective is given twice");
}

PlanResult search_objectives_with_modes(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                        const ShortestWithModes& shortest, ModeFindings& findings) {
  findings.add_bounds(lower_bounds_with_modes(problem, budget.share(kShareOfBound)));
  return ModeObjectives(problem, budget, options, shortest, findings).run();
}

void state_objectives(const PlannerOptions& options, const ModeFindings::Copy& found, Plan& plan) {
  plan.deadline = options.deadline;
  plan.status = PlanStatus::kOptimal;
  for (const Objective objective : options.objectives) {
    ObjectiveFigure figure{objective, value_of(objective, plan), 0, {}};
    const auto proof = found.proofs.find(objective);
    if (proof != found.proofs.end()) {
      figure.bound = proof->second.value;
      figure.proof = proof->second.proof;
    } else if (objective == Objective::kMakespan && !plan.bounds.empty()) {
      figure.bound = plan.bounds.front().value.value();
      figure.proof = plan.bounds.front().name;
    }
    if (figure.bound != figure.value) plan.status = PlanStatus::kFeasible;
    plan.objectives.push_back(std::move(figure));
  }
}

}  // namespace opweave
