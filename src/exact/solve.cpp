#include "exact/solve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "exact/cp_formulation.h"
#include "exact/disjunctive_mip.h"
#include "exact/mip_placement.h"
#include "exact/retime.h"
#include "exact/schedule_space.h"
#include "exact/time_indexed_mip.h"
#include "opweave/error.h"

namespace opweave::exact {
namespace {

using Status = ExactAnswer::Status;

/// What a solver says of a model, in the terms of the problem.
struct SolverAnswer {
  EngineStatus status = EngineStatus::kUnknown;
  bool is_too_large = false;
  bool proves = true;                 ///< optimum and infeasibility of the model are those of the problem
  std::int64_t bound = 0;             ///< in ticks
  std::optional<RoughSchedule> best;  ///< last solution
  std::string message;
  bool abandoned = false;
};

SolverAnswer refusal(EngineStatus status, std::string message) {
  SolverAnswer found;
  found.status = status;
  found.message = std::move(message);
  return found;
}

SolverAnswer too_large(std::size_t size, const char* what, std::size_t most) {
  SolverAnswer found = refusal(EngineStatus::kUnknown, fmt::format("{} {}, expected at most {}", size, what, most));
  found.is_too_large = true;
  return found;
}

/// One model of one problem, built, solved and read.
struct Question {
  std::shared_ptr<const ScheduleSpace> space;
  std::optional<std::int64_t> upper_bound;  ///< in ticks
  std::int64_t floor = 0;                   ///< in ticks: no schedule of the space is shorter
  const Schedule* start = nullptr;          ///< exact in ticks of the space
  const Budget* budget = nullptr;
  const ExactOptions* options = nullptr;
  std::function<void(const RoughSchedule&)> on_solution;

  [[nodiscard]] bool should_stop() const {
    return budget->expired() || (options->should_stop && options->should_stop());
  }
  [[nodiscard]] EngineLimits limits() const {
    EngineLimits limits;
    limits.seconds = budget->remaining();
    limits.work = options->work;
    limits.threads = options->threads;
    limits.seed = options->seed;
    limits.deterministic = options->deterministic;
    return limits;
  }
};

/// Solves a model that a formulation holds, and reads the answer with it.
template <class Model, class Formulation>
SolverAnswer solve_formulation(const Question& question, const std::shared_ptr<const Engine<Model>>& engine,
                               const std::shared_ptr<const Formulation>& formulation) {
  // The alias keeps the formulation alive as long as a worker that was left behind reads the model.
  const std::shared_ptr<const Model> model(formulation, &formulation->model());
  const Claim<Model> claim = run<Model>(
      engine, model, question.limits(), [&] { return question.should_stop(); },
      [&](const auto& values, auto) {
        if (question.on_solution) question.on_solution(formulation->read(values));
      });
  SolverAnswer found;
  found.status = claim.status;
  found.message = claim.message;
  found.abandoned = claim.abandoned;
  if (claim.has_solution()) found.best = formulation->read(claim.values);
  if (claim.bound) {
    // Makespans are whole ticks; what the solver's tolerance may have taken is given back first.
    found.bound = static_cast<std::int64_t>(std::ceil(static_cast<double>(*claim.bound) * (1 - 1e-9) - 1e-5));
    if constexpr (std::is_same_v<Model, CpModel>) found.bound = *claim.bound;
  }
  return found;
}

SolverAnswer by_constraint_program(const Question& question) {
  const auto engine = question.options->engine ? question.options->engine : cp_sat_engine();
  if (std::string reason = engine->unavailable_because(); !reason.empty()) {
    return refusal(EngineStatus::kUnavailable, reason);
  }
  const CpSize size = cp_size(*question.space);
  if (size.intervals > question.options->most_intervals) {
    return too_large(size.intervals, "intervals", question.options->most_intervals);
  }
  const auto formulation = std::make_shared<CpFormulation>(question.space, question.upper_bound, question.floor);
  if (question.start != nullptr) formulation->hint(*question.start);
  SolverAnswer found = solve_formulation<CpModel, CpFormulation>(question, engine, formulation);
  found.proves = formulation->memory_is_exact();
  return found;
}

/// Nonzeros of the largest time-indexed program that is solved. Before its first node the solver takes far longer than
/// for one, the more so the larger the program: a small limit of work needs a small program.
std::size_t most_nonzeros_of(const ExactOptions& options) {
  if (!options.work) return options.most_nonzeros;
  constexpr double kAlways = 20'000;
  constexpr double kPerNode = 50;
  return static_cast<std::size_t>(
      std::min(static_cast<double>(options.most_nonzeros), kAlways + kPerNode * 1000 * *options.work));
}

/// The model grows with the horizon. Without a schedule that limits it, short horizons are tried first: that they
/// are too short is proven fast.
SolverAnswer by_time_indexed(const Question& question, const std::shared_ptr<const MipEngine>& engine) {
  const ScheduleSpace& space = *question.space;
  const std::int64_t last = question.upper_bound.value_or(space.horizon());
  std::int64_t least = 0;
  for (std::size_t t = 0; t < space.problem().task_count(); ++t) {
    least = std::max(least, space.head(TaskId(t)) + space.shortest(TaskId(t)) + space.tail(TaskId(t)));
  }
  std::int64_t room = std::max<std::int64_t>(2, least / 3);
  std::int64_t bound = 0;
  for (;;) {
    const std::int64_t horizon = question.upper_bound ? last : std::min(last, least + room);
    const MipSize size = TimeIndexedMip::size(space, horizon);
    SolverAnswer found;
    if (const std::size_t most = most_nonzeros_of(*question.options); size.nonzeros > most) {
      found = too_large(size.nonzeros, "nonzeros", most);
    } else {
      const auto formulation =
          std::make_shared<TimeIndexedMip>(question.space, horizon, false, [&] { return question.should_stop(); });
      if (!formulation->is_complete()) {
        found = refusal(EngineStatus::kUnknown, "the program was not built in time");
        found.bound = bound;
        return found;
      }
      if (question.start != nullptr) formulation->start_from(*question.start);
      found = solve_formulation<MipModel, TimeIndexedMip>(question, engine, formulation);
    }
    if (found.status != EngineStatus::kInfeasible || horizon == last) {
      found.bound = std::max(found.bound, bound);
      return found;
    }
    bound = horizon + 1;
    room *= 2;
  }
}

SolverAnswer by_integer_program(const Question& question) {
  const auto engine = highs_engine();
  if (std::string reason = engine->unavailable_because(); !reason.empty()) {
    return refusal(EngineStatus::kUnavailable, reason);
  }
  const std::size_t most = question.options->most_nonzeros;
  if (question.options->method == ExactMethod::kDisjunctive) {
    const std::size_t size = DisjunctiveMip::size(*question.space);
    if (size > most) return too_large(size, "nonzeros", most);
    const auto formulation = std::make_shared<DisjunctiveMip>(question.space, question.upper_bound);
    if (question.start != nullptr) formulation->start_from(*question.start);
    return solve_formulation<MipModel, DisjunctiveMip>(question, engine, formulation);
  }
  return by_time_indexed(question, engine);
}

SolverAnswer ask(const Question& question) {
  return question.options->method == ExactMethod::kConstraintProgram ? by_constraint_program(question)
                                                                     : by_integer_program(question);
}

Status status_of(const SolverAnswer& found) {
  if (found.is_too_large) return Status::kTooLarge;
  switch (found.status) {
    case EngineStatus::kOptimal:
      return Status::kOptimal;
    case EngineStatus::kFeasible:
      return Status::kFeasible;
    case EngineStatus::kInfeasible:
      return found.proves ? Status::kInfeasible : Status::kUnknown;
    case EngineStatus::kUnknown:
      return Status::kUnknown;
    case EngineStatus::kUnavailable:
      return Status::kUnavailable;
    default:
      return Status::kFailed;
  }
}

/// The best schedule known while a solver works.
class BestSchedule {
 public:
  BestSchedule(const Problem& problem, const Schedule* warm_start, const OnSchedule& on_schedule)
      : problem_(problem), on_schedule_(on_schedule) {
    if (warm_start == nullptr) return;
    schedule_ = left_shift(problem, *warm_start);
    makespan_ = schedule_->makespan(problem);
  }

  void take(const RoughSchedule& rough) {
    std::optional<Schedule> schedule = retime(problem_, rough);
    if (!schedule) return;
    const Duration makespan = schedule->makespan(problem_);
    if (schedule_ && makespan >= makespan_) return;
    schedule_ = std::move(schedule);
    makespan_ = makespan;
    if (on_schedule_) on_schedule_(*schedule_);
  }

  [[nodiscard]] const std::optional<Schedule>& schedule() const { return schedule_; }
  [[nodiscard]] Duration makespan() const { return makespan_; }

 private:
  const Problem& problem_;
  const OnSchedule& on_schedule_;
  std::optional<Schedule> schedule_;
  Duration makespan_;
};

/// What a solver found, confronted with the schedule that is known.
ExactAnswer conclude(const SolverAnswer& found, const TimeUnit& unit, const BestSchedule& best) {
  ExactAnswer answer;
  answer.status = status_of(found);
  answer.message = found.message;
  answer.abandoned = found.abandoned;
  answer.schedule = best.schedule();
  if (found.proves && found.bound > 0) answer.bound = unit.length * found.bound;
  const auto fail = [&](std::string message) {
    answer.status = Status::kFailed;
    answer.message = std::move(message);
    answer.bound = Duration();
    return answer;
  };
  if (!best.schedule()) {
    const bool claims_one = answer.status == Status::kOptimal || answer.status == Status::kFeasible;
    if (!claims_one) return answer;
    if (!unit.is_rounded) return fail("the solver's solution is no schedule");
    answer.status = Status::kUnknown;
    answer.message = "the solution of the program with rounded numbers is no schedule";
    return answer;
  }
  if (answer.status == Status::kInfeasible) return fail("the solver sees no schedule where there is one");
  if (answer.bound > best.makespan()) {
    return fail(fmt::format("bound {} above a schedule of {}", answer.bound.value(), best.makespan().value()));
  }
  const bool has_solved = answer.status == Status::kOptimal || answer.status == Status::kFeasible;
  if (has_solved) answer.status = answer.bound == best.makespan() ? Status::kOptimal : Status::kFeasible;
  return answer;
}

using Space = std::shared_ptr<const ScheduleSpace>;

/// The same space where solvers of integer programs can be trusted with its numbers, else one rounded down.
Space with_small_numbers(const Space& space, std::optional<Duration> makespan, std::int64_t most_ticks) {
  const Duration longest = makespan.value_or(space->unit().length * space->horizon());
  TimeUnit unit = relaxed_unit(space->problem(), longest, most_ticks);
  if (!unit.is_rounded && !MipPlacement::has_large_bytes(*space)) return space;
  unit.is_rounded = true;
  return std::make_shared<const ScheduleSpace>(space->problem(), unit);
}

/// A time-indexed program grows with the number of ticks. The same space, or with ticks that are longer, rounded down,
/// so that the model has at most so many nonzeros; not longer than what leaves a few ticks to tell times apart.
Space with_fewer_ticks(Space space, std::optional<Duration> makespan, std::size_t most_nonzeros) {
  constexpr std::int64_t kFewest = 64;
  while (true) {
    const Duration unit = space->unit().length;
    const std::int64_t ticks = makespan ? makespan->value() / unit.value() : space->horizon();
    if (ticks < 2 * kFewest || TimeIndexedMip::size(*space, ticks).nonzeros <= most_nonzeros) return space;
    space = std::make_shared<const ScheduleSpace>(space->problem(), TimeUnit{unit * 2, true});
  }
}

/// What an integer program is made of, so that its solver can be trusted and its size be managed.
Space space_for_integers(Space space, std::optional<Duration> makespan, const ExactOptions& options) {
  space = with_small_numbers(space, makespan, options.most_ticks);
  if (options.method != ExactMethod::kTimeIndexed) return space;
  // Where times are rounded anyway, ticks that are few enough to be solved say more than many that are not.
  constexpr std::size_t kFew = 10'000;
  const bool is_rounded = space->unit().is_rounded;
  const std::size_t most = most_nonzeros_of(options);
  return with_fewer_ticks(space, makespan, is_rounded ? std::min(kFew, most) : most);
}

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
  BestSchedule best(problem, warm_start, on_schedule);
  Question question;
  question.space = std::make_shared<const ScheduleSpace>(problem, exact_unit(problem));
  question.budget = &budget;
  question.options = &options;
  question.on_solution = [&](const RoughSchedule& rough) { best.take(rough); };
  const std::optional<Duration> known = best.schedule() ? std::optional(best.makespan()) : std::nullopt;
  if (options.method != ExactMethod::kConstraintProgram) {
    question.space = space_for_integers(question.space, known, options);
  }
  const TimeUnit unit = question.space->unit();
  if (known) question.upper_bound = unit.ticks(*known);
  if (!unit.is_rounded) {
    // All makespans of interest are whole ticks.
    question.floor = (options.known_bound.value() + unit.length.value() - 1) / unit.length.value();
    if (known) question.start = &*best.schedule();
  }
  const SolverAnswer found = ask(question);
  if (found.best) best.take(*found.best);
  return conclude(found, unit, best);
}

std::string write_integer_program(const Problem& problem, const Schedule* upper_bound, const std::string& path,
                                  const ExactOptions& options) {
  const auto space = std::make_shared<const ScheduleSpace>(problem, exact_unit(problem));
  std::int64_t horizon = space->horizon();
  if (upper_bound != nullptr) horizon = space->unit().ticks(upper_bound->makespan(problem));
  const auto refuse = [&](std::size_t size) {
    return fmt::format("the model has about {} nonzeros, expected at most {}", size, options.most_nonzeros);
  };
  switch (options.method) {
    case ExactMethod::kConstraintProgram:
      return "a constraint program has no MPS or LP form";
    case ExactMethod::kDisjunctive: {
      const std::size_t size = DisjunctiveMip::size(*space);
      if (size > options.most_nonzeros) return refuse(size);
      return write_model(DisjunctiveMip(space, horizon, true).model(), path);
    }
    case ExactMethod::kTimeIndexed: {
      const std::size_t size = TimeIndexedMip::size(*space, horizon).nonzeros;
      if (size > options.most_nonzeros) return refuse(size);
      return write_model(TimeIndexedMip(space, horizon, true).model(), path);
    }
  }
  throw InternalError("unknown exact method");
}

}  // namespace opweave::exact
