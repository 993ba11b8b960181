#include "heuristics/placement.h"

#include <algorithm>
#include <utility>

#include "heuristics/contiguous.h"
#include "heuristics/earliest_finish.h"

namespace opweave {

std::vector<PlacementGuess> guess_placements(const Problem& problem) {
  std::vector<PlacementGuess> guesses;
  const auto add = [&](const char* method, std::optional<std::vector<ModeIndex>> modes) {
    if (!modes) return;
    const bool known =
        std::any_of(guesses.begin(), guesses.end(), [&](const PlacementGuess& g) { return g.modes == *modes; });
    if (!known) guesses.push_back({method, std::move(*modes)});
  };
  const bool repeated = problem.settings().training.microbatches > 1;
  if (!repeated) add("earliest finish", earliest_finish_placement(problem));
  add("contiguous", contiguous_placement(problem, Fold::kOnce, PartWeight::kWork));
  if (repeated) {
    add("contiguous V", contiguous_placement(problem, Fold::kThereAndBack, PartWeight::kWork));
    add("contiguous loop", contiguous_placement(problem, Fold::kTwiceAround, PartWeight::kWork));
    add("earliest finish", earliest_finish_placement(problem));
  }
  add("contiguous by bytes", contiguous_placement(problem, Fold::kOnce, PartWeight::kBytes));
  return guesses;
}

}  // namespace opweave
