#include "planner/step_placement_method.h"

#include "placement_search/training_placement.h"
#include "planner/improve_placements.h"
#include "planner/routing_method.h"

namespace opweave {
namespace {

/// Share of the time before the order search, which follows it: at most, as long as it gets on.
constexpr double kStepPlacementShare = 0.5;

}  // namespace

bool StepPlacementMethod::supports(const ProblemTraits& traits) {
  return TrainingPlacement::applies_to(traits.problem) && !RoutingMethod::supports(traits);  // the quick one first
}

double StepPlacementMethod::share(const ProblemTraits&) { return kStepPlacementShare; }

void StepPlacementMethod::advance(IncumbentStore& incumbent, const Slice& slice) {
  PlannerOptions options = context_.options;
  options.seed = seed_++;
  options.threads = slice.threads;
  (void)improve_placements(context_.problem(), slice.budget, options, context_.starts, slice.evaluations, incumbent);
}

}  // namespace opweave
