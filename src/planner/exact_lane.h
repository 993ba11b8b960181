/// CP-SAT as a lane: the whole problem where its size allows, and windows of the incumbent.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "exact/engine.h"
#include "planner/portfolio.h"
#include "planner/window_choice.h"

namespace opweave {

/// Turns alternate between the whole problem, which may prove the incumbent optimal or raise the bound, and windows,
/// which may improve it. What the solver says is a claim: schedules pass `check`, bounds must not exceed a plan. A
/// solver that is missing, breaks down, or ignores its limits ends the lane and nothing else.
class ExactLane final : public Lane {
 public:
  /// Intervals that the model of the whole problem would have; the largest integer without looking closely where there
  /// are very many. O(tasks x options)
  static std::size_t size(const Problem& problem);
  /// \pre the incumbent has a schedule
  /// \param solves_whole  the whole problem is small enough; else windows only
  ExactLane(const Problem& problem, bool solves_whole, std::uint64_t seed, IncumbentStore& incumbent,
            std::shared_ptr<const exact::CpEngine> engine = exact::cp_sat_engine());

  void advance(const Budget& budget) override;
  [[nodiscard]] bool is_done() const override { return is_done_; }

 private:
  void solve_whole(const Budget& budget);
  void solve_windows(const Budget& budget);
  /// The solver failed or had to be left behind; after a few times on end the lane gives up.
  void note_failure(bool is_final);

  const Problem& problem_;
  const std::shared_ptr<const exact::CpEngine> engine_;
  const bool solves_whole_;
  IncumbentStore& incumbent_;
  std::uint64_t seed_;
  WindowChoice windows_;
  std::optional<Schedule> current_;  ///< what windows are cut from: as long as the incumbent, perhaps another one
  std::uint32_t turns_ = 0;
  std::uint32_t failures_ = 0;
  bool is_done_ = false;
};

}  // namespace opweave
