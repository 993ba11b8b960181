#include "planner/improve_blocks.h"

#include <fmt/format.h>

#include <utility>

#include "coarsen/repeated_blocks.h"
#include "list_scheduling/listed.h"
#include "planner/improve_levels.h"

namespace opweave {
namespace {

/// Share of the time for the problem with few blocks.
constexpr double kShare = 0.25;

/// The best schedule by levels; nothing if none is found in time.
std::optional<Schedule> plan_few(const Problem& problem, const Budget& budget, const PlannerOptions& options) {
  IncumbentStore store(problem, budget, {});
  const Construction construction = construct(problem, budget, store);
  if (construction.starts.empty()) return std::nullopt;
  const Start& first = construction.starts.front();
  std::optional<Start> better = improve_levels(problem, budget, construction.longest_step, options, first, store);
  return better ? std::move(better->schedule) : first.schedule;
}

}  // namespace

std::optional<Start> improve_blocks(const Problem& problem, const Budget& budget, double step,
                                    const PlannerOptions& options, IncumbentStore& incumbent) {
  const Budget for_steps = budget.keeping(2 * step);
  if (for_steps.expired()) return std::nullopt;
  const auto blocks = coarsen::RepeatedBlocks::find(problem);
  if (!blocks || for_steps.expired()) return std::nullopt;
  const auto few = plan_few(blocks->problem(), for_steps.share(kShare), options);
  if (!few || for_steps.expired()) return std::nullopt;
  auto modes = blocks->expand(problem, *few);
  if (!modes) return std::nullopt;
  std::optional<Schedule> schedule = listed(problem, std::move(*modes));
  if (!schedule) return std::nullopt;
  const Duration makespan = schedule->makespan(problem);
  const std::string method = fmt::format("{} blocks like those of a plan for few", blocks->block_count());
  if (makespan >= *incumbent.makespan() || !incumbent.offer(*schedule, method)) return std::nullopt;
  return Start{std::move(*schedule), makespan, method};
}

}  // namespace opweave
