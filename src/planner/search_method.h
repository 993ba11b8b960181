/// A way to better plans. Every method is one, and the planner runs nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "exact/engine.h"
#include "opweave/planner.h"
#include "planner/incumbent.h"
#include "planner/problem_traits.h"
#include "planner/slice.h"
#include "planner/starts.h"

namespace opweave {

/// A method that works on the shared incumbent for as long as its slice lasts: it begins from the best plan, offers
/// what it finds better, and claims bounds. Keeps what it has learnt between two slices, so that several of them are
/// one longer search. What it does with a repeatable slice depends on problem, seed and the slices before alone.
class SearchMethod {
 public:
  SearchMethod() = default;
  SearchMethod(const SearchMethod&) = delete;
  SearchMethod& operator=(const SearchMethod&) = delete;
  virtual ~SearchMethod() = default;

  /// Makes a plan as soon as it can, if it can, and comes back with it: for methods that make first plans.
  virtual void find_first(IncumbentStore& /*incumbent*/, const Slice& /*slice*/) {}
  /// Works until the slice ends, as it does when the incumbent is optimal.
  virtual void advance(IncumbentStore& incumbent, const Slice& slice) = 0;
  /// Nothing more can come of it.
  [[nodiscard]] virtual bool is_done() const { return false; }
  /// What it has found is out of reach for the others: it goes on alone.
  [[nodiscard]] virtual bool goes_on_alone() const { return false; }
  /// Evaluations made so far by a method that makes first plans, which takes as many as it needs.
  [[nodiscard]] virtual std::uint64_t evaluations() const { return 0; }
};

/// What the methods of one search share beside the incumbent. All of it outlives them.
struct SearchContext {
  const ProblemTraits& traits;
  const PlannerOptions& options;
  /// Best first. Changed by methods that make first plans, or run alone before the others.
  std::vector<Start> starts = {};
  /// Seconds that a list schedule of the problem takes: no step is begun that may not end in time.
  double step = 0;
  /// True as soon as one method goes on alone.
  bool is_decided = false;
  std::shared_ptr<const exact::CpEngine> solver = exact::cp_sat_engine();

  [[nodiscard]] const Problem& problem() const { return traits.problem; }
};

}  // namespace opweave
