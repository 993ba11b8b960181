#include "memory_modes/every_choice.h"

#include <algorithm>

#include "memory_modes/unfold.h"
#include "opweave/error.h"

namespace opweave {
namespace {

constexpr std::uint64_t kMostChoices = 81;
constexpr std::size_t kMostTasks = 40;

bool can_be_unfolded(const Problem& problem) {
  try {
    (void)unfold(problem);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

}  // namespace

EveryChoice::EveryChoice(const Problem& problem, const Budget& budget, const PlannerOptions& options)
    : problem_(problem), budget_(budget), options_(options) {
  if (problem.task_count() > kMostTasks || !can_be_unfolded(problem)) return;
  count_ = 1;
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const MemoryModes allowed =
        problem.graph().memory_modes(problem.tensor_of(ValueId(v)), problem.settings().memory_modes);
    Free free{ValueId(v), {MemoryMode::kKeep}};
    if (allowed.host) free.modes.push_back(MemoryMode::kHost);
    if (allowed.drop) free.modes.push_back(MemoryMode::kDrop);
    if (free.modes.size() == 1) continue;
    count_ *= free.modes.size();
    free_.push_back(std::move(free));
    if (count_ > kMostChoices) {
      count_ = 0;
      return;
    }
  }
}

MemoryChoice EveryChoice::choice(std::uint64_t number) const {
  MemoryChoice result(problem_.value_count(), MemoryMode::kKeep);
  for (const Free& free : free_) {
    result[free.value.index()] = free.modes[number % free.modes.size()];
    number /= free.modes.size();
  }
  return result;
}

std::optional<Duration> EveryChoice::plan(ModeIncumbent& incumbent) {
  PlannerOptions inner = options_;
  inner.warm_start.reset();
  inner.on_progress = nullptr;
  std::optional<Duration> least;
  bool is_complete = true;
  for (std::uint64_t number = 0; number < count_; ++number) {
    const auto left = count_ - number;
    if (incumbent.is_optimal()) return std::nullopt;
    std::optional<ProblemWithMovements> derived;
    try {
      derived = ProblemWithMovements::create(problem_, choice(number));
    } catch (const InputError&) {
      continue;  // units that need each other, or no host: a choice without a plan
    }
    Budget part = budget_.share(1.0 / static_cast<double>(left));
    if (const auto work = budget_.work_limit()) part = part.with_work(std::max<std::uint64_t>(1, *work / count_));
    const PlanResult result = opweave::plan(derived->problem(), part, inner);
    if (result.reason == PlanResult::Reason::kInfeasible) continue;
    if (result.plan) {
      incumbent.offer(*derived, to_schedule(derived->problem(), *result.plan), result.plan->provenance.method);
    }
    is_complete = is_complete && result.plan.has_value();
    const Duration bound = result.plan ? result.plan->lower_bound() : Duration();
    least = least ? std::min(*least, bound) : bound;
  }
  proves_infeasible_ = is_complete && !least;
  return is_complete ? least : std::nullopt;
}

}  // namespace opweave
