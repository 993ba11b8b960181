/// Search over placement and order at once, for problems whose placement is open.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>

#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "placement_search/routing_model.h"

namespace opweave {

/// Tabu search with restarts (docs/routing-search.md): tasks of the critical path go anywhere on any of their devices,
/// groups change their devices as a whole. Goes on where it stopped, so that a longer run is the shorter one and more.
class RoutingSearch {
 public:
  /// \pre start is valid for the problem of the model
  RoutingSearch(std::shared_ptr<const routing::Model> model, const Schedule& start, std::uint64_t seed);
  ~RoutingSearch();

  /// Searches on until about that many evaluations have been made since construction, or `should_stop`, which is asked
  /// every few dozen of them. An evaluation is the longest paths without one task, or the times of one order. The
  /// state after some number of evaluations depends on model, start, seed and what was adopted when, and on nothing
  /// else.
  /// \param on_improvement  called with every new best schedule; may be empty
  void advance(std::uint64_t evaluations, const std::function<bool()>& should_stop,
               const std::function<void(const Schedule&)>& on_improvement);
  /// Goes on from this valid schedule if it is better than the best.
  void adopt(const Schedule& schedule);

  [[nodiscard]] std::uint64_t evaluations() const;
  /// Valid, and at most as long as the start and everything adopted.
  [[nodiscard]] const Schedule& best() const;
  [[nodiscard]] Duration makespan() const;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace opweave
