#include "placement_search/training_placement.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "list_scheduling/fewer_microbatches.h"
#include "list_scheduling/justification.h"
#include "list_scheduling/limited_schedule.h"
#include "placement_search/chain_cuts.h"
#include "placement_search/dispatched_order.h"

namespace opweave {
namespace {

/// Microbatches that are dispatched: all of a usual step; of a long one enough for a ramp up, a steady middle and a
/// ramp down.
constexpr std::uint32_t kFewestDispatched = 32;
constexpr std::uint32_t kDispatchedPerDevice = 3;
/// Beyond these one placement takes so long that few can be tried. A whole step of no more is scheduled to tune ways,
/// else as many microbatches as are dispatched.
constexpr std::size_t kMostTasks = 20'000;
constexpr std::size_t kMostWorkEntries = 10'000'000;  ///< bundles x devices x streams
/// Relative lengthening that is accepted one time in e, at the beginning and at the end.
constexpr double kHot = 0.03;
constexpr double kCold = 0.0005;
/// Placements that are annealed side by side at first; half of them go at each of the turns.
constexpr std::size_t kWalks = 8;
constexpr double kTurns[] = {0.2, 0.4, 0.65, 1};
/// Share of the changes that leave the placement and take another way to let microbatches in.
constexpr std::uint32_t kWayPercent = 15;
/// Placements dispatched in one search, by bundle and device: from there on it pays more to search orders.
constexpr std::uint64_t kDispatchedPerChoice = 500;
/// Share of the time for the schedules of the best, and how many get one.
constexpr double kScheduleShare = 0.3;
constexpr std::size_t kScheduled = 6;
/// Cuts among them, whether or not a walk began there or left for something that a dispatch likes better.
constexpr std::size_t kCuts = 3;
/// So many get a first list schedule, which says which: a dispatch thinks little of cuts that turn back, and justified
/// they are among the shortest. They have a part of the schedules, or a share of the time
/// for them.
constexpr std::size_t kLookedAtCuts = 12;
constexpr std::uint64_t kCutsPart = 4;
constexpr double kCutsShare = 0.25;
/// Of the time for one of them, what ways are tuned in.
constexpr double kTuneShare = 0.8;
/// Starts so much longer than the shortest are no starts; the share of the search for a look at them.
constexpr double kFarthest = 1.3;
constexpr double kBeginShare = 0.15;
/// Changes drawn between two looks at the clock.
constexpr std::uint32_t kStride = 8;

std::uint32_t dispatched_microbatches(const Problem& problem) {
  const auto devices = static_cast<std::uint32_t>(problem.cluster().device_count());
  return std::max(kFewestDispatched, kDispatchedPerDevice * devices);
}

std::uint32_t scheduled_microbatches(const Problem& problem) {
  return problem.task_count() <= kMostTasks ? problem.settings().training.microbatches
                                            : dispatched_microbatches(problem);
}

InFlightLimit limit_of(const StepWay& way) { return {way.width, kLimitProgress[way.progress]}; }

/// Late entry with weight gradients where they fit, by microbatch; and early entry with weight gradients put off.
constexpr std::pair<std::size_t, std::size_t> kFirstWays[] = {{0, 0}, {6, 0}, {0, 2}, {4, 1}};

}  // namespace

bool TrainingPlacement::applies_to(const Problem& problem) {
  const Training& training = problem.settings().training;
  const std::uint32_t all = training.microbatches;
  if (all < 2 || problem.cluster().device_count() < 2) return false;
  std::vector<bool> has_one(training.replicas, false);
  for (std::uint32_t copy = 0; copy < all; ++copy) has_one[training.replica_of(copy)] = true;
  if (!std::ranges::all_of(has_one, [](bool has) { return has; })) return false;
  const std::size_t tasks = problem.task_count() * std::min(dispatched_microbatches(problem), all) / all;
  if (tasks > kMostTasks) return false;
  const std::size_t streams = problem.cluster().stream_names().size();
  if (problem.group_count() * problem.cluster().device_count() * streams > kMostWorkEntries) return false;
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    if (problem.devices_of(GroupId(g)).size() > 1) return true;
  }
  return false;
}

TrainingPlacement::TrainingPlacement(const Problem& problem, const std::vector<std::vector<ModeIndex>>& starts,
                                     std::uint64_t seed, std::optional<std::uint32_t> stands_for)
    : problem_(problem),
      trial_(with_fewer_microbatches(problem, scheduled_microbatches(problem))),
      model_(problem, starts.front()),
      moves_(model_),
      dispatch_(model_, dispatched_microbatches(problem), stands_for.value_or(model_.microbatches())),
      widest_(std::min(dispatched_microbatches(problem), problem.settings().training.microbatches)),
      random_(seed) {
  for (const std::vector<ModeIndex>& modes : starts) {
    std::vector<std::size_t> home;
    if (!model_.home_of(modes, home)) continue;
    home = model_.canonical(home);
    if (std::ranges::find(starts_, home) == starts_.end()) starts_.push_back(home);
  }
}

double TrainingPlacement::done() const {
  double share =
      static_cast<double>(effort_.dispatched) / static_cast<double>(std::max<std::uint64_t>(most_.dispatched, 1));
  if (seconds_ > 0) share = std::max(share, (budget_->elapsed() - began_) / seconds_);
  return std::min(1.0, share);
}

std::uint64_t TrainingPlacement::paying_dispatches() const {
  return kDispatchedPerChoice * model_.movable().size() * model_.devices();
}

bool TrainingPlacement::value(State& state, std::int64_t limit) {
  ++effort_.dispatched;
  const std::optional<std::int64_t> length = dispatch_.length(state.home, state.way, limit);
  if (length) state.length = *length;
  return length.has_value();
}

/// Limits of doubling width in these ways: the state takes the best below the limit.
void TrainingPlacement::scan_ways(State& state, std::size_t ways, std::int64_t limit) {
  for (const auto& [progress, rule] : std::span(kFirstWays).first(ways)) {
    for (std::uint32_t width = 1; width <= widest_ && !is_over(); width *= 2) {
      State tried{state.home, {width, progress, rule}, StepModel::kNever};
      if (value(tried, std::min(limit, state.length)) && tried.length < state.length) state = std::move(tried);
    }
  }
}

/// A rough look at all starts, and a closer one at the best.
void TrainingPlacement::begin() {
  std::vector<std::vector<std::size_t>> homes = starts_;
  for (const std::vector<std::size_t>& cut : chain_cuts(problem_, model_)) {
    std::vector<std::size_t> home = model_.canonical(cut);
    if (std::ranges::find(homes, home) == homes.end()) homes.push_back(std::move(home));
  }
  std::int64_t shortest = StepModel::kNever;
  for (std::vector<std::size_t>& home : homes) {
    State state{std::move(home), {}, StepModel::kNever};
    const bool is_first = shortest == StepModel::kNever;
    const auto far = static_cast<std::int64_t>(kFarthest * static_cast<double>(shortest));
    scan_ways(state, 1, is_first ? StepModel::kNever : far);
    shortest = std::min(shortest, state.length);
    if (state.length != StepModel::kNever) pool_.push_back(std::move(state));
    if (is_over() || done() > kBeginShare) break;
  }
  std::ranges::stable_sort(pool_, {}, &State::length);
  for (const State& state : pool_) {
    const bool is_cut = std::ranges::find(starts_, state.home) == starts_.end();
    if (is_cut && cuts_.size() < kLookedAtCuts) cuts_.push_back(state);
  }
  if (pool_.size() > kWalks) pool_.resize(kWalks);
  for (State& state : pool_) {
    if (done() < kBeginShare) scan_ways(state, std::size(kFirstWays), state.length);
  }
  std::ranges::stable_sort(pool_, {}, &State::length);
}

bool TrainingPlacement::change_way(StepWay& way) {
  switch (random_.below(3)) {
    case 0: {
      const std::int64_t width = std::int64_t{way.width} + random_.below(5) - 2;
      if (width < 1 || width > widest_ || width == way.width) return false;
      way.width = static_cast<std::uint32_t>(width);
      return true;
    }
    case 1:
      way.progress = random_.below(std::size(kLimitProgress));
      return true;
    default:
      way.rule = kLimitRules[random_.below(std::size(kLimitRules))];
      return true;
  }
}

/// Anneals until the search is done to that share.
void TrainingPlacement::walk(Walk& walk, double until) {
  State next;
  while (!is_over() && done() < until) {
    const double temperature = kHot * std::pow(kCold / kHot, done());
    for (std::uint32_t i = 0; i < kStride; ++i) {
      next = walk.current;
      const bool changed = random_.below(100) < kWayPercent ? change_way(next.way) : moves_.change(next.home, random_);
      if (!changed) continue;
      // Metropolis' rule, with its random number drawn first: what is longer need not be looked at to the end.
      const double longer = -temperature * std::log(1 - random_.unit());
      const auto limit = static_cast<std::int64_t>((1 + longer) * static_cast<double>(walk.current.length));
      if (!value(next, limit)) continue;
      std::swap(walk.current, next);
      if (walk.current.length < walk.best.length) walk.best = walk.current;
    }
  }
}

void TrainingPlacement::anneal() {
  if (pool_.empty()) begin();
  std::vector<Walk> walks;
  for (const State& state : pool_) {
    if (walks.size() < kWalks) walks.push_back({state, state});
  }
  std::size_t left = walks.size();
  double from = done();
  for (const double turn : kTurns) {
    for (std::size_t i = 0; i < left; ++i) {
      walk(walks[i], from + (turn - from) * static_cast<double>(i + 1) / static_cast<double>(left));
      pool_.push_back(walks[i].best);
    }
    std::stable_sort(walks.begin(), walks.begin() + static_cast<std::ptrdiff_t>(left),
                     [](const Walk& a, const Walk& b) { return a.best.length < b.best.length; });
    left = (left + 1) / 2;
    for (std::size_t i = 0; i < left; ++i) walks[i].current = walks[i].best;
    from = std::max(from, turn);
  }
  std::ranges::stable_sort(pool_, {}, &State::length);
  std::vector<State> distinct;
  for (State& state : pool_) {
    if (distinct.size() == kWalks) break;
    state.home = model_.canonical(state.home);
    if (std::ranges::find(distinct, state.home, &State::home) == distinct.end()) distinct.push_back(std::move(state));
  }
  pool_ = std::move(distinct);
}

/// The cuts with the shortest list schedules, as far as there is time for these.
void TrainingPlacement::rank_cuts(const Budget& budget) {
  std::vector<State> ranked;
  for (State& state : cuts_) {
    if (budget.expired() || effort_.scheduled >= most_.scheduled / kCutsPart) break;
    const auto modes = model_.modes(state.home);
    if (modes && scheduled(state, *modes, budget)) ranked.push_back(std::move(state));
  }
  std::ranges::stable_sort(ranked, {}, &State::length);
  if (ranked.size() > kCuts) ranked.resize(kCuts);
  cuts_ = std::move(ranked);
}

/// The best of the cuts and of the walks in turns.
std::vector<TrainingPlacement::State> TrainingPlacement::candidates() {
  std::vector<State> result;
  const auto add = [&](const State& state) {
    if (std::ranges::find(result, state.home, &State::home) == result.end()) result.push_back(state);
  };
  for (std::size_t i = 0; i < std::max(pool_.size(), cuts_.size()); ++i) {
    if (i < cuts_.size()) add(cuts_[i]);
    if (i < pool_.size()) add(pool_[i]);
  }
  cuts_.clear();  // the next search has others to offer
  return result;
}

/// Starts of the shorter of two schedules, justified: as dispatched, and a list schedule. Nothing if neither fits.
std::optional<std::vector<std::int64_t>> TrainingPlacement::schedule_of(const PlacedProblem& placed, const State& state,
                                                                        const Budget& budget) {
  std::optional<std::vector<std::int64_t>> best;
  const auto keep = [&](std::vector<std::int64_t> starts) {
    starts = justify(placed, std::move(starts), budget);
    if (!best || length(placed, starts) < length(placed, *best)) best = std::move(starts);
  };
  const std::uint32_t microbatches = placed.problem().settings().training.microbatches;
  StepDispatch dispatch(model_, microbatches, microbatches);
  if (dispatch.length(state.home, state.way, StepModel::kNever)) {
    if (auto starts = schedule_as_dispatched(placed, dispatch)) keep(*std::move(starts));
  }
  const InFlightLimit limit = limit_of(state.way);
  if (auto limited = schedule_within_limit(placed.problem(), placed.modes(), limit, state.way.rule)) {
    keep(std::move(limited->starts));
  }
  return best;
}

/// The same of the trial. The state takes its length.
std::optional<std::vector<std::int64_t>> TrainingPlacement::scheduled(State& state, const std::vector<ModeIndex>& modes,
                                                                      const Budget& budget) {
  ++effort_.scheduled;
  const double began = budget_->elapsed();
  const auto placed = PlacedProblem::create(trial_, fewer_modes(problem_, trial_, modes));
  if (!placed) return std::nullopt;
  std::optional<std::vector<std::int64_t>> starts = schedule_of(*placed, state, budget);
  if (!starts) return std::nullopt;
  state.length = length(*placed, *starts);
  longest_schedule_ = std::max(longest_schedule_, budget_->elapsed() - began);
  return starts;
}

/// Coordinate descent over width, progress and rule, by schedules of the trial. Starts of the best.
std::optional<std::vector<std::int64_t>> TrainingPlacement::tune(State& state, const std::vector<ModeIndex>& modes,
                                                                 const Budget& budget) {
  std::optional<std::vector<std::int64_t>> best = scheduled(state, modes, budget);
  if (!best) return best;
  const auto is_out = [&] {
    return budget.remaining().value_or(longest_schedule_) < longest_schedule_ || budget.expired() ||
           effort_.scheduled >= most_.scheduled;
  };
  const auto try_way = [&](const StepWay& way) {
    if (is_out() || way == state.way) return false;
    State tried{state.home, way, StepModel::kNever};
    auto starts = scheduled(tried, modes, budget);
    if (!starts || tried.length >= state.length) return false;
    state = std::move(tried);
    best = std::move(starts);
    return true;
  };
  for (bool improved = true; improved && !is_out();) {
    improved = false;
    for (const std::int64_t step : {-1, 1, -2, 2}) {
      StepWay way = state.way;
      const std::int64_t width = way.width + step;
      if (width < 1 || width > widest_) continue;
      way.width = static_cast<std::uint32_t>(width);
      improved |= try_way(way);
    }
    for (const std::size_t rule : kLimitRules) improved |= try_way({state.way.width, state.way.progress, rule});
    for (const std::int64_t step : {-1, 1}) {
      const std::int64_t progress = static_cast<std::int64_t>(state.way.progress) + step;
      if (progress < 0 || progress >= std::ssize(kLimitProgress)) continue;
      improved |= try_way({state.way.width, static_cast<std::size_t>(progress), state.way.rule});
    }
  }
  return best;
}

std::vector<TrainingPlacement::Found> TrainingPlacement::search(const Budget& budget, const Effort& most) {
  const Budget on_moves = budget.share(1 - kScheduleShare);
  budget_ = &on_moves;
  most_ = most;
  most_.dispatched = std::min(most.dispatched, paying_dispatches());
  effort_ = {0, 0};
  seconds_ = on_moves.remaining().value_or(0);
  began_ = on_moves.elapsed();
  anneal();
  std::vector<Found> found;
  rank_cuts(budget.share(kCutsShare));
  for (State& state : candidates()) {
    if (found.size() == kScheduled || budget.expired() || effort_.scheduled >= most_.scheduled) break;
    const auto modes = model_.modes(state.home);
    if (!modes) continue;
    const double share = kTuneShare / static_cast<double>(kScheduled - found.size());
    std::optional<std::vector<std::int64_t>> activity_starts = tune(state, *modes, budget.share(share));
    if (!activity_starts) continue;
    const auto placed = PlacedProblem::create(problem_, *modes);
    if (trial_.task_count() < problem_.task_count()) {
      const double expected =
          longest_schedule_ * static_cast<double>(problem_.task_count()) / static_cast<double>(trial_.task_count());
      if (budget.remaining().value_or(expected) < expected) break;
      activity_starts = schedule_of(*placed, state, budget);
      if (!activity_starts) continue;
    }
    Schedule schedule = placed->schedule(*activity_starts);
    const Duration makespan = schedule.makespan(problem_);
    found.push_back({std::move(schedule), makespan});
  }
  std::ranges::stable_sort(found, {}, &Found::makespan);
  return found;
}

}  // namespace opweave
