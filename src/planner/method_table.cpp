#include "planner/method_table.h"

#include "opweave/error.h"
#include "planner/construction.h"
#include "planner/cp_sat_method.h"
#include "planner/cp_sat_targets_method.h"
#include "planner/levels_method.h"
#include "planner/order_methods.h"
#include "planner/periodic_plans.h"
#include "planner/repeated_blocks_method.h"
#include "planner/routing_method.h"
#include "planner/step_placement_method.h"

namespace opweave {
namespace {

// docs/architecture.md shows the same rows (tests/planner/method_table_test.cpp).
constexpr MethodRow kMethodRows[] = {
    method_row<PeriodicPlans>("kernels and their ramps", MethodPhase::kFirstPlans, MethodThreads::kAll),
    method_row<ConstructionMethod>("construction", MethodPhase::kFirstPlans, MethodThreads::kAll),
    method_row<RepeatedBlocksMethod>("repeated blocks", MethodPhase::kBefore, MethodThreads::kAll, 100),
    method_row<LevelsMethod>("levels", MethodPhase::kBefore, MethodThreads::kAll, 100),
    method_row<StepPlacementMethod>("placement of training steps", MethodPhase::kBefore, MethodThreads::kAll),
    method_row<CpSatProof>("CP-SAT for a proof", MethodPhase::kBefore, MethodThreads::kOwn, 200),
    method_row<RoutingMethod>("routing search", MethodPhase::kTogether, MethodThreads::kEach),
    method_row<OrderTurns>("order search in turns", MethodPhase::kTogether, MethodThreads::kEach),
    method_row<OrdersOfStarts>("order search from several starts", MethodPhase::kTogether, MethodThreads::kAll),
    method_row<CpSatMethod>("CP-SAT, whole and windows", MethodPhase::kTogether, MethodThreads::kOwn, 200),
    method_row<CpSatTargetsMethod>("CP-SAT on targets", MethodPhase::kTogether, MethodThreads::kOwn, 200),
};

}  // namespace

std::string_view to_string(MethodPhase phase) {
  switch (phase) {
    case MethodPhase::kFirstPlans:
      return "first plans";
    case MethodPhase::kBefore:
      return "before";
    case MethodPhase::kTogether:
      return "together";
  }
  throw InternalError("unknown phase");
}

std::string_view to_string(MethodThreads threads) {
  switch (threads) {
    case MethodThreads::kAll:
      return "all";
    case MethodThreads::kEach:
      return "each";
    case MethodThreads::kOwn:
      return "own";
  }
  throw InternalError("unknown threads");
}

std::span<const MethodRow> search_methods() { return kMethodRows; }

}  // namespace opweave
