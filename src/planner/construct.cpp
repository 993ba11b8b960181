#include "planner/construct.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "heuristics/in_flight_window.h"
#include "heuristics/list_scheduler.h"
#include "heuristics/placed_problem.h"
#include "heuristics/placement.h"
#include "heuristics/priority_rules.h"
#include "heuristics/reference_order.h"
#include "opweave/experts.h"

namespace opweave {
namespace {

/// Shares of a microbatch's critical path at which a window may let the next one in.
constexpr double kProgress[] = {0.5, 0.6, 0.7, 0.8, 0.9, 1.0};
/// Placements whose windows are tuned after all have been tried roughly.
constexpr std::size_t kTunedPlacements = 3;
/// Windows wider than this are not tried: by then memory, not the window, limits what is in flight.
constexpr std::uint32_t kWidestWindow = 64;

/// A guessed placement with what is needed to schedule it again and again.
struct Candidate {
  PlacementGuess guess;
  std::uint32_t window = 0;  ///< best width so far
  std::size_t progress = 0;  ///< index into kProgress
  std::size_t rule = 0;
  std::optional<Duration> makespan;  ///< best so far under a window
};

class Constructor {
 public:
  Constructor(const Problem& problem, const Budget& budget, IncumbentStore& incumbent)
      : problem_(problem), budget_(budget), incumbent_(incumbent) {}

  Construction run() {
    std::vector<Candidate> candidates;
    for (PlacementGuess& guess : guess_placements(problem_)) {
      if (finished()) break;
      if (schedule_freely(guess)) candidates.push_back({std::move(guess), 0, 0, 0, std::nullopt});
    }
    if (problem_.settings().training.microbatches > 1) tune_windows(candidates);
    if (!finished()) add_experts();
    std::stable_sort(result_.starts.begin(), result_.starts.end(),
                     [](const Start& a, const Start& b) { return a.makespan < b.makespan; });
    return std::move(result_);
  }

 private:
  [[nodiscard]] bool finished() const {
    return incumbent_.makespan() && (incumbent_.is_optimal() || budget_.expired());
  }

  /// List schedules under every rule, without a window; false if the placement does not fit.
  bool schedule_freely(const PlacementGuess& guess) {
    const std::optional<PlacedProblem> placed = PlacedProblem::create(problem_, guess.modes);
    if (!placed) return false;
    const ReferenceOrder reference = reference_order(*placed);
    if (!reference.fits) return false;
    result_.any_placement_fits = true;
    for (const PriorityRule& rule : priority_rules(*placed, reference)) {
      ++result_.evaluations;
      keep(placed->schedule(list_schedule(*placed, reference, rule.priority)), guess.method + ", " + rule.name);
      if (finished()) break;
    }
    return true;
  }

  /// Every placement with windows of doubling width, then the best few placements in detail.
  void tune_windows(std::vector<Candidate>& candidates) {
    const Training& training = problem_.settings().training;
    const std::uint32_t widest = std::min(kWidestWindow, training.microbatches);
    constexpr std::size_t kFirstProgress = 3;
    for (Candidate& candidate : candidates) {
      std::uint32_t step = 1;
      for (std::uint32_t width = 1; width <= widest; width += step) {
        if (width >= 4 * step) step *= 2;
        try_window(candidate, width, kFirstProgress, 0);
      }
    }
    std::erase_if(candidates, [](const Candidate& candidate) { return !candidate.makespan; });
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return *a.makespan < *b.makespan; });
    if (candidates.size() > kTunedPlacements) candidates.resize(kTunedPlacements);
    for (Candidate& candidate : candidates) descend(candidate, widest);
  }

  /// Coordinate descent over width, progress and rule.
  void descend(Candidate& candidate, std::uint32_t widest) {
    for (bool improved = true; improved && !finished();) {
      improved = false;
      const Candidate at = candidate;
      for (const std::int32_t step : {-2, -1, 1, 2}) {
        const std::int64_t width = std::int64_t{at.window} + step;
        if (width >= 1 && width <= widest) {
          improved |= try_window(candidate, static_cast<std::uint32_t>(width), at.progress, at.rule);
        }
      }
      for (std::size_t progress = 0; progress < std::size(kProgress); ++progress) {
        if (progress != at.progress) improved |= try_window(candidate, at.window, progress, at.rule);
      }
      for (std::size_t rule = 0; rule < 2; ++rule) {
        if (rule != at.rule) improved |= try_window(candidate, at.window, at.progress, rule);
      }
    }
  }

  /// True if this window improves the candidate's best.
  bool try_window(Candidate& candidate, std::uint32_t width, std::size_t progress, std::size_t rule) {
    if (finished()) return false;
    const auto placed =
        PlacedProblem::create(problem_, candidate.guess.modes, window_edges(problem_, {width, kProgress[progress]}));
    const ReferenceOrder reference = reference_order(*placed);
    const PriorityRule order = priority_rules(*placed, reference)[rule];
    ++result_.evaluations;
    Schedule schedule = placed->schedule(list_schedule(*placed, reference, order.priority));
    const Duration makespan = schedule.makespan(problem_);
    if (candidate.makespan && *candidate.makespan <= makespan) return false;
    candidate.makespan = makespan;
    candidate.window = width;
    candidate.progress = progress;
    candidate.rule = rule;
    keep(std::move(schedule), fmt::format("{}, {}, {} in flight until {:.0f} %", candidate.guess.method, order.name,
                                          width, 100 * kProgress[progress]));
    return true;
  }

  void add_experts() {
    for (const ExpertPlan& expert : expert_plans(problem_)) {
      ++result_.evaluations;
      if (is_valid(problem_, expert.schedule)) keep(expert.schedule, expert.name);  // else: too much memory
    }
  }

  /// A start is remembered only if it is valid, and only the best one per placement.
  void keep(Schedule schedule, const std::string& method) {
    const Duration makespan = schedule.makespan(problem_);
    const auto same_placement = [&](const Start& start) {
      return std::ranges::equal(start.schedule.tasks, schedule.tasks, {}, &TaskAssignment::mode, &TaskAssignment::mode);
    };
    const auto known = std::find_if(result_.starts.begin(), result_.starts.end(), same_placement);
    if (known != result_.starts.end() && known->makespan <= makespan) return;
    const bool better = !incumbent_.makespan() || makespan < *incumbent_.makespan();
    const bool valid = better ? incumbent_.offer(schedule, method) : is_valid(problem_, schedule);
    if (!valid) return;
    if (known != result_.starts.end()) {
      *known = {std::move(schedule), makespan, method};
    } else {
      result_.starts.push_back({std::move(schedule), makespan, method});
    }
  }

  const Problem& problem_;
  const Budget& budget_;
  IncumbentStore& incumbent_;
  Construction result_;
};

}  // namespace

Construction construct(const Problem& problem, const Budget& budget, IncumbentStore& incumbent) {
  return Constructor(problem, budget, incumbent).run();
}

}  // namespace opweave
