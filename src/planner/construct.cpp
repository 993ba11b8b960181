#include "planner/construct.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "list_scheduling/fewer_microbatches.h"
#include "list_scheduling/in_flight_window.h"
#include "list_scheduling/justification.h"
#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"
#include "list_scheduling/window_schedule.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/simulate.h"
#include "placement/placement.h"

namespace opweave {
namespace {

/// Placements that get a rough look at their windows, and of those, as ranked by it, the ones whose windows are tuned.
constexpr std::size_t kScannedPlacements = 12;
constexpr std::size_t kTunedPlacements = 3;
/// Share of the time for the placements one by one, so that something is left for all that follows, and of the time
/// left then for windows.
constexpr double kGuessingShare = 0.3;
constexpr double kTuningShare = 0.3;
/// What a first pass of pushing together takes, in steps: two list schedules with their reference orders.
constexpr double kPassSteps = 3;
/// Windows wider than this are not tried: by then memory, not the window, limits what is in flight.
constexpr std::uint32_t kWidestWindow = 64;
/// What a list schedule takes beside a schedule made along with a placement, both with their check: measured 2, to be
/// sure.
constexpr double kListScheduleSteps = 2.5;
/// Windows are tuned on at most so many microbatches: more of them run through the same pipeline in the same way.
constexpr std::uint32_t kTrialMicrobatches = 64;

/// A guessed placement with what is needed to schedule it again and again.
struct Candidate {
  PlacementGuess guess;
  std::uint32_t window = 0;  ///< best width so far
  std::size_t progress = 0;  ///< index into kWindowProgress
  std::size_t rule = 0;
  std::optional<Duration> makespan;  ///< best so far, pushed together
};

class Constructor {
 public:
  Constructor(const Problem& problem, const Budget& budget, IncumbentStore& incumbent,
              const ConstructionOptions& options)
      : problem_(problem), budget_(budget), incumbent_(incumbent), options_(options) {
    if (incumbent_.makespan()) meet_first();
  }

  Construction run() {
    std::vector<Candidate> candidates;
    const Budget guessing = budget_.share(kGuessingShare);
    guess_placements(problem_, [&](PlacementGuess guess) {
      if (!finished() && schedule_freely(guess)) candidates.push_back({std::move(guess), 0, 0, 0, std::nullopt});
      return !finished() && !(incumbent_.makespan() && guessing.expired());
    });
    // Before the windows, which may take all the time there is: no plan is worse than an expert's.
    if (!finished()) add_experts();
    const bool is_enough = options_.is_enough && options_.is_enough();
    if (problem_.settings().training.microbatches > 1 && !is_enough) tune_windows(candidates);
    std::stable_sort(result_.starts.begin(), result_.starts.end(),
                     [](const Start& a, const Start& b) { return a.makespan < b.makespan; });
    return std::move(result_);
  }

 private:
  /// Asked before every step. No step is begun that may not end in time, as far as the longest so far tells.
  [[nodiscard]] bool finished() {
    end_step();
    if (!incumbent_.makespan()) return false;
    return is_enough_ || incumbent_.is_optimal() || budget_.expired() ||
           budget_.remaining().value_or(result_.longest_step) < result_.longest_step;
  }

  void end_step() {
    const double now = budget_.elapsed();
    result_.longest_step = std::max(result_.longest_step, now - asked_);
    asked_ = now;
  }

  /// The first plan is there. What is done about it is no step of ours.
  void meet_first() {
    is_enough_ = options_.on_first && !options_.on_first();
    asked_ = budget_.elapsed();
  }

  /// The schedule that the guess came with and list schedules under every rule, without a window; false if the
  /// placement does not fit.
  bool schedule_freely(PlacementGuess& guess) {
    if (guess.schedule) {
      ++result_.evaluations;
      keep(*std::exchange(guess.schedule, std::nullopt), guess.method, true);
      end_step();
      // From what this took: what a list schedule takes is not known before the first.
      result_.longest_step *= kListScheduleSteps;
      if (finished()) return true;
    }
    const std::optional<PlacedProblem> placed = PlacedProblem::create(problem_, guess.modes);
    if (!placed) return false;
    const ReferenceOrder reference = reference_order(*placed);
    if (!reference.fits) return false;
    result_.any_placement_fits = true;
    for (const PriorityRule& rule : priority_rules(*placed, reference)) {
      ++result_.evaluations;
      keep(placed->schedule(list_schedule(*placed, reference, rule.priority)), guess.method + ", " + rule.name);
      if (finished()) break;
      if (options_.experts_early) add_experts();
      if (finished()) break;
    }
    return true;
  }

  /// The best few placements with windows of doubling width, then the best of those in detail. What counts is how short
  /// a schedule gets when it is pushed together: one from a narrow window may begin as the longest and end as the
  /// shortest.
  void tune_windows(std::vector<Candidate>& candidates) {
    tuning_ = budget_.share(kTuningShare);
    const Problem trial = with_fewer_microbatches(problem_, kTrialMicrobatches);
    const bool is_whole = trial.task_count() == problem_.task_count();
    trial_ = &trial;
    const std::uint32_t widest = std::min(kWidestWindow, trial.settings().training.microbatches);
    if (candidates.size() > 1) {
      for (Candidate& candidate : candidates) try_window(candidate, widest, 0, 0);
      keep_best(candidates, kScannedPlacements);
    }
    // Two ways that are far apart, or the descent might never leave the first: late entry with weight gradients where
    // they fit, by microbatch; early entry with weight gradients put off, by the longest way to go.
    for (Candidate& candidate : candidates) scan_widths(candidate, widest, 0, 2);
    keep_best(candidates, 2 * kTunedPlacements);
    std::vector<Candidate> others = candidates;
    for (Candidate& candidate : others) {
      candidate.makespan.reset();
      scan_widths(candidate, widest, 4, 0);
    }
    candidates.insert(candidates.end(), others.begin(), others.end());
    keep_best(candidates, kTunedPlacements);
    for (Candidate& candidate : candidates) descend(candidate, widest);
    if (is_whole) return;
    for (const Candidate& candidate : candidates) {
      if (!finished()) keep_window(problem_, candidate.guess.modes, candidate);
    }
  }

  void scan_widths(Candidate& candidate, std::uint32_t widest, std::size_t progress, std::size_t rule) {
    for (std::uint32_t width = 1; width <= widest; width *= 2) try_window(candidate, width, progress, rule);
  }

  static void keep_best(std::vector<Candidate>& candidates, std::size_t count) {
    std::erase_if(candidates, [](const Candidate& candidate) { return !candidate.makespan; });
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return *a.makespan < *b.makespan; });
    if (candidates.size() > count) candidates.resize(count);
  }

  /// Coordinate descent over width, progress and rule.
  void descend(Candidate& candidate, std::uint32_t widest) {
    for (bool improved = true; improved && !tuned();) {
      improved = false;
      const Candidate at = candidate;
      for (const std::int32_t step : {-2, -1, 1, 2}) {
        const std::int64_t width = std::int64_t{at.window} + step;
        if (width >= 1 && width <= widest) {
          improved |= try_window(candidate, static_cast<std::uint32_t>(width), at.progress, at.rule);
        }
      }
      for (std::size_t progress = 0; progress < std::size(kWindowProgress); ++progress) {
        if (progress != at.progress) improved |= try_window(candidate, at.window, progress, at.rule);
      }
      for (const std::size_t rule : kWindowRules) {
        if (rule != at.rule) improved |= try_window(candidate, at.window, at.progress, rule);
      }
    }
  }

  /// Asked before every window.
  [[nodiscard]] bool tuned() { return finished() || tuning_.expired(); }

  /// True if this window improves the candidate's best.
  bool try_window(Candidate& candidate, std::uint32_t width, std::size_t progress, std::size_t rule) {
    if (tuned()) return false;
    Candidate tried = candidate;
    tried.window = width;
    tried.progress = progress;
    tried.rule = rule;
    const bool is_whole = trial_->task_count() == problem_.task_count();
    const Duration makespan =
        is_whole ? keep_window(problem_, candidate.guess.modes, tried)
                 : schedule_windowed(*trial_, fewer_modes(problem_, *trial_, candidate.guess.modes), tried)
                       .makespan(*trial_);
    if (candidate.makespan && *candidate.makespan <= makespan) return false;
    candidate.makespan = makespan;
    candidate.window = width;
    candidate.progress = progress;
    candidate.rule = rule;
    return true;
  }

  Duration keep_window(const Problem& problem, const std::vector<ModeIndex>& modes, const Candidate& chosen) {
    Schedule schedule = schedule_windowed(problem, modes, chosen);
    const Duration makespan = schedule.makespan(problem);
    keep(std::move(schedule), fmt::format("{}, {}, {} in flight until {:.0f} %", chosen.guess.method, last_rule_,
                                          chosen.window, 100 * kWindowProgress[chosen.progress]));
    return makespan;
  }

  /// Under the window, then pushed together without it.
  Schedule schedule_windowed(const Problem& problem, const std::vector<ModeIndex>& modes, const Candidate& chosen) {
    const InFlightWindow window{chosen.window, kWindowProgress[chosen.progress]};
    std::optional<WindowSchedule> scheduled = schedule_in_window(problem, modes, window, chosen.rule);
    if (!scheduled) throw InternalError("a placement that fits does not fit under a window");
    last_rule_ = scheduled->rule;
    ++result_.evaluations;
    const auto placed = PlacedProblem::create(problem, modes);
    return placed->schedule(pushed_together(*placed, std::move(scheduled->starts), tuning_));
  }

  /// Every expert as published, and its order with the blocks taken apart, so that operators start as soon as their
  /// inputs and streams allow, then pushed together.
  void add_experts() {
    if (std::exchange(experts_added_, true)) return;
    const std::vector<ExpertPlan> experts = expert_plans(problem_, budget_);
    for (const ExpertPlan& expert : experts) {
      add_expert(expert.schedule, expert.name);
      if (finished()) return;
    }
    for (const ExpertPlan& expert : experts) {
      const Schedule apart =
          simulate(problem_, execution_order(problem_, expert.schedule), {problem_.settings().contention, 1, {}})
              .schedule;
      const std::string name = expert.name + ", blocks taken apart";
      if (add_expert(apart, name) && !finished()) push_together(apart, name);
      if (finished()) return;
    }
  }

  /// False if it is not valid: it may take too much memory.
  bool add_expert(const Schedule& schedule, const std::string& name) {
    ++result_.evaluations;
    return keep(schedule, name, true);
  }

  void push_together(const Schedule& schedule, const std::string& name) {
    const auto placed = PlacedProblem::create(problem_, schedule.modes());
    ++result_.evaluations;
    keep(placed->schedule(pushed_together(*placed, placed->starts(schedule), budget_.share(kTuningShare))),
         name + ", pushed together");
  }

  /// As they are where there is no time for it.
  std::vector<std::int64_t> pushed_together(const PlacedProblem& placed, std::vector<std::int64_t> starts,
                                            const Budget& budget) {
    end_step();
    const double pass = kPassSteps * result_.longest_step;
    if (budget.remaining().value_or(pass) < pass) return starts;
    starts = justify(placed, std::move(starts), budget);
    asked_ = budget_.elapsed();  // that kept to the time by itself
    return starts;
  }

  /// A start is remembered only if it is valid, and only the best one per placement.
  /// \param is_claim  nobody has looked at memory yet
  /// \return whether a claim is valid
  bool keep(Schedule schedule, const std::string& method, bool is_claim = false) {
    if (options_.see) options_.see(schedule, method);
    const Duration makespan = schedule.makespan(problem_);
    const auto same_placement = [&](const Start& start) {
      return std::ranges::equal(start.schedule.tasks, schedule.tasks, {}, &TaskAssignment::mode, &TaskAssignment::mode);
    };
    const auto known = std::find_if(result_.starts.begin(), result_.starts.end(), same_placement);
    if (known != result_.starts.end() && known->makespan <= makespan) return !is_claim || is_valid(problem_, schedule);
    const bool is_first = !incumbent_.makespan();
    const bool better = is_first || makespan < *incumbent_.makespan();
    const bool valid = better ? incumbent_.offer(schedule, method) : is_valid(problem_, schedule);
    if (!valid && better && !is_claim) result_.rejection = incumbent_.last_rejection();
    if (!valid) return false;
    if (is_first) {
      end_step();
      meet_first();
    }
    if (known != result_.starts.end()) {
      *known = {std::move(schedule), makespan, method};
    } else {
      result_.starts.push_back({std::move(schedule), makespan, method});
    }
    return true;
  }

  const Problem& problem_;
  const Budget& budget_;
  IncumbentStore& incumbent_;
  const ConstructionOptions& options_;
  bool experts_added_ = false;
  Construction result_;
  bool is_enough_ = false;
  double asked_ = budget_.elapsed();  ///< when the last step ended
  const Problem* trial_ = nullptr;    ///< on which windows are tuned
  Budget tuning_;                     ///< for windows
  std::string last_rule_;
};

}  // namespace

Construction construct(const Problem& problem, const Budget& budget, IncumbentStore& incumbent,
                       const ConstructionOptions& options) {
  return Constructor(problem, budget, incumbent, options).run();
}

}  // namespace opweave
