#include "planner/order_methods.h"

#include <algorithm>
#include <string>

#include "order_search/order_search.h"
#include "planner/offers.h"
#include "planner/routing_method.h"

namespace opweave {
namespace {

/// Share of a thread beside the routing search.
constexpr double kShareOfTurns = 0.5;
/// Temperature at which a turn begins, in mean durations: it refines what is good already.
constexpr double kInitialTemperatureOfTurns = 1;
/// Starts of different placements that get a trial, at every initial temperature, before the best of them gets the
/// rest.
constexpr std::size_t kOrderTrials = 3;
/// Share of the slice that all trials get together.
constexpr double kOrderTrialShare = 0.3;
/// Temperatures of the order search to choose from, in mean durations. A start that was built for
/// operators wants a low one; one that was built for whole stages must be taken apart first (docs/order-search.md).
constexpr double kInitialTemperatures[] = {4, 0.4};

}  // namespace

bool OrderTurns::supports(const ProblemTraits& traits) {
  return RoutingMethod::supports(traits) && traits.routing_model()->needs_exact_timing();
}

double OrderTurns::share(const ProblemTraits&) { return kShareOfTurns; }

void OrderTurns::advance(IncumbentStore& incumbent, const Slice& slice) {
  constexpr const char* kName = "order search";
  Offers offers(incumbent, slice, kName);
  const Schedule found = improve_order(problem_, incumbent.schedule(), slice.budget,
                                       {seed_++, slice.most_evaluations(), kInitialTemperatureOfTurns},
                                       [&](const Schedule& schedule) { offers.remember(schedule); });
  incumbent.offer(found, kName);
}

bool OrdersOfStarts::supports(const ProblemTraits& traits) { return !RoutingMethod::supports(traits); }

double OrdersOfStarts::share(const ProblemTraits&) { return 1; }

/// Afterwards each attempt holds its best schedule, and each start the best of its attempts.
void OrdersOfStarts::run(std::vector<Attempt>& attempts, IncumbentStore& incumbent, const Slice& slice) const {
  const Problem& problem = context_.problem();
  const auto method = [](const Attempt& attempt) { return "order search from " + attempt.start->method; };
  slice.each(attempts.size(), [&](std::size_t i, const Slice& own) {
    Attempt& attempt = attempts[i];
    Offers offers(incumbent, own, method(attempt));
    attempt.result = improve_order(problem, attempt.start->schedule, own.budget,
                                   {attempt.seed, own.most_evaluations(), attempt.initial_temperature},
                                   [&](const Schedule& schedule) { offers.remember(schedule); });
  });
  // In the order of the attempts, so that the incumbent's trajectory is repeatable where the work is.
  for (const Attempt& attempt : attempts) incumbent.offer(attempt.result, method(attempt));
  for (const Attempt& attempt : attempts) {
    const Duration makespan = attempt.result.makespan(problem);
    if (makespan < attempt.start->makespan) *attempt.start = {attempt.result, makespan, attempt.start->method};
  }
}

void OrdersOfStarts::advance(IncumbentStore& incumbent, const Slice& slice) {
  const std::uint64_t seed = seed_++;
  std::vector<Start>& starts = context_.starts;
  std::vector<Attempt> attempts;
  for (std::size_t i = 0; i < std::min(kOrderTrials, starts.size()); ++i) {
    for (const double initial_temperature : kInitialTemperatures)
      attempts.push_back({&starts[i], seed + i, initial_temperature, {}});
  }
  run(attempts, incumbent, slice.share(kOrderTrialShare));
  if (incumbent.is_optimal() || slice.budget.expired()) return;
  const Problem& problem = context_.problem();
  const Attempt winner =
      *std::ranges::min_element(attempts, {}, [&](const Attempt& attempt) { return attempt.result.makespan(problem); });
  attempts.clear();
  for (std::size_t i = 0; i < slice.parallel_searches(); ++i) {
    attempts.push_back({winner.start, seed + 1000 + i, winner.initial_temperature, {}});
  }
  Slice rest = slice;  // of the time, what is left
  if (rest.evaluations) rest = slice.share(1 - kOrderTrialShare);
  rest.budget = slice.budget;
  run(attempts, incumbent, rest);
  std::ranges::stable_sort(starts, {}, &Start::makespan);
}

}  // namespace opweave
