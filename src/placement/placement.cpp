#include "placement/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "placement/branch_placement.h"
#include "placement/contiguous.h"
#include "placement/earliest_finish.h"
#include "placement/placement_balancer.h"

namespace opweave {

namespace {

/// Rounds of consecutive parts worth trying: more rounds shorten the ramp of a pipeline and cost transfers.
constexpr std::uint32_t kRounds[] = {2, 3, 4, 6, 8};
/// The same for each branch by itself: the branches already make rounds.
constexpr std::uint32_t kBranchRounds[] = {1, 2, 3, 4};

/// Hands on what has not been seen before, until nobody wants more.
class Guesser {
 public:
  Guesser(const Problem& problem, const std::function<bool(PlacementGuess guess)>& see)
      : problem_(problem), see_(see) {}

  void run() {
    const bool repeated = problem_.settings().training.microbatches > 1;
    if (!repeated) add_earliest_finish();
    if (problem_.settings().training.replicas > 1) {
      lay(Shift::kReversed, ", copies reversed", repeated);
      lay(Shift::kRotated, ", copies rotated", repeated);
      lay(Shift::kApart, ", copies apart", repeated);
      lay(Shift::kTogether, ", copies together", repeated);
    } else {
      lay(Shift::kReversed, "", repeated);
    }
    if (repeated) {
      for (const std::uint32_t rounds : kBranchRounds) {
        add(fmt::format("branches over all devices x{}", rounds),
            [&] { return branch_placement(problem_, BranchLayout::kSpread, rounds); });
      }
      add("branches apart", [&] { return branch_placement(problem_, BranchLayout::kApart); });
      add_earliest_finish();
    }
    add("contiguous by bytes", [&] { return contiguous_placement(problem_, Fold::kLoop, 1, PartWeight::kBytes); });
  }

 private:
  using Modes = std::optional<std::vector<ModeIndex>>;

  /// Consecutive parts of equal work, in one round and, where a pipeline may gain from it, in several.
  void lay(Shift shift, const std::string& suffix, bool in_rounds) {
    const auto parts = [&](Fold fold, std::uint32_t rounds) {
      return contiguous_placement(problem_, fold, rounds, PartWeight::kWork, shift);
    };
    add("contiguous" + suffix, [&] { return parts(Fold::kLoop, 1); });
    if (!in_rounds) return;
    for (const std::uint32_t rounds : kRounds) {
      add_balanced(fmt::format("zigzag x{}{}", rounds, suffix), [&] { return parts(Fold::kZigzag, rounds); });
      add_balanced(fmt::format("loop x{}{}", rounds, suffix), [&] { return parts(Fold::kLoop, rounds); });
    }
  }

  void add_earliest_finish() {
    if (!wants_more_) return;
    std::optional<Schedule> schedule = earliest_finish(problem_);
    if (!schedule) return;
    std::vector<ModeIndex> modes = schedule->modes();
    if (problem_.settings().contention != Contention::kNone) schedule.reset();
    hand_on("earliest finish", std::move(modes), std::move(schedule));
  }

  void hand_on(const std::string& method, std::vector<ModeIndex> modes, std::optional<Schedule> schedule) {
    if (std::find(seen_.begin(), seen_.end(), modes) != seen_.end()) return;
    seen_.push_back(modes);
    wants_more_ = see_({method, std::move(modes), std::move(schedule)});
  }

  /// Makes a placement and hands it on; gives it back for whoever wants to change it.
  template <class Make>
  Modes add(const std::string& method, Make make) {
    if (!wants_more_) return std::nullopt;
    Modes modes = make();
    if (modes) hand_on(method, *modes, std::nullopt);
    return modes;
  }

  template <class Make>
  void add_balanced(const std::string& method, Make make) {
    const Modes modes = add(method, make);
    if (!modes) return;
    add(method + ", balanced", [&] {
      if (!balancer_) balancer_.emplace(problem_);
      return balancer_->balanced(*modes);
    });
  }

  const Problem& problem_;
  const std::function<bool(PlacementGuess guess)>& see_;
  std::optional<PlacementBalancer> balancer_;
  std::vector<std::vector<ModeIndex>> seen_;
  bool wants_more_ = true;
};

}  // namespace

void guess_placements(const Problem& problem, const std::function<bool(PlacementGuess guess)>& see) {
  Guesser(problem, see).run();
}

std::vector<PlacementGuess> guess_placements(const Problem& problem) {
  std::vector<PlacementGuess> guesses;
  guess_placements(problem, [&](PlacementGuess guess) {
    guesses.push_back(std::move(guess));
    return true;
  });
  return guesses;
}

}  // namespace opweave
