/// What other searches of the same problem have found.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "opweave/plan.h"
#include "opweave/planner.h"
#include "opweave/schedule.h"

namespace opweave {

class IncumbentStore;

/// Brings plans and bounds from elsewhere to a search that runs; any thread may offer, before it begins and while it
/// runs. What the search finds itself is told by PlannerOptions::on_progress.
class Exchange {
 public:
  /// A schedule of the problem that is searched. It is checked as every other one.
  void offer(Schedule schedule, std::string method);
  /// A bound that is proven for the problem that is searched.
  void raise_bound(LowerBound bound);

  /// For plan(): everything goes to this store, what was offered before among it, until it is detached.
  void attach(IncumbentStore& store);
  /// Nothing if another one is attached.
  void detach(const IncumbentStore& store);

 private:
  void deliver();

  std::mutex mutex_;
  IncumbentStore* store_ = nullptr;
  std::optional<std::pair<Schedule, std::string>> schedule_;  ///< not delivered yet
  std::optional<LowerBound> bound_;
};

/// plan() that listens to what others find for the same problem, where the makespan is the only objective, without
/// deadline and blocks, by the methods auto and heuristic.
[[nodiscard]] PlanResult plan(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                              const std::shared_ptr<Exchange>& exchange);

}  // namespace opweave
