/// Few choices of memory modes: all of them.
#pragma once

#include <optional>
#include <vector>

#include "memory_modes/mode_incumbent.h"

namespace opweave {

/// Plans every choice of modes, value by value.
class EveryChoice {
 public:
  EveryChoice(const Problem& problem, const Budget& budget, const PlannerOptions& options);

  /// There are few enough to plan them all.
  [[nodiscard]] bool is_small() const { return count_ > 0; }
  /// Plans them and offers their schedules. \return the least bound over all choices: no plan of the problem is
  /// shorter; nothing if not every choice was looked at, or none has a plan \pre is_small()
  [[nodiscard]] std::optional<Duration> plan(ModeIncumbent& incumbent);
  /// Each choice was proven to have no plan.
  [[nodiscard]] bool proves_infeasible() const { return proves_infeasible_; }

 private:
  [[nodiscard]] MemoryChoice choice(std::uint64_t number) const;

  const Problem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  struct Free {
    ValueId value;
    std::vector<MemoryMode> modes;
  };
  std::vector<Free> free_;   ///< values that may have more than one mode
  std::uint64_t count_ = 0;  ///< choices; 0 = too many
  bool proves_infeasible_ = false;
};

}  // namespace opweave
