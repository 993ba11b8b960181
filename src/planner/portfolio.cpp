#include "planner/portfolio.h"

#include <algorithm>
#include <thread>

namespace opweave {
namespace {

/// Seconds of the first round of a shift.
constexpr double kFirstRound = 0.5;

void run_shift(Shift& shift, const Budget& budget) {
  for (double round = kFirstRound; !budget.expired() && !shift.turns.empty(); round *= 2) {
    double all = 0;
    for (const Shift::Turn& turn : shift.turns) all += turn.share;
    // A last round that would be cut short is shared out over what is left instead.
    const double left = budget.remaining().value_or(round);
    if (left < 2 * round) round = left;
    for (Shift::Turn& turn : shift.turns) {
      if (budget.expired()) return;
      const double slice = shift.turns.size() == 1 ? left : round * turn.share / all;
      turn.lane->advance(budget.share(std::min(1.0, slice / std::max(1e-9, budget.remaining().value_or(slice)))));
    }
    std::erase_if(shift.turns, [](const Shift::Turn& turn) { return turn.lane->is_done(); });
  }
}

}  // namespace

void run_portfolio(std::vector<Shift> shifts, const Budget& given, const IncumbentStore& incumbent) {
  const Budget budget = given.until(&incumbent.is_final());
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < shifts.size(); ++i) {
    threads.emplace_back([&, i] { run_shift(shifts[i], budget); });
  }
  if (!shifts.empty()) run_shift(shifts.front(), budget);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace opweave
