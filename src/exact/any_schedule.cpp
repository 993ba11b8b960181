#include "exact/any_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "exact/cp_formulation.h"
#include "exact/retime.h"
#include "exact/schedule_space.h"

namespace opweave::exact {
namespace {

AnySchedule undecided(std::string message) {
  AnySchedule answer;
  answer.message = std::move(message);
  return answer;
}

AnySchedule conclude(const Problem& problem, const CpFormulation& formulation, const Claim<CpModel>& claim) {
  AnySchedule answer;
  answer.message = claim.message;
  answer.abandoned = claim.abandoned;
  if (claim.has_solution()) {
    Schedule schedule = one_after_the_other(problem, formulation.read(claim.values));
    if (std::optional<Schedule> earlier = retime(problem, rough(schedule))) schedule = std::move(*earlier);
    answer.verdict = AnySchedule::Verdict::kExists;
    answer.schedule = std::move(schedule);
  } else if (claim.status == EngineStatus::kInfeasible && formulation.memory_is_exact()) {
    answer.verdict = AnySchedule::Verdict::kNone;
  }
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
  const auto space = std::make_shared<const ScheduleSpace>(problem, TimeUnit{Duration(1), false, true});
  if (space->is_empty()) {
    AnySchedule answer;
    answer.verdict = AnySchedule::Verdict::kNone;
    return answer;
  }
  if (const std::size_t size = cp_size(*space).intervals; size > options.most_intervals) return too_large(size);
  const auto formulation = std::make_shared<const CpFormulation>(space);
  // Without an objective the first solution ends the search.
  const auto model = std::make_shared<CpModel>(formulation->model());
  model->minimise({});
  EngineLimits limits;
  limits.seconds = budget.remaining();
  limits.work = options.work;
  limits.seed = options.seed;
  limits.deterministic = true;
  return conclude(problem, *formulation, run<CpModel>(engine, model, limits, [&] { return budget.expired(); }));
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
