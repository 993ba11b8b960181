#include "planner/construction.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "list_scheduling/fewer_microbatches.h"
#include "list_scheduling/in_flight_limit.h"
#include "list_scheduling/justification.h"
#include "list_scheduling/limited_schedule.h"
#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/simulate.h"
#include "placement/placement.h"
#include "planner/step_placement_method.h"

namespace opweave {
namespace {

/// Placements that get a rough look at their limits, and of those, as ranked by it, the ones whose limits are tuned.
constexpr std::size_t kScannedPlacements = 12;
constexpr std::size_t kTunedPlacements = 3;
/// Share of the time for published schedules right behind the first plan, before bounds are found, which may take long.
constexpr double kFirstExpertsShare = 0.05;
/// Share of the time for the placements one by one, so that something is left for all that follows, and of the time
/// left then for limits.
constexpr double kGuessingShare = 0.3;
constexpr double kTuningShare = 0.3;
/// Share of the time for the best limits to be justified where there was none for each.
constexpr double kPolishShare = 0.05;
/// Of limits where other placements are searched afterwards: what these are worth counts, not the last percent of the
/// guesses.
constexpr double kLimitsShareBeforeSearch = 0.1;
/// What a first pass of pushing together takes, in list schedules: two of them, with their reference orders.
constexpr double kPassSchedules = 3;
/// Limits wider than this are not tried: by then memory, not the limit, limits what is in flight.
constexpr std::uint32_t kWidestLimit = 64;
/// What a list schedule takes beside a schedule made along with a placement, both with their check: measured 2, to be
/// sure.
constexpr double kListScheduleSteps = 2.5;
/// Where other methods go on alone: tasks of the largest problem that is constructed all the same, and the share of the
/// time for it.
constexpr std::size_t kMostTasksBesideOthers = 50'000;
constexpr double kShareBesideOthers = 0.2;
/// Limits are tuned on at most so many microbatches: more of them run through the same pipeline in the same way.
constexpr std::uint32_t kLimitTrialMicrobatches = 64;

/// A guessed placement with what is needed to schedule it again and again.
struct Candidate {
  PlacementGuess guess;
  std::uint32_t limit = 0;   ///< best width so far
  std::size_t progress = 0;  ///< index into kLimitProgress
  std::size_t rule = 0;
  std::optional<Duration> makespan;  ///< best so far, justified
};

/// A placement whose list schedules are being tried.
struct Placing {
  PlacementGuess guess;
  std::optional<PlacedProblem> placed = {};
  ReferenceOrder reference = {};
  std::vector<PriorityRule> rules = {};
  std::size_t next = 0;
};

}  // namespace

class Construction::Implementation {
 public:
  Implementation(const Problem& problem, IncumbentStore& incumbent, ConstructionOptions options)
      : problem_(problem), incumbent_(incumbent), options_(std::move(options)), guesses_(problem) {}

  void find_first(const Budget& budget) {
    begin(budget);
    while (!incumbent_.makespan() && step()) end_step();
    if (!incumbent_.makespan()) {
      add_experts();
    } else if (budget.remaining()) {
      begin(budget.share(kFirstExpertsShare));
      add_experts();
    }
    end_step();
    sort_starts();
  }

  void complete(const Budget& budget) {
    begin(budget);
    const Budget guessing = budget_.share(kGuessingShare);
    while (!finished() && !(!placing_ && incumbent_.makespan() && guessing.expired()) && step()) {
    }
    // Before the limits, which may take all the time there is: no plan is worse than an expert's.
    if (!finished()) add_experts();
    const bool is_enough = options_.is_enough && options_.is_enough();
    if (problem_.settings().training.microbatches > 1 && !is_enough) tune_limits();
    sort_starts();
  }

  std::vector<Start> starts_;
  std::uint64_t evaluations_ = 0;
  std::string rejection_;
  double longest_step_ = 0;

 private:
  void begin(const Budget& budget) {
    budget_ = budget;
    asked_ = budget_.elapsed();
  }

  void sort_starts() { std::ranges::stable_sort(starts_, {}, &Start::makespan); }

  /// Asked before every step. No step is begun that may not end in time, as far as the longest so far tells.
  [[nodiscard]] bool finished() {
    end_step();
    if (!incumbent_.makespan()) return false;
    return incumbent_.is_optimal() || budget_.expired() || budget_.remaining().value_or(longest_step_) < longest_step_;
  }

  void end_step() {
    const double now = budget_.elapsed();
    longest_step_ = std::max(longest_step_, now - asked_);
    asked_ = now;
  }

  /// One schedule of the next placement, or what has to be found out before: the schedule that the guess came with,
  /// then list schedules under every rule, without a limit. False if no placement is left.
  bool step() {
    if (!placing_) {
      std::optional<PlacementGuess> guess = guesses_.next();
      if (!guess) return false;
      placing_.emplace(Placing{std::move(*guess)});
      if (placing_->guess.schedule) return keep_own_schedule(), true;
    }
    if (!placing_->placed && !prepare()) {
      placing_.reset();
      return true;
    }
    const PriorityRule& rule = placing_->rules[placing_->next++];
    ++evaluations_;
    const double began = budget_.elapsed();
    const std::vector<std::int64_t> starts = list_schedule(*placing_->placed, placing_->reference, rule.priority);
    longest_schedule_ = std::max(longest_schedule_, budget_.elapsed() - began);
    keep(placing_->placed->schedule(starts), placing_->guess.method + ", " + rule.name);
    if (placing_->next == placing_->rules.size()) {
      candidates_.push_back({std::move(placing_->guess), 0, 0, 0, std::nullopt});
      placing_.reset();
    }
    if (options_.experts_early && !finished()) add_experts();
    return true;
  }

  void keep_own_schedule() {
    ++evaluations_;
    keep(*std::exchange(placing_->guess.schedule, std::nullopt), placing_->guess.method, true);
    end_step();
    // From what this took: what a list schedule takes is not known before the first.
    longest_step_ *= kListScheduleSteps;
  }

  /// False if the placement does not fit.
  bool prepare() {
    std::optional<PlacedProblem> placed = PlacedProblem::create(problem_, placing_->guess.modes);
    if (!placed) return false;
    ReferenceOrder reference = reference_order(*placed);
    if (!reference.fits) return false;
    placing_->placed = std::move(placed);
    placing_->reference = std::move(reference);
    placing_->rules = priority_rules(*placing_->placed, placing_->reference);
    return true;
  }

  /// The best few placements with limits of doubling width, then the best of those in detail. What counts is how short
  /// a schedule gets when it is justified: one from a narrow limit may begin as the longest and end as the
  /// shortest.
  void tune_limits() {
    std::vector<Candidate>& candidates = candidates_;
    tuning_ = budget_.share(options_.limits_share);
    const Problem trial = with_fewer_microbatches(problem_, kLimitTrialMicrobatches);
    const bool is_whole = trial.task_count() == problem_.task_count();
    trial_ = &trial;
    const std::uint32_t widest = std::min(kWidestLimit, trial.settings().training.microbatches);
    justifies_ = candidates.size() == 1 || time_justifies(candidates.size(), widest);
    if (candidates.size() > 1) {
      for (Candidate& candidate : candidates) try_limit(candidate, widest, 0, 0);
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
    if (is_whole && justifies_) return;
    justifies_ = true;
    tuning_ = budget_.share(kPolishShare);
    for (const Candidate& candidate : candidates) {
      if (!finished()) keep_limited(problem_, candidate.guess.modes, candidate);
    }
  }

  /// Whether all limits can be justified in the time. Where they cannot, more limits are worth more than few justified
  /// ones, of which narrow ones would hardly be tried.
  [[nodiscard]] bool time_justifies(std::size_t placements, std::uint32_t widest) const {
    const auto scanned = static_cast<double>(std::min(placements, kScannedPlacements) + 2 * kTunedPlacements);
    const double tries = static_cast<double>(placements) + scanned * std::bit_width(widest);
    const double needed = tries * kPassSchedules * longest_schedule_;
    return tuning_.remaining().value_or(needed) >= needed;
  }

  void scan_widths(Candidate& candidate, std::uint32_t widest, std::size_t progress, std::size_t rule) {
    for (std::uint32_t width = 1; width <= widest; width *= 2) try_limit(candidate, width, progress, rule);
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
        const std::int64_t width = std::int64_t{at.limit} + step;
        if (width >= 1 && width <= widest) {
          improved |= try_limit(candidate, static_cast<std::uint32_t>(width), at.progress, at.rule);
        }
      }
      for (std::size_t progress = 0; progress < std::size(kLimitProgress); ++progress) {
        if (progress != at.progress) improved |= try_limit(candidate, at.limit, progress, at.rule);
      }
      for (const std::size_t rule : kLimitRules) {
        if (rule != at.rule) improved |= try_limit(candidate, at.limit, at.progress, rule);
      }
    }
  }

  /// Asked before every limit.
  [[nodiscard]] bool tuned() { return finished() || tuning_.expired(); }

  /// True if this limit improves the candidate's best.
  bool try_limit(Candidate& candidate, std::uint32_t width, std::size_t progress, std::size_t rule) {
    if (tuned()) return false;
    Candidate tried = candidate;
    tried.limit = width;
    tried.progress = progress;
    tried.rule = rule;
    const bool is_whole = trial_->task_count() == problem_.task_count();
    std::optional<Duration> makespan;
    if (is_whole) {
      makespan = keep_limited(problem_, candidate.guess.modes, tried);
    } else if (const auto schedule =
                   schedule_limited(*trial_, fewer_modes(problem_, *trial_, candidate.guess.modes), tried)) {
      makespan = schedule->makespan(*trial_);
    }
    if (!makespan || (candidate.makespan && *candidate.makespan <= *makespan)) return false;
    candidate.makespan = makespan;
    candidate.limit = width;
    candidate.progress = progress;
    candidate.rule = rule;
    return true;
  }

  std::optional<Duration> keep_limited(const Problem& problem, const std::vector<ModeIndex>& modes,
                                       const Candidate& chosen) {
    std::optional<Schedule> schedule = schedule_limited(problem, modes, chosen);
    if (!schedule) return std::nullopt;
    const Duration makespan = schedule->makespan(problem);
    keep(*std::move(schedule), fmt::format("{}, {}, {} in flight until {:.0f} %", chosen.guess.method, last_rule_,
                                           chosen.limit, 100 * kLimitProgress[chosen.progress]));
    return makespan;
  }

  /// Under the limit, then justified without it. Nothing where none of the serial orders that are tried fits: the limit
  /// leaves fewer of them.
  std::optional<Schedule> schedule_limited(const Problem& problem, const std::vector<ModeIndex>& modes,
                                           const Candidate& chosen) {
    const InFlightLimit limit{chosen.limit, kLimitProgress[chosen.progress]};
    const double began = budget_.elapsed();
    std::optional<LimitedSchedule> scheduled = schedule_within_limit(problem, modes, limit, chosen.rule);
    longest_schedule_ = std::max(longest_schedule_, budget_.elapsed() - began);
    if (!scheduled) return std::nullopt;
    last_rule_ = scheduled->rule;
    ++evaluations_;
    const auto placed = PlacedProblem::create(problem, modes);
    return placed->schedule(justified(*placed, std::move(scheduled->starts), tuning_));
  }

  /// Every expert as published, and its order with the blocks taken apart, so that operators start as soon as their
  /// inputs and streams allow, then justified. Goes on where the call before ended: to make them all takes as long as a
  /// hundred list schedules.
  void add_experts() {
    if (experts_added_) return;
    if (experts_.empty()) {
      experts_ = expert_plans(problem_, budget_);
      next_expert_ = 0;
    }
    const bool are_all = !budget_.expired();
    while (next_expert_ < 2 * experts_.size()) {
      add_expert_form(next_expert_++);
      if (!finished()) continue;
      if (!are_all) experts_.clear();
      return;
    }
    experts_.clear();
    experts_added_ = true;
  }

  /// First all as published, then all taken apart.
  void add_expert_form(std::size_t number) {
    const ExpertPlan& expert = experts_[number % experts_.size()];
    if (number < experts_.size()) {
      add_expert(expert.schedule, expert.name);
      return;
    }
    const Schedule apart =
        simulate(problem_, execution_order(problem_, expert.schedule), {problem_.settings().contention, 1, {}})
            .schedule;
    const std::string name = expert.name + ", blocks taken apart";
    if (add_expert(apart, name) && !finished()) push_together(apart, name);
  }

  /// False if it is not valid: it may take too much memory.
  bool add_expert(const Schedule& schedule, const std::string& name) {
    ++evaluations_;
    return keep(schedule, name, true);
  }

  void push_together(const Schedule& schedule, const std::string& name) {
    const auto placed = PlacedProblem::create(problem_, schedule.modes());
    ++evaluations_;
    keep(placed->schedule(justified(*placed, placed->starts(schedule), budget_.share(kTuningShare))),
         name + ", pushed together");
  }

  /// As they are where there is no time for it, going by the longest list schedule: other steps, such as all published
  /// schedules, may take a hundred times as long.
  std::vector<std::int64_t> justified(const PlacedProblem& placed, std::vector<std::int64_t> starts,
                                      const Budget& budget) {
    end_step();
    if (!justifies_) return starts;
    const double pass = kPassSchedules * (longest_schedule_ > 0 ? longest_schedule_ : longest_step_);
    if (budget.remaining().value_or(pass) < pass) return starts;
    starts = justify(placed, std::move(starts), budget);
    asked_ = budget_.elapsed();  // that kept to the time by itself
    return starts;
  }

  /// A start is remembered only if it is valid, and only the best one per placement.
  /// \param is_claim  nobody has looked at memory yet
  /// \return whether a claim is valid
  bool keep(Schedule schedule, const std::string& method, bool is_claim = false) {
    if (options_.on_schedule) options_.on_schedule(schedule, method);
    const Duration makespan = schedule.makespan(problem_);
    const auto known = start_of_placement(starts_, schedule);
    if (known != starts_.end() && known->makespan <= makespan) return !is_claim || is_valid(problem_, schedule);
    const bool better = !incumbent_.makespan() || makespan < *incumbent_.makespan();
    const bool valid = better ? incumbent_.offer(schedule, method) : is_valid(problem_, schedule);
    if (!valid && better && !is_claim) rejection_ = incumbent_.last_rejection();
    if (!valid) return false;
    add_start(starts_, {std::move(schedule), makespan, method});
    return true;
  }

  const Problem& problem_;
  Budget budget_;  ///< of the call at hand
  IncumbentStore& incumbent_;
  const ConstructionOptions options_;
  PlacementGuesses guesses_;
  std::optional<Placing> placing_;
  std::vector<Candidate> candidates_;  ///< whose limits may be tuned
  std::vector<ExpertPlan> experts_;    ///< while some are not added
  std::size_t next_expert_ = 0;        ///< form of them
  bool experts_added_ = false;         ///< all of them
  double asked_ = 0;                   ///< when the last step ended
  double longest_schedule_ = 0;        ///< seconds of a list schedule; 0 = none yet
  bool justifies_ = true;              ///< limits as they are tried; else the best at the end
  const Problem* trial_ = nullptr;     ///< on which limits are tuned
  Budget tuning_;                      ///< for limits
  std::string last_rule_;
};

Construction::Construction(const Problem& problem, IncumbentStore& incumbent, ConstructionOptions options)
    : implementation_(std::make_unique<Implementation>(problem, incumbent, std::move(options))) {}
Construction::~Construction() = default;

void Construction::find_first(const Budget& budget) { implementation_->find_first(budget); }
void Construction::complete(const Budget& budget) { implementation_->complete(budget); }
const std::vector<Start>& Construction::starts() const { return implementation_->starts_; }
std::uint64_t Construction::evaluations() const { return implementation_->evaluations_; }
const std::string& Construction::rejection() const { return implementation_->rejection_; }
double Construction::longest_step() const { return implementation_->longest_step_; }

bool ConstructionMethod::supports(const ProblemTraits&) { return true; }

double ConstructionMethod::share(const ProblemTraits&) { return 1; }

Construction& ConstructionMethod::construction(IncumbentStore& incumbent) {
  if (construction_) return *construction_;
  ConstructionOptions options;
  if (context_.is_decided) {
    options.experts_early = true;
    options.is_enough = [] { return true; };
  }
  if (context_.options.searches_placement && StepPlacementMethod::supports(context_.traits)) {
    options.limits_share = kLimitsShareBeforeSearch;
  }
  handed_over_ = context_.starts;
  construction_ = std::make_unique<Construction>(context_.problem(), incumbent, std::move(options));
  return *construction_;
}

void ConstructionMethod::report() {
  context_.starts = handed_over_;
  for (const Start& start : construction_->starts()) add_start(context_.starts, start);
  std::ranges::stable_sort(context_.starts, {}, &Start::makespan);
  context_.step = construction_->longest_step();
}

void ConstructionMethod::find_first(IncumbentStore& incumbent, const Slice& slice) {
  construction(incumbent).find_first(slice.budget);
  if (!incumbent.makespan() && !construction_->rejection().empty()) {
    throw InternalError("check rejected every plan, the last one from " + construction_->rejection());
  }
  report();
}

void ConstructionMethod::advance(IncumbentStore& incumbent, const Slice& slice) {
  if (context_.is_decided && context_.traits.tasks > kMostTasksBesideOthers) return;
  construction(incumbent).complete(context_.is_decided ? slice.budget.share(kShareBesideOthers) : slice.budget);
  report();
}

}  // namespace opweave
