#include "exact/solve.h"

#include <fmt/format.h>

#include <algorithm>

#include "exact/cp_formulation.h"
#include "exact/retime.h"
#include "exact/schedule_space.h"
#include "opweave/error.h"

namespace opweave::exact {
namespace {

using Status = ExactAnswer::Status;

Status status_of(EngineStatus status) {
  switch (status) {
    case EngineStatus::kOptimal:
      return Status::kOptimal;
    case EngineStatus::kFeasible:
      return Status::kFeasible;
    case EngineStatus::kInfeasible:
      return Status::kInfeasible;
    case EngineStatus::kUnknown:
      return Status::kUnknown;
    case EngineStatus::kUnavailable:
      return Status::kUnavailable;
    default:
      return Status::kFailed;
  }
}

EngineLimits limits_of(const Budget& budget, const ExactOptions& options) {
  EngineLimits limits;
  limits.seconds = budget.remaining();
  limits.work = options.work;
  limits.threads = options.threads;
  limits.seed = options.seed;
  limits.deterministic = options.deterministic;
  return limits;
}

/// One attempt at a problem by one method.
class Attempt {
 public:
  Attempt(const Problem& problem, const Schedule* warm_start, const Budget& budget, const ExactOptions& options,
          const OnSchedule& on_schedule)
      : problem_(problem), warm_start_(warm_start), budget_(budget), options_(options), on_schedule_(on_schedule) {
    if (warm_start == nullptr) return;
    best_ = left_shift(problem, *warm_start);
    makespan_ = best_->makespan(problem);
  }

  ExactAnswer by_constraint_program() {
    const auto engine = cp_sat_engine();
    if (std::string reason = engine->unavailable_because(); !reason.empty())
      return refuse(Status::kUnavailable, reason);
    const auto space = std::make_shared<const ScheduleSpace>(problem_, exact_unit(problem_));
    if (space->is_empty()) return refuse(Status::kInfeasible, "some group fits on no devices");
    const CpSize size = cp_size(*space);
    if (size.intervals > options_.most_intervals) {
      return refuse(Status::kTooLarge,
                    fmt::format("{} intervals, expected at most {}", size.intervals, options_.most_intervals));
    }
    const auto formulation = std::make_shared<CpFormulation>(space, upper_bound(*space));
    if (best_) formulation->hint(*best_);
    // The alias keeps the formulation alive as long as a worker that was left behind reads the model.
    const std::shared_ptr<const CpModel> model(formulation, &formulation->model());
    const auto claim = run<CpModel>(
        engine, model, limits_of(budget_, options_), [this] { return budget_.expired(); },
        [&](const auto& values, std::int64_t) { take(formulation->read(values)); });
    if (claim.has_solution()) take(formulation->read(claim.values));
    const bool proves = formulation->memory_is_exact();
    return conclude(claim.status, proves && claim.bound ? *claim.bound : 0, space->unit(), proves, claim.message);
  }

 private:
  std::optional<std::int64_t> upper_bound(const ScheduleSpace& space) const {
    if (!best_) return std::nullopt;
    return space.unit().ticks(makespan_);
  }

  void take(const RoughSchedule& rough) {
    std::optional<Schedule> schedule = retime(problem_, rough);
    if (!schedule) return;
    const Duration makespan = schedule->makespan(problem_);
    if (best_ && makespan >= makespan_) return;
    best_ = std::move(schedule);
    makespan_ = makespan;
    if (on_schedule_) on_schedule_(*best_);
  }

  static ExactAnswer refuse(Status status, std::string message) {
    ExactAnswer answer;
    answer.status = status;
    answer.message = std::move(message);
    return answer;
  }

  /// \param proves  the model's optimum and infeasibility are the problem's
  ExactAnswer conclude(EngineStatus status, std::int64_t bound_ticks, const TimeUnit& unit, bool proves,
                       std::string message) {
    ExactAnswer answer;
    answer.status = status_of(status);
    answer.message = std::move(message);
    if (proves && bound_ticks > 0) answer.bound = unit.length * bound_ticks;
    if (answer.status == Status::kInfeasible && best_) {
      answer.status = Status::kFailed;
      answer.message = "the solver calls a problem infeasible that has a schedule";
    }
    if (answer.status == Status::kInfeasible && !proves) answer.status = Status::kUnknown;
    answer.schedule = best_;
    if (!best_) {
      if (answer.status == Status::kOptimal || answer.status == Status::kFeasible) {
        answer.status = Status::kFailed;
        answer.message = "the solver's solution is no schedule";
      }
      return answer;
    }
    if (answer.bound > makespan_) {
      answer.status = Status::kFailed;
      answer.message = fmt::format("bound {} above a schedule of {}", answer.bound.value(), makespan_.value());
      answer.bound = Duration();
    }
    if (answer.status == Status::kFailed) return answer;
    answer.status = answer.bound == makespan_ ? Status::kOptimal : Status::kFeasible;
    return answer;
  }

  const Problem& problem_;
  const Schedule* warm_start_;
  const Budget& budget_;
  const ExactOptions& options_;
  const OnSchedule& on_schedule_;
  std::optional<Schedule> best_;
  Duration makespan_;
};

}  // namespace

std::string_view to_string(ExactMethod method) {
  switch (method) {
    case ExactMethod::kConstraintProgram:
      return "cp";
    case ExactMethod::kDisjunctive:
      return "mip-disjunctive";
    case ExactMethod::kTimeIndexed:
      return "mip-time-indexed";
  }
  throw InternalError("unknown exact method");
}

std::string_view to_string(ExactAnswer::Status status) {
  switch (status) {
    case Status::kOptimal:
      return "optimal";
    case Status::kFeasible:
      return "feasible";
    case Status::kInfeasible:
      return "infeasible";
    case Status::kUnknown:
      return "unknown";
    case Status::kTooLarge:
      return "too large";
    case Status::kUnavailable:
      return "unavailable";
    case Status::kFailed:
      return "failed";
  }
  throw InternalError("unknown status of an exact answer");
}

ExactAnswer solve_exactly(const Problem& problem, const Schedule* warm_start, const Budget& budget,
                          const ExactOptions& options, const OnSchedule& on_schedule) {
  Attempt attempt(problem, warm_start, budget, options, on_schedule);
  return attempt.by_constraint_program();
}

}  // namespace opweave::exact
