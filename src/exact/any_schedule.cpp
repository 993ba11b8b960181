#include "exact/any_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "exact/cp_formulation.h"
#include "exact/retime.h"
#include "exact/schedule_space.h"
#include "opweave/error.h"

namespace opweave::exact {
namespace {

AnySchedule undecided(std::string message) {
  AnySchedule answer;
  answer.message = std::move(message);
  return answer;
}

/// What is minimised, as terms of the model and a sum that no choice avoids, in units.
struct Goal {
  std::vector<CpModel::Term> terms;
  std::int64_t constant = 0;
  std::int64_t unit = 1;

  void add(const CpPlacement::Truth& truth, std::int64_t amount) {
    if (!truth.can_hold || amount == 0) return;
    if (!truth.literal || truth.literal->is_negated()) constant += amount;
    if (truth.literal) terms.push_back({truth.literal->variable(), truth.literal->is_negated() ? -amount : amount});
  }
};

/// Bytes in a unit that divides them all, or rounds them down where their sum might overflow in a solver.
Goal bytes_sent(const ScheduleSpace& space, const CpFormulation& formulation) {
  constexpr std::int64_t kLargestSum = 1'000'000'000'000;
  Goal goal;
  std::int64_t total = 0;
  std::int64_t divisor = 0;
  for (const ScheduleSpace::Delivery& delivery : space.deliveries()) {
    const std::int64_t bytes = space.problem().size(delivery.value).value();
    divisor = std::gcd(divisor, bytes);
    total += bytes;
  }
  goal.unit = std::max({std::int64_t{1}, divisor, total / kLargestSum});
  for (std::size_t s = 0; s < space.deliveries().size(); ++s) {
    goal.add(formulation.sent(s), space.problem().size(space.deliveries()[s].value).value() / goal.unit);
  }
  return goal;
}

Goal devices_used(const ScheduleSpace& space, const CpFormulation& formulation, CpModel& model) {
  Goal goal;
  for (std::size_t d = 0; d < space.problem().cluster().device_count(); ++d) {
    CpPlacement::Truth used;
    std::vector<CpModel::Literal> by;
    for (std::size_t g = 0; g < space.problem().group_count(); ++g) {
      const CpPlacement::Truth placed = formulation.placement().on(GroupId(g), DeviceId(d));
      used.can_hold = used.can_hold || placed.can_hold;
      if (placed.literal) by.push_back(*placed.literal);
      if (placed.is_always()) by.assign(1, model.always());
      if (placed.is_always()) break;
    }
    if (by.size() == 1) used.literal = by.front();
    if (by.size() > 1) {
      used.literal = model.add_literal();
      for (const CpModel::Literal literal : by) model.add_implication({literal}, *used.literal);
    }
    goal.add(used, 1);
  }
  return goal;
}

Goal goal_of(UntimedGoal goal, const ScheduleSpace& space, const CpFormulation& formulation, CpModel& model) {
  switch (goal) {
    case UntimedGoal::kNothing:
      return {};
    case UntimedGoal::kCommunication:
      return bytes_sent(space, formulation);
    case UntimedGoal::kDevices:
      return devices_used(space, formulation, model);
  }
  throw InternalError("unknown goal");
}

AnySchedule conclude(const Problem& problem, const CpFormulation& formulation, const Goal& goal, bool is_timed,
                     const Claim<CpModel>& claim) {
  AnySchedule answer;
  answer.message = claim.message;
  answer.abandoned = claim.abandoned;
  if (claim.has_solution()) {
    RoughSchedule found = formulation.read(claim.values);
    Schedule schedule;
    if (!is_timed) found = rough(schedule = one_after_the_other(problem, found));
    std::optional<Schedule> earlier = retime(problem, found);
    if (!earlier && is_timed) return undecided("the solver's solution is no schedule");
    answer.verdict = AnySchedule::Verdict::kExists;
    answer.schedule = earlier ? std::move(*earlier) : std::move(schedule);
  } else if (claim.status == EngineStatus::kInfeasible && formulation.memory_is_exact()) {
    answer.verdict = AnySchedule::Verdict::kNone;
  }
  if (claim.bound && formulation.memory_is_exact()) answer.bound = (goal.constant + *claim.bound) * goal.unit;
  return answer;
}

}  // namespace

AnySchedule find_any_schedule(const Problem& problem, const Budget& budget, const AnyScheduleOptions& options) {
  const auto engine = options.engine ? options.engine : cp_sat_engine();
  if (std::string reason = engine->unavailable_because(); !reason.empty()) return undecided(std::move(reason));
  const auto too_large = [&](std::size_t size) {
    return undecided(
        fmt::format("the model would have {} intervals, expected at most {}", size, options.most_intervals));
  };
  if (const std::size_t size = choice_count(problem); size > options.most_intervals) return too_large(size);
  const TimeUnit unit = options.deadline ? exact_unit(problem) : TimeUnit{Duration(1), false, true};
  const auto space = std::make_shared<const ScheduleSpace>(problem, unit);
  if (const std::size_t size = cp_size(*space).intervals; size > options.most_intervals) return too_large(size);
  std::int64_t horizon = space->horizon();
  if (options.deadline) horizon = std::min(horizon, unit.ticks(*options.deadline));
  const auto formulation = std::make_shared<const CpFormulation>(space, horizon);
  const auto model = std::make_shared<CpModel>(formulation->model());
  // Without an objective the first solution ends the search.
  Goal goal = goal_of(options.goal, *space, *formulation, *model);
  model->minimise(std::move(goal.terms));
  EngineLimits limits;
  limits.seconds = budget.remaining();
  limits.work = options.work;
  limits.seed = options.seed;
  limits.deterministic = true;
  const Claim<CpModel> claim = run<CpModel>(engine, model, limits, [&] { return budget.expired(); });
  return conclude(problem, *formulation, goal, options.deadline.has_value(), claim);
}

AnySchedule ask_if_small(const Problem& problem, const Budget& budget, AnyScheduleOptions options) {
  constexpr double kWork = 60;           // deterministic seconds, where there has to be an answer
  constexpr double kWorkToMinimise = 2;  // where there is one, and a better one or a bound is wanted
  if (const std::size_t size = choice_count(problem); size > kMostChoicesOfSmall) {
    return undecided(fmt::format("{} choices, expected at most {}", size, kMostChoicesOfSmall));
  }
  const bool by_clock = budget.remaining() && !budget.work_limit();
  if (!by_clock) options.work = options.goal == UntimedGoal::kNothing ? kWork : kWorkToMinimise;
  return find_any_schedule(problem, budget, options);
}

Schedule one_after_the_other(const Problem& problem, const RoughSchedule& steps) {
  struct Step {
    double start = 0;
    bool takes_time = false;
    TaskId task;  ///< of a transfer, the producer
    bool is_transfer = false;
    std::size_t index = 0;  ///< among the tasks or transfers
    Duration duration;
  };
  std::vector<Step> all;
  Schedule schedule;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const Duration duration = problem.mode(TaskId(t), steps.modes[t]).duration;
    schedule.tasks.push_back({steps.modes[t], Duration()});
    all.push_back({steps.starts[t], duration > Duration(), TaskId(t), false, t, duration});
  }
  for (const RoughSchedule::Transfer& transfer : steps.transfers) {
    const Duration duration = *problem.transfer_time(transfer.value, transfer.source, transfer.destination);
    const std::size_t index = schedule.transfers.size();
    schedule.transfers.push_back({transfer.value, transfer.source, transfer.destination, {}, {}});
    all.push_back({transfer.start, duration > Duration(), *problem.producer(transfer.value), true, index, duration});
  }
  // Ascending ids are a topological order, which decides between things that take no time.
  const auto rank = [](const Step& step) {
    return std::tuple(step.start, step.takes_time, step.task, step.is_transfer, step.index);
  };
  std::sort(all.begin(), all.end(), [&](const Step& a, const Step& b) { return rank(a) < rank(b); });
  Duration now;
  for (const Step& step : all) {
    if (step.is_transfer) {
      schedule.transfers[step.index].start = now;
      schedule.transfers[step.index].end = now + step.duration;
    } else {
      schedule.tasks[step.index].start = now;
    }
    now += step.duration;
  }
  std::sort(schedule.transfers.begin(), schedule.transfers.end(), [](const Transfer& a, const Transfer& b) {
    return std::tuple(a.value, a.destination) < std::tuple(b.value, b.destination);
  });
  return schedule;
}

}  // namespace opweave::exact
