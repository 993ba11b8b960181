#include "planner/placement_offers.h"

#include <atomic>
#include <utility>

#include "list_scheduling/list_schedule.h"
#include "order_search/order_search.h"
#include "placement/placement.h"

namespace opweave {
namespace {

/// Share of what is left of the time, and of the work, that one search for a better order gets.
constexpr double kOfferedOrderShare = 0.2;
constexpr std::uint64_t kOrdersOfWork = 16;

}  // namespace

bool PlacementOffers::offer(const std::vector<ModeIndex>& modes, const std::string& method, const Budget& budget) {
  const Problem& problem = restricted_.problem();
  std::optional<Schedule> best = shortest_list_schedule(problem, modes, budget);
  if (!best) return false;
  if (deadline_ && best->makespan(problem) > *deadline_ && !budget.expired()) {
    std::atomic<bool> is_in_time = false;
    OrderSearchOptions search;
    search.seed = seed_;
    if (budget.work_limit()) search.max_evaluations = *budget.work_limit() / kOrdersOfWork;
    best = improve_order(problem, *best, budget.share(kOfferedOrderShare).until(&is_in_time), search,
                         [&](const Schedule& schedule) {
                           if (schedule.makespan(problem) <= *deadline_) is_in_time = true;
                         });
  }
  return store_.offer(restricted_.widen(std::move(*best)), method);
}

void PlacementOffers::offer_guesses(const Budget& budget) {
  PlacementGuesses guesses(restricted_.problem());
  while (!budget.expired()) {
    const std::optional<PlacementGuess> guess = guesses.next();
    if (!guess) return;
    if (!budget.expired()) offer(guess->modes, guess->method, budget);
  }
}

}  // namespace opweave
