/// First plans: what is known within moments, without search.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "planner/incumbent.h"
#include "planner/search_method.h"

namespace opweave {

struct ConstructionOptions {
  /// Called with every schedule, even if it takes too much memory; may be empty.
  std::function<void(const Schedule& schedule, const std::string& method)> on_schedule = {};
  /// Published schedules as soon as there is one plan, rather than when all placements have been tried.
  bool experts_early = false;
  /// Asked before limits are tuned, which takes the longest; may be empty.
  std::function<bool()> is_enough = {};
  /// Share of the time left then for limits.
  double limits_share = 0.3;
};

/// Offers to an incumbent what the guessed placements give, most promising first: schedules made along with them, list
/// schedules under all priority rules, and the expert schedules that apply. Something is always finished, even past the
/// budget; afterwards no step is begun that may not end in time.
class Construction {
 public:
  /// Problem and incumbent outlive the construction.
  Construction(const Problem& problem, IncumbentStore& incumbent, ConstructionOptions options = {});
  ~Construction();

  /// Works until the incumbent has a plan, or nothing is left that may give one.
  void find_first(const Budget& budget);
  /// All that is left.
  void complete(const Budget& budget);

  /// One per placement, best first.
  [[nodiscard]] const std::vector<Start>& starts() const;
  /// Schedules built.
  [[nodiscard]] std::uint64_t evaluations() const;
  /// First violation of a schedule that should have been valid; empty = none.
  [[nodiscard]] const std::string& rejection() const;
  /// Seconds that a schedule took, or one before the rest could be tried might take.
  [[nodiscard]] double longest_step() const;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Construction as a method: where others go on alone, only what published schedules and the first placement give.
class ConstructionMethod final : public SearchMethod {
 public:
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);

  ConstructionMethod(SearchContext& context, std::uint64_t /*seed*/) : context_(context) {}
  /// Throws InternalError where `check` rejects whatever was built.
  void find_first(IncumbentStore& incumbent, const Slice& slice) override;
  void advance(IncumbentStore& incumbent, const Slice& slice) override;
  [[nodiscard]] std::uint64_t evaluations() const override { return construction_ ? construction_->evaluations() : 0; }

 private:
  Construction& construction(IncumbentStore& incumbent);
  void report();

  SearchContext& context_;
  std::unique_ptr<Construction> construction_;
  std::vector<Start> handed_over_;  ///< by methods that made first plans before
};

}  // namespace opweave
