#include "planner/slice.h"

#include <algorithm>

#include "planner/side_by_side.h"

namespace opweave {
namespace {

/// CP-SAT's deterministic seconds per evaluation and task of the problem. Measured on problems of 96 to 1,500 tasks: an
/// evaluation takes 0.17 to 0.21 us per task, a deterministic second 10 to 15 s.
constexpr double kSolverSecondsPerTask = 1.5e-8;
/// What a call of the solver should have at least, which building and presolving a model takes already, and the calls
/// of a slice.
constexpr double kSolverSecondsPerCall = 0.01;
constexpr double kMostSolverCalls = 4;

}  // namespace

std::size_t Slice::parallel_searches() const { return is_repeatable() ? kRepeatableSearches : std::max(1U, threads); }

std::optional<double> Slice::solver_work(const Problem& problem) const {
  if (!evaluations) return std::nullopt;
  return kSolverSecondsPerTask * static_cast<double>(problem.task_count()) * static_cast<double>(*evaluations);
}

std::uint32_t Slice::solver_calls(const Problem& problem) const {
  const std::optional<double> work = solver_work(problem);
  return work ? static_cast<std::uint32_t>(std::clamp(*work / kSolverSecondsPerCall, 1.0, kMostSolverCalls))
              : std::numeric_limits<std::uint32_t>::max();
}

Slice Slice::share(double fraction) const {
  Slice part{budget.share(fraction), evaluations, threads};
  if (evaluations) part.evaluations = static_cast<std::uint64_t>(static_cast<double>(*evaluations) * fraction);
  return part;
}

Slice Slice::until(const std::atomic<bool>* flag) const { return {budget.until(flag), evaluations, threads}; }

void Slice::each(std::size_t count, const std::function<void(std::size_t, const Slice&)>& job) const {
  const std::size_t workers = std::min<std::size_t>(std::max(1U, threads), count);
  if (workers == 0) return;
  const std::size_t turns = (count + workers - 1) / workers;
  side_by_side(workers, [&](std::size_t worker) {
    std::size_t turns_left = turns;
    for (std::size_t i = worker; i < count; i += workers, --turns_left) {
      Slice own{budget.share(1.0 / static_cast<double>(turns_left)), evaluations, 1};
      if (evaluations) own.evaluations = *evaluations / count;
      job(i, own);
    }
  });
}

}  // namespace opweave
