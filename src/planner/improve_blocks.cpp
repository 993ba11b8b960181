#include "planner/improve_blocks.h"

#include <fmt/format.h>

#include <utility>

#include "coarsen/repeated_blocks.h"
#include "planner/listed.h"
#include "planner/minimise_makespan.h"

namespace opweave {
namespace {

/// Share of the time for the problem with few blocks.
constexpr double kShare = 0.25;

}  // namespace

std::optional<Start> improve_blocks(const Problem& problem, const Budget& budget, double step,
                                    const PlannerOptions& options, IncumbentStore& incumbent) {
  const Budget for_steps = budget.keeping(2 * step);
  if (for_steps.expired()) return std::nullopt;
  const auto blocks = coarsen::RepeatedBlocks::find(problem);
  if (!blocks || for_steps.expired()) return std::nullopt;
  PlannerOptions few = options;
  few.warm_start.reset();
  few.on_progress = {};
  const Finding finding = minimise_makespan(blocks->problem(), for_steps.share(kShare), few);
  if (!finding.schedule || for_steps.expired()) return std::nullopt;
  auto modes = blocks->expand(problem, *finding.schedule);
  if (!modes) return std::nullopt;
  std::optional<Schedule> schedule = listed(problem, std::move(*modes));
  if (!schedule) return std::nullopt;
  const Duration makespan = schedule->makespan(problem);
  const std::string method = fmt::format("{} blocks like those of a plan for few", blocks->block_count());
  if (makespan >= *incumbent.makespan() || !incumbent.offer(*schedule, method)) return std::nullopt;
  return Start{std::move(*schedule), makespan, method};
}

}  // namespace opweave
