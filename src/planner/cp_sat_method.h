/// CP-SAT as a method: the whole problem where its size allows, and windows of the incumbent (docs/windows.md).
#pragma once

#include <cstdint>
#include <optional>

#include "planner/search_method.h"
#include "planner/window_choice.h"

namespace opweave {

/// Slices alternate between the whole problem, which may prove the incumbent optimal or raise the bound, and windows,
/// which may improve it. What the solver says is a claim: schedules pass `check`, bounds must not exceed a plan. A
/// solver that is missing, breaks down, or ignores its limits ends the method and nothing else.
class CpSatMethod : public SearchMethod {
 public:
  /// Beside the routing search.
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);

  CpSatMethod(const SearchContext& context, std::uint64_t seed);
  void advance(IncumbentStore& incumbent, const Slice& slice) override;
  [[nodiscard]] bool is_done() const override { return is_done_; }

 private:
  void solve_whole(IncumbentStore& incumbent, const Slice& slice);
  void solve_windows(IncumbentStore& incumbent, const Slice& slice);
  /// The solver failed or had to be left behind; after a few times on end the method gives up.
  void note_failure(bool is_final);

  const Problem& problem_;
  const std::shared_ptr<const exact::CpEngine> engine_;
  const bool solves_whole_;
  std::uint64_t seed_;
  WindowChoice windows_;
  std::optional<Schedule> current_;  ///< what windows are cut from: as long as the incumbent, perhaps another one
  std::uint32_t turns_ = 0;
  std::uint32_t failures_ = 0;
  bool is_done_ = false;
};

/// The same where only orders are left to find, which the order search does well: a proof is what the solver is wanted
/// for, on problems that are small enough.
class CpSatProof final : public CpSatMethod {
 public:
  using CpSatMethod::CpSatMethod;
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);
};

}  // namespace opweave
