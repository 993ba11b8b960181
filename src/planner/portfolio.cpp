#include "planner/portfolio.h"
#include "planner/side_by_side.h"

#include <algorithm>

namespace opweave {
namespace {

/// Seconds of the first round of a worker.
constexpr double kFirstRound = 0.5;

void run_worker(Worker& worker, const Budget& budget) {
  for (double round = kFirstRound; !budget.expired() && !worker.turns.empty(); round *= 2) {
    double all = 0;
    for (const Worker::Turn& turn : worker.turns) all += turn.share;
    // A last round that would be cut short is shared out over what is left instead.
    const double left = budget.remaining().value_or(round);
    if (left < 2 * round) round = left;
    for (Worker::Turn& turn : worker.turns) {
      if (budget.expired()) return;
      const double slice = worker.turns.size() == 1 ? left : round * turn.share / all;
      turn.lane->advance(budget.share(std::min(1.0, slice / std::max(1e-9, budget.remaining().value_or(slice)))));
    }
    std::erase_if(worker.turns, [](const Worker::Turn& turn) { return turn.lane->is_done(); });
  }
}

}  // namespace

void run_portfolio(std::vector<Worker> workers, const Budget& given, const IncumbentStore& incumbent) {
  const Budget budget = given.until(&incumbent.is_final());
  side_by_side(workers.size(), [&](std::size_t i) { run_worker(workers[i], budget); });
}

}  // namespace opweave
