/// The best plan known, which only improves.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/plan.h"
#include "opweave/planner.h"

namespace opweave {

/// `check` accepts the plan that the schedule makes.
[[nodiscard]] bool is_valid(const Problem& problem, const Schedule& schedule);

/// Shared by all methods that work on one problem, with the bounds that are known. A schedule is a claim until `check`
/// has accepted the plan made of it; claims that fail are dropped and counted. Safe to use from several threads.
class IncumbentStore {
 public:
  IncumbentStore(const Problem& problem, const Budget& budget, std::function<void(const Progress&)> on_progress);
  /// The same incumbent and bounds for a search of its own, whose finds are offered to `from` later. Tells nobody.
  IncumbentStore(const IncumbentStore& from, const Budget& budget);

  /// Takes bounds that are proven. \pre no other thread uses the store
  void state_bounds(std::vector<LowerBound> bounds);
  /// Takes the schedule if it is better than the incumbent (or there is none) and valid.
  bool offer(const Schedule& schedule, const std::string& method);
  /// Takes a bound that a solver claims, if it is above all known ones. A claim above a plan that `check` accepts is
  /// wrong, and is dropped as soon as there is one.
  bool raise_bound(LowerBound bound);
  /// Largest bound; 0 without any.
  [[nodiscard]] Duration lower_bound() const;
  /// Makespan of the incumbent.
  [[nodiscard]] std::optional<Duration> makespan() const;
  /// The incumbent's schedule. \pre makespan() has a value.
  [[nodiscard]] Schedule schedule() const;
  [[nodiscard]] std::string method() const;
  /// The incumbent reaches the lower bound: nothing is left to do.
  [[nodiscard]] bool is_optimal() const;
  /// For Budget::until(): true as soon as the incumbent is optimal, or was accepted when the budget had ended - as it
  /// does where a better plan is of no use.
  [[nodiscard]] const std::atomic<bool>& is_final() const { return is_final_; }
  /// Largest first.
  [[nodiscard]] std::vector<LowerBound> bounds() const;
  [[nodiscard]] std::vector<Improvement> trajectory() const;
  /// First violation of the last claim that was dropped, empty if there was none.
  [[nodiscard]] std::string last_rejection() const;

 private:
  void find_lower_bound();
  // Both are called with the mutex held, or before other threads use the store.
  void tell() const;
  [[nodiscard]] std::vector<LowerBound> all_bounds() const;

  const Problem& problem_;
  const Budget& budget_;
  std::vector<LowerBound> proven_;
  const std::function<void(const Progress&)> on_progress_;

  mutable std::mutex mutex_;
  std::vector<LowerBound> claimed_;
  Duration lower_bound_;
  std::optional<Schedule> schedule_;
  Duration makespan_;
  std::string method_;
  std::vector<Improvement> trajectory_;
  std::string last_rejection_;
  std::atomic<bool> is_final_ = false;
};

}  // namespace opweave
