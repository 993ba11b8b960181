#include "heuristics/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "heuristics/branch_placement.h"
#include "heuristics/contiguous.h"
#include "heuristics/earliest_finish.h"
#include "heuristics/placement_balancer.h"

namespace opweave {

namespace {

/// Rounds of consecutive parts worth trying: more rounds shorten the ramp of a pipeline and cost transfers.
constexpr std::uint32_t kRounds[] = {2, 3, 4, 6, 8};
/// The same for each branch by itself: the branches already make rounds.
constexpr std::uint32_t kBranchRounds[] = {1, 2, 3, 4};

}  // namespace

std::vector<PlacementGuess> guess_placements(const Problem& problem) {
  std::vector<PlacementGuess> guesses;
  const auto add = [&](std::string method, std::optional<std::vector<ModeIndex>> modes) {
    if (!modes) return;
    const bool known =
        std::any_of(guesses.begin(), guesses.end(), [&](const PlacementGuess& g) { return g.modes == *modes; });
    if (!known) guesses.push_back({std::move(method), std::move(*modes)});
  };
  PlacementBalancer balancer(problem);
  const auto add_balanced = [&](const std::string& method, std::optional<std::vector<ModeIndex>> modes) {
    std::optional<std::vector<ModeIndex>> balanced;
    if (modes) balanced = balancer.balanced(*modes);
    add(method, std::move(modes));
    add(method + ", balanced", std::move(balanced));
  };
  const bool repeated = problem.settings().training.microbatches > 1;
  if (!repeated) add("earliest finish", earliest_finish_placement(problem));
  std::vector<std::pair<Shift, const char*>> shifts = {{Shift::kReversed, ""}};
  if (problem.settings().training.replicas > 1) {
    shifts = {{Shift::kReversed, ", copies reversed"},
              {Shift::kRotated, ", copies rotated"},
              {Shift::kTogether, ", copies together"}};
  }
  for (const auto& [shift, suffix] : shifts) {
    const auto lay = [&](Fold fold, std::uint32_t rounds) {
      return contiguous_placement(problem, fold, rounds, PartWeight::kWork, shift);
    };
    add(std::string("contiguous") + suffix, lay(Fold::kLoop, 1));
    if (!repeated) continue;
    for (const std::uint32_t rounds : kRounds) {
      add_balanced(fmt::format("zigzag x{}{}", rounds, suffix), lay(Fold::kZigzag, rounds));
      add_balanced(fmt::format("loop x{}{}", rounds, suffix), lay(Fold::kLoop, rounds));
    }
  }
  if (repeated) {
    for (const std::uint32_t rounds : kBranchRounds) {
      add(fmt::format("branches over all devices x{}", rounds),
          branch_placement(problem, BranchLayout::kSpread, rounds));
    }
    add("branches apart", branch_placement(problem, BranchLayout::kApart));
    add("earliest finish", earliest_finish_placement(problem));
  }
  add("contiguous by bytes", contiguous_placement(problem, Fold::kLoop, 1, PartWeight::kBytes));
  return guesses;
}

}  // namespace opweave
