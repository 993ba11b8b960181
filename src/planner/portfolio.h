/// Methods side by side on one incumbent.
#pragma once

#include <memory>
#include <vector>

#include "opweave/budget.h"
#include "planner/incumbent.h"

namespace opweave {

/// A method that works on the shared incumbent as long as it is let: it begins from the best plan, offers what it finds
/// better, and claims bounds. Keeps what it has learnt between two calls.
class Lane {
 public:
  Lane() = default;
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;
  virtual ~Lane() = default;

  /// Works until the budget ends, as it does when the incumbent is optimal.
  virtual void advance(const Budget& budget) = 0;
  /// Nothing more can come of it.
  [[nodiscard]] virtual bool is_done() const { return false; }
};

/// Lanes that share a thread, each with its share of the time.
struct Worker {
  struct Turn {
    std::unique_ptr<Lane> lane;
    double share = 1;  ///< of a round, beside those of the others
  };
  std::vector<Turn> turns;
};

/// Runs every worker in a thread of its own, the first one in the caller's, until the budget ends, the incumbent is
/// optimal or all lanes are done. Within a worker the lanes take turns in rounds, each twice as long as the one before:
/// short at first, so that every method is heard early, and long in the end, for those that need time.
/// \pre the budget has a deadline
void run_portfolio(std::vector<Worker> workers, const Budget& budget, const IncumbentStore& incumbent);

}  // namespace opweave
