/// CP-SAT asked for schedules of given lengths: where there is none, that is a lower bound (docs/windows.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "exact/schedule_space.h"
#include "planner/search_method.h"

namespace opweave {

/// Asks the lag program for a schedule shorter than the incumbent, and where no answer comes in time for ever shorter
/// ones, down to the lower bound: short targets are refuted fast, because they leave tasks little room. A refuted
/// target is a bound, whatever memory and contention there are; a met one gives placement and orders, which are timed
/// exactly and offered. What the solver says is a claim, as in CpSatMethod.
class CpSatTargetsMethod final : public SearchMethod {
 public:
  /// One microbatch, open placement, a program that is small enough, and something to send: without transfers the
  /// program of the whole is as small, and says more.
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);

  CpSatTargetsMethod(const SearchContext& context, std::uint64_t seed);
  void advance(IncumbentStore& incumbent, const Slice& slice) override;
  [[nodiscard]] bool is_done() const override { return is_done_; }
  /// The program leaves nothing out: it can prove the incumbent optimal, and what it finds is a schedule.
  [[nodiscard]] static bool is_exact(const ProblemTraits& traits);

 private:
  /// Next target in ticks; nothing if all have been decided.
  [[nodiscard]] std::optional<std::int64_t> next_target(const IncumbentStore& incumbent) const;
  void ask(std::int64_t target, IncumbentStore& incumbent, const Slice& slice);
  void take_no_answer();

  const Problem& problem_;
  const std::shared_ptr<const exact::CpEngine> engine_;
  const std::shared_ptr<const exact::ScheduleSpace> space_;
  std::uint64_t seed_;
  std::optional<std::int64_t> met_;  ///< the program has a solution of so many ticks
  double height_ = 1;                ///< of the target between the bound and the incumbent
  double slice_;                     ///< seconds for a question
  std::uint32_t failures_ = 0;
  bool is_done_ = false;
};

}  // namespace opweave
