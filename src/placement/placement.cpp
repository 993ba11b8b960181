#include "placement/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
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

}  // namespace

/// The rules in the order in which they are tried.
class PlacementGuesses::Rules {
 public:
  explicit Rules(const Problem& problem) : problem_(problem) {
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
            [this, rounds] { return branch_placement(problem_, BranchLayout::kSpread, rounds); });
      }
      add("branches apart", [this] { return branch_placement(problem_, BranchLayout::kApart); });
      add_earliest_finish();
    }
    add("contiguous by bytes", [this] { return contiguous_placement(problem_, Fold::kLoop, 1, PartWeight::kBytes); });
  }

  std::optional<PlacementGuess> next() {
    while (next_ < rules_.size()) {
      std::optional<PlacementGuess> guess = rules_[next_++]();
      if (!guess || std::ranges::find(seen_, guess->modes) != seen_.end()) continue;
      seen_.push_back(guess->modes);
      return guess;
    }
    return std::nullopt;
  }

 private:
  using Modes = std::optional<std::vector<ModeIndex>>;

  /// Consecutive parts of equal work, in one round and, where a pipeline may gain from it, in several.
  void lay(Shift shift, const std::string& suffix, bool in_rounds) {
    const auto parts = [this, shift](Fold fold, std::uint32_t rounds) {
      return [this, shift, fold, rounds] {
        return contiguous_placement(problem_, fold, rounds, PartWeight::kWork, shift);
      };
    };
    add("contiguous" + suffix, parts(Fold::kLoop, 1));
    if (!in_rounds) return;
    for (const std::uint32_t rounds : kRounds) {
      add_balanced(fmt::format("zigzag x{}{}", rounds, suffix), parts(Fold::kZigzag, rounds));
      add_balanced(fmt::format("loop x{}{}", rounds, suffix), parts(Fold::kLoop, rounds));
    }
  }

  void add_earliest_finish() {
    rules_.emplace_back([this]() -> std::optional<PlacementGuess> {
      std::optional<Schedule> schedule = earliest_finish(problem_);
      if (!schedule) return std::nullopt;
      std::vector<ModeIndex> modes = schedule->modes();
      if (problem_.settings().contention != Contention::kNone) schedule.reset();
      return PlacementGuess{"earliest finish", std::move(modes), std::move(schedule)};
    });
  }

  void add(std::string method, std::function<Modes()> make) {
    rules_.emplace_back([this, method = std::move(method), make = std::move(make)]() -> std::optional<PlacementGuess> {
      last_ = make();
      if (!last_) return std::nullopt;
      return PlacementGuess{method, *last_, std::nullopt};
    });
  }

  /// The placement, and another one with its parts balanced.
  void add_balanced(const std::string& method, std::function<Modes()> make) {
    add(method, std::move(make));
    add(method + ", balanced", [this]() -> Modes {
      if (!last_) return std::nullopt;
      if (!balancer_) balancer_.emplace(problem_);
      return balancer_->balanced(*last_);
    });
  }

  const Problem& problem_;
  std::vector<std::function<std::optional<PlacementGuess>()>> rules_;
  std::size_t next_ = 0;
  Modes last_;  ///< what the last rule that gives modes alone has made
  std::optional<PlacementBalancer> balancer_;
  std::vector<std::vector<ModeIndex>> seen_;
};

PlacementGuesses::PlacementGuesses(const Problem& problem) : rules_(std::make_unique<Rules>(problem)) {}
PlacementGuesses::PlacementGuesses(PlacementGuesses&&) noexcept = default;
PlacementGuesses::~PlacementGuesses() = default;

std::optional<PlacementGuess> PlacementGuesses::next() { return rules_->next(); }

std::vector<PlacementGuess> guess_placements(const Problem& problem) {
  std::vector<PlacementGuess> guesses;
  PlacementGuesses all(problem);
  while (std::optional<PlacementGuess> guess = all.next()) guesses.push_back(std::move(*guess));
  return guesses;
}

}  // namespace opweave
