#include "planner/order_methods.h"

#include <algorithm>
#include <string>

#include "order_search/order_search.h"
#include "placement_search/carried_moves.h"
#include "planner/offers.h"
#include "planner/routing_method.h"
#include "planner/step_placement_method.h"

namespace opweave {
namespace {

/// Share of a thread beside the routing search.
constexpr double kShareOfTurns = 0.5;
/// Temperature at which a turn begins, in mean durations: it refines what is good already.
constexpr double kInitialTemperatureOfTurns = 1;
/// Starts of different placements that get a trial, at every initial temperature, before the best of them gets the
/// rest.
constexpr std::size_t kOrderTrials = 3;
/// The same where some of the placements were searched: of these the best kOrderTrials get a second trial.
constexpr std::size_t kSearchedTrials = 6;
constexpr std::uint64_t kSeedOfFinalists = 500;
/// Share of the slice that all trials get together.
constexpr double kOrderTrialShare = 0.3;
/// Temperatures of the order search to choose from, in mean durations. A start that was built for
/// operators wants a low one; one that was built for whole stages must be taken apart first (docs/order-search.md).
constexpr double kInitialTemperatures[] = {4, 0.4};
constexpr double kListScheduleTemperature = 0.4;
/// Share of what is left after the trials for moves of bundles that keep the order, where placements are searched; of
/// less work nothing comes.
constexpr double kMoveShare = 0.5;
constexpr std::uint64_t kFewestMoveOrders = 5000;
/// The best guess and the best searched placement share what is left at the end where the longer is so much longer at
/// most: what the trials of either come to says no more than that.
constexpr double kContested = 1.02;
/// In steps of so many tasks, whose orders soon get no better: in others half of the time is missed by either.
constexpr std::size_t kMostContestedTasks = 2000;

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
    if (makespan >= attempt.start->makespan) continue;
    attempt.start->schedule = attempt.result;
    attempt.start->makespan = makespan;
  }
}

/// The best starts at every initial temperature. Where some placements were searched, more of those, and the best one
/// that was guessed in any case: whose list schedule is shorter need not be whose best order is.
std::vector<OrdersOfStarts::Attempt> OrdersOfStarts::trials(std::uint64_t seed) const {
  std::vector<Start>& starts = context_.starts;
  std::vector<Attempt> attempts;
  const auto add = [&](Start& start, std::size_t number) {
    for (const double initial_temperature : kInitialTemperatures) {
      if (start.is_guessed || initial_temperature == kListScheduleTemperature)
        attempts.push_back({&start, seed + number, initial_temperature, {}});
    }
  };
  if (std::ranges::all_of(starts, &Start::is_guessed)) {
    for (std::size_t i = 0; i < std::min(kOrderTrials, starts.size()); ++i) add(starts[i], i);
    return attempts;
  }
  const auto guess = std::ranges::find_if(starts, &Start::is_guessed);
  std::size_t number = 0;
  if (guess != starts.end()) add(*guess, number++);
  for (Start& start : starts) {
    if (number == kSearchedTrials) break;
    if (guess == starts.end() || &start != &*guess) add(start, number++);
  }
  return attempts;
}

/// The best attempts, one per start, with what they found and another seed; of the best guess in any case.
std::vector<OrdersOfStarts::Attempt> OrdersOfStarts::finalists(std::vector<Attempt> attempts) const {
  const Problem& problem = context_.problem();
  std::ranges::stable_sort(attempts, {}, [&](const Attempt& attempt) { return attempt.result.makespan(problem); });
  std::vector<Attempt> best;
  bool has_guess = std::ranges::none_of(attempts, [](const Attempt& attempt) { return attempt.start->is_guessed; });
  for (Attempt& attempt : attempts) {
    if (std::ranges::find(best, attempt.start, &Attempt::start) != best.end()) continue;
    const bool is_guess = attempt.start->is_guessed;
    if (best.size() + (has_guess || is_guess ? 0 : 1) >= kOrderTrials) continue;
    has_guess |= is_guess;
    attempt.seed += kSeedOfFinalists;
    best.push_back(std::move(attempt));
  }
  return best;
}

bool OrdersOfStarts::moves_bundles(const Slice& slice) const {
  return context_.options.searches_placement && StepPlacementMethod::supports(context_.traits) &&
         slice.most_evaluations() >= kFewestMoveOrders;
}

/// Moves bundles of a start; true if that made it shorter.
bool OrdersOfStarts::improve_placement(Start& start, IncumbentStore& incumbent, const Slice& slice,
                                       std::uint64_t seed) const {
  const Problem& problem = context_.problem();
  const std::string method = "layers moved from " + start.method;
  std::vector<Schedule> found(slice.parallel_searches(), start.schedule);
  slice.each(found.size(), [&](std::size_t i, const Slice& own) {
    Offers offers(incumbent, own, method);
    found[i] = move_bundles(problem, start.schedule, own.budget, {seed + i, own.most_evaluations()},
                            [&](const Schedule& schedule) { offers.remember(schedule); });
  });
  bool is_shorter = false;
  for (Schedule& schedule : found) {
    const Duration makespan = schedule.makespan(problem);
    incumbent.offer(schedule, method);
    if (makespan >= start.makespan) continue;
    start = {std::move(schedule), makespan, method, false};
    is_shorter = true;
  }
  return is_shorter;
}

void OrdersOfStarts::advance(IncumbentStore& incumbent, const Slice& slice) {
  const std::uint64_t seed = seed_++;
  std::vector<Attempt> attempts = trials(seed);
  if (std::ranges::all_of(context_.starts, &Start::is_guessed)) {
    run(attempts, incumbent, slice.share(kOrderTrialShare));
  } else {
    run(attempts, incumbent, slice.share(kOrderTrialShare / 2));
    if (incumbent.is_optimal() || slice.budget.expired()) return;
    attempts = finalists(std::move(attempts));
    run(attempts, incumbent, slice.share(kOrderTrialShare / 2));
  }
  if (incumbent.is_optimal() || slice.budget.expired()) return;
  const Problem& problem = context_.problem();
  std::ranges::stable_sort(attempts, {}, [&](const Attempt& attempt) { return attempt.result.makespan(problem); });
  const Attempt winner = attempts.front();
  const auto other = std::ranges::find_if(
      attempts, [&](const Attempt& attempt) { return attempt.start->is_guessed != winner.start->is_guessed; });
  std::vector<Attempt> last = {winner};
  if (other != attempts.end()) last.push_back(*other);
  Slice rest = slice;  // of the time, what is left
  if (rest.evaluations) rest = slice.share(1 - kOrderTrialShare);
  rest.budget = slice.budget;
  if (moves_bundles(rest)) {
    if (improve_placement(*winner.start, incumbent, rest.share(kMoveShare), seed))
      last.front().initial_temperature = kListScheduleTemperature;
    if (incumbent.is_optimal() || slice.budget.expired()) return;
    if (rest.evaluations) rest = rest.share(1 - kMoveShare);
    rest.budget = slice.budget;
  }
  const auto length = [](const Attempt& attempt) { return static_cast<double>(attempt.start->makespan.value()); };
  const bool is_contested = last.size() > 1 && problem.task_count() <= kMostContestedTasks &&
                            length(last.back()) <= kContested * length(last.front());
  last.resize(is_contested ? 2 : 1, winner);
  attempts.clear();
  for (std::size_t i = 0; i < std::max(last.size(), slice.parallel_searches()); ++i) {
    const Attempt& again = last[i % last.size()];
    attempts.push_back({again.start, seed + 1000 + i, again.initial_temperature, {}});
  }
  run(attempts, incumbent, rest);
  std::ranges::stable_sort(context_.starts, {}, &Start::makespan);
}

}  // namespace opweave
