#include "planner/minimise_makespan.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "exact/model_file.h"
#include "exact/solve.h"
#include "opweave/bounds.h"
#include "opweave/error.h"
#include "planner/any_plan.h"
#include "planner/construct.h"
#include "planner/improve.h"
#include "planner/incumbent.h"
#include "planner/minimise_in_blocks.h"
#include "planner/periodic_plans.h"

namespace opweave {
namespace {

constexpr const char* kWarmStart = "warm start";
/// Share of the time for bounds.
constexpr double kBoundShare = 0.2;
/// Of iterations around kernels, those that are also constructed as a whole, and the share of the time for it.
constexpr std::size_t kMostTasksBesideKernels = 50'000;
constexpr double kShareBesideKernels = 0.2;

Finding infeasible(std::string why) {
  Finding finding;
  finding.reason = PlanResult::Reason::kInfeasible;
  finding.detail = std::move(why);
  return finding;
}

std::optional<exact::ExactMethod> complete_program(Method method) {
  switch (method) {
    case Method::kMipDisjunctive:
      return exact::ExactMethod::kDisjunctive;
    case Method::kMipTimeIndexed:
      return exact::ExactMethod::kTimeIndexed;
    case Method::kCp:
      return exact::ExactMethod::kConstraintProgram;
    case Method::kAuto:
    case Method::kHeuristic:
      return std::nullopt;
  }
  throw InternalError("unknown method");
}

/// What the store holds at the end.
void conclude(const IncumbentStore& incumbent, Finding& finding) {
  if (!incumbent.makespan()) return;
  finding.reason = PlanResult::Reason::kPlanned;
  finding.schedule = incumbent.schedule();
  finding.method = incumbent.method();
  finding.trajectory = incumbent.trajectory();
}

/// Where a method has ended without a plan, the question is left whether there is any; what is known instead otherwise
/// stays as it is.
void settle(const Problem& problem, const Budget& budget, const PlannerOptions& options, IncumbentStore& incumbent,
            Finding& finding) {
  AnyPlan any = find_any_plan(problem, budget, options);
  if (any.schedule) {
    if (finding.reason == PlanResult::Reason::kInfeasible) finding = {};  // then nothing it said can be trusted
    incumbent.offer(*any.schedule, any.method);
  } else if (any.is_infeasible) {
    finding = infeasible(std::move(any.detail));
  } else if (finding.detail.empty()) {
    finding.detail = std::move(any.detail);
  }
}

/// One complete program, one solver, and nothing of ours but the warm start.
Finding solve_alone(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                    exact::ExactMethod method, const std::function<void(const Progress&)>& on_progress) {
  exact::ExactOptions exact_options;
  exact_options.method = method;
  exact_options.threads = options.threads;
  exact_options.seed = options.seed;
  if (budget.work_limit()) {
    // A unit of work is a node of the search tree, or a millisecond of CP-SAT's deterministic time.
    exact_options.work = static_cast<double>(*budget.work_limit()) / 1000;
    exact_options.deterministic = true;
    exact_options.threads = 1;  // the same plan whatever the threads
  }
  IncumbentStore incumbent(problem, budget, on_progress);
  if (options.warm_start) incumbent.offer(*options.warm_start, kWarmStart);
  const std::string name(to_string(method));
  if (const std::string reason = exact::too_many_choices(problem, exact_options); !reason.empty()) {
    Finding finding;
    finding.detail = "the model would have " + reason;
    conclude(incumbent, finding);
    return finding;
  }
  if (const auto proofs = infeasibility_proofs(problem); !proofs.empty()) return infeasible(proofs.front());
  const exact::ExactAnswer answer =
      exact::solve_exactly(problem, options.warm_start ? &*options.warm_start : nullptr, budget, exact_options,
                           [&](const Schedule& schedule) { incumbent.offer(schedule, name); });
  if (answer.schedule) incumbent.offer(*answer.schedule, name);
  Finding finding;
  finding.bounds = {{name, answer.bound, "by the solver"}};
  using Status = exact::ExactAnswer::Status;
  if (answer.status == Status::kTooLarge) {
    finding.detail = fmt::format("the model would have {}", answer.message);
  } else if (answer.status == Status::kInfeasible) {
    finding.reason = PlanResult::Reason::kInfeasible;
    finding.detail = fmt::format("the solver proves that there is no valid schedule ({})", name);
  } else if (answer.status != Status::kOptimal && answer.status != Status::kFeasible) {
    finding.detail = answer.message.empty() ? "the solver found no schedule" : answer.message;
  }
  if (!incumbent.makespan()) settle(problem, budget, options, incumbent, finding);
  conclude(incumbent, finding);
  if (finding.schedule) finding.is_optimal = finding.schedule->makespan(problem) == answer.bound;
  return finding;
}

/// The incumbent hears of what others find, as long as this lives. \pre the bounds of the incumbent are stated
class Listening {
 public:
  Listening(std::shared_ptr<Exchange> exchange, IncumbentStore& incumbent)
      : exchange_(std::move(exchange)), incumbent_(incumbent) {
    if (exchange_) exchange_->attach(incumbent);
  }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  ~Listening() {
    if (exchange_) exchange_->detach(incumbent_);
  }

 private:
  const std::shared_ptr<Exchange> exchange_;
  IncumbentStore& incumbent_;
};

Finding search(const Problem& problem, const Budget& budget, const PlannerOptions& options,
               std::optional<Duration> target, const std::shared_ptr<Exchange>& exchange,
               const std::function<void(const Progress&)>& on_progress) {
  Finding finding;
  IncumbentStore incumbent(problem, budget, on_progress);
  // False if they prove that the target is out of reach.
  const auto find_bounds = [&] {
    finding.bounds = lower_bounds(problem, budget.share(kBoundShare));
    incumbent.state_bounds(finding.bounds);
    return !target || finding.bounds.front().value <= *target;
  };
  const auto refuse_target = [&] {
    const LowerBound& bound = finding.bounds.front();
    finding.detail =
        fmt::format("lower bound \"{}\" is {} ns, above {} ns", bound.name, bound.value.value(), target->value());
    return finding;
  };
  const auto finish = [&] {
    conclude(incumbent, finding);
    finding.bounds = incumbent.bounds();
    finding.is_optimal = incumbent.is_optimal();
    return finding;
  };
  if (options.warm_start) incumbent.offer(*options.warm_start, kWarmStart);
  // By the clock one plan goes first, before anything that may take longer than there is time: on large problems the
  // bounds cost more than a plan.
  const bool plans_first = budget.remaining() || options.warm_start;
  bool is_within_reach = true;
  if (!plans_first) {
    if (const auto proofs = infeasibility_proofs(problem); !proofs.empty()) return infeasible(proofs.front());
    if (!find_bounds()) return refuse_target();
  }
  const auto on_first = [&] {
    if (plans_first && finding.bounds.empty()) is_within_reach = find_bounds();
    return is_within_reach;
  };
  std::optional<std::uint64_t> work = budget.work_limit();
  const auto spend = [&](std::uint64_t evaluations) {
    if (work) *work -= std::min(*work, evaluations);
  };
  const ProblemTraits traits(problem);
  if (PeriodicPlans::supports(traits)) {
    PeriodicPlans periodic(problem, options, incumbent);
    spend(periodic.construct(budget, on_first));
    if (!is_within_reach) return refuse_target();
    // Where kernels lead, searches of the whole take longer and find less. Published schedules of it are often optimal.
    if (periodic.lead()) {
      if (problem.task_count() <= kMostTasksBesideKernels) {
        ConstructionOptions quick;
        quick.experts_early = true;
        quick.is_enough = [] { return true; };
        spend(construct(problem, budget.share(kShareBesideKernels), incumbent, quick).evaluations);
      }
      const Listening listening(exchange, incumbent);
      periodic.improve(budget, work);
      return finish();
    }
  }
  ConstructionOptions construction_options;
  construction_options.on_first = on_first;
  Construction construction = construct(problem, budget, incumbent, construction_options);
  spend(construction.evaluations);
  if (!is_within_reach) return refuse_target();
  if (!incumbent.makespan()) {
    if (!construction.rejection.empty()) {
      throw InternalError("check rejected every plan, the last one from " + construction.rejection);
    }
    if (plans_first) {
      if (const auto proofs = infeasibility_proofs(problem); !proofs.empty()) return infeasible(proofs.front());
      if (!find_bounds()) return refuse_target();
    }
    settle(problem, budget, options, incumbent, finding);
    if (!incumbent.makespan()) return finding;
    construction.starts = {{incumbent.schedule(), *incumbent.makespan(), incumbent.method()}};
  }
  if (options.warm_start) {
    const Duration makespan = options.warm_start->makespan(problem);
    const auto behind = std::find_if(construction.starts.begin(), construction.starts.end(),
                                     [&](const Start& start) { return start.makespan > makespan; });
    construction.starts.insert(behind, {*options.warm_start, makespan, kWarmStart});
  }
  // A search takes about as long to begin as a list schedule.
  const double longest = construction.longest_step;
  if (!incumbent.is_optimal() && !budget.expired() && budget.remaining().value_or(longest) >= longest) {
    const Listening listening(exchange, incumbent);
    improve(traits, budget, options, construction, work, incumbent);
  }
  return finish();
}

}  // namespace

Finding minimise_makespan(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                          std::optional<Duration> target, const std::shared_ptr<Exchange>& exchange) {
  if (problem.settings().blocks != Blocks::kNone) return minimise_in_blocks(problem, budget, options, target);
  std::atomic<bool> is_reached = false;
  const Budget own = target ? budget.until(&is_reached) : budget;
  const auto on_progress = [&](const Progress& progress) {
    if (target && progress.makespan && *progress.makespan <= *target) is_reached = true;
    if (options.on_progress) options.on_progress(progress);
  };
  const std::optional<exact::ExactMethod> program = complete_program(options.method);
  return program ? solve_alone(problem, own, options, *program, on_progress)
                 : search(problem, own, options, target, exchange, on_progress);
}

}  // namespace opweave
