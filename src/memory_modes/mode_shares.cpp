// Choices in which all microbatches are alike, and the one that a schedule without memory limits asks for.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>
#include <utility>

#include "memory_modes/carry.h"
#include "memory_modes/mode_search.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/planner.h"
#include "planner/incumbent.h"

namespace opweave {
namespace {

/// Shares of the units with levers that are tried first, in this order, and steps to others from the best of them.
constexpr std::array kShares = {1.0, 0.5, 0.25, 0.75};
constexpr std::array kFinerSteps = {0.125, 0.0625};
/// Shares of two modes, where units may have both.
constexpr std::array<std::pair<double, double>, 4> kPairs = {{{0.5, 0.5}, {0.25, 0.75}, {0.75, 0.25}, {0.25, 0.25}}};
/// Of the time and work: for each choice of one mode for everything, which needs time for all constructions of the
/// planner; a moment for each share; what memory for everything would be like; the best of all these in rounds.
constexpr double kShareOfEach = 0.1;
/// The same by the clock, at most, for one mode and for two: where time is short, fewer choices get enough of it.
constexpr double kMostOfEach = 0.25;
constexpr double kMostOfEachOfTwo = 0.18;
constexpr double kShareOfMoments = 0.1;
constexpr double kShareOfPlenty = 0.05;
constexpr double kShareOfRounds = 0.15;
/// Of the time, for published schedules, which need no work.
constexpr double kShareOfPublished = 0.2;
/// All constructions of a problem take less, in seconds per task.
constexpr double kSecondsPerTask = 2e-3;
/// By the clock no moment begins when this share of it has gone.
constexpr double kEndOfMoments = 0.45;
/// Candidates of the first round; half of them in each of the next.
constexpr std::size_t kMostCandidates = 4;

/// The problem whose devices have memory for everything.
Problem with_plenty_of_memory(const Problem& problem) {
  ClusterParts parts = problem.cluster().parts();
  for (Device& device : parts.devices) device.memory.reset();
  ProblemSettings settings = problem.settings();
  settings.memory_limit.reset();
  return Problem::create(problem.graph(), Cluster::create(std::move(parts)), std::move(settings));
}

}  // namespace

/// The modes beside keeping that some unit may have.
std::vector<MemoryMode> ModeSearch::modes_of_units() const {
  std::vector<MemoryMode> result;
  for (const MemoryMode mode : {MemoryMode::kHost, MemoryMode::kDrop}) {
    const bool is_there = std::ranges::any_of(units_, [&](const UnitLevers& unit) {
      return std::ranges::find(unit.levers, mode, &Lever::mode) != unit.levers.end();
    });
    if (is_there) result.push_back(mode);
  }
  return result;
}

std::uint32_t ModeSearch::way_of(std::size_t unit, MemoryMode mode) const {
  const std::vector<Lever>& levers = units_[unit].levers;
  const auto last = std::find_if(levers.rbegin(), levers.rend(), [&](const Lever& l) { return l.mode == mode; });
  return static_cast<std::uint32_t>(levers.rend() - last);
}

void ModeSearch::give(State& state, std::size_t unit, MemoryMode mode) const {
  std::fill_n(state.begin() + static_cast<std::ptrdiff_t>(unit * microbatches_), microbatches_, way_of(unit, mode));
}

ModeSearch::State ModeSearch::first_of_stages(MemoryMode mode, std::uint32_t count) const {
  State state(units_.size() * microbatches_, 0);
  for (std::size_t u = 0; u < units_.size(); ++u) {
    if (units_[u].rank_in_stage < count) give(state, u, mode);
  }
  return state;
}

/// Gives the first units a mode, and those behind them the next.
ModeSearch::State ModeSearch::state_of(const Share& share) const {
  State state(units_.size() * microbatches_, 0);
  std::vector<std::size_t> order(units_.size());
  std::iota(order.begin(), order.end(), 0U);
  if (share.by_stage) std::ranges::stable_sort(order, {}, [&](std::size_t u) { return units_[u].rank_in_stage; });
  const auto count_of = [&](double of_units) {
    if (!is_uniform_ || order.empty()) {
      return static_cast<std::size_t>(std::ceil(of_units * static_cast<double>(units_.size())));
    }
    const auto rank_at = [&](std::size_t u) { return units_[u].rank_in_stage; };
    const double ranks = 1.0 + rank_at(order.back());  // as many of each stage
    return static_cast<std::size_t>(std::ranges::lower_bound(order, of_units * ranks, {}, rank_at) - order.begin());
  };
  const std::size_t first = std::min(order.size(), count_of(share.of_units));
  const std::size_t both = std::min(order.size(), count_of(share.of_units + share.of_units_then));
  for (std::size_t i = 0; i < both; ++i) {
    give(state, order[i], i < first ? share.mode : share.then);
  }
  return state;
}

std::vector<ModeSearch::Share> ModeSearch::shares() const {
  const std::vector<MemoryMode> modes = modes_of_units();
  std::vector<Share> result = {{MemoryMode::kKeep, 0, false}};
  for (const double share : kShares) {
    for (const MemoryMode mode : modes) {
      if (!is_uniform_) result.push_back({mode, share, false});
      if (is_uniform_ || share < 1) result.push_back({mode, share, true});
    }
    if (share < 1 || modes.size() < 2 || is_uniform_) continue;
    for (const auto& [first, then] : kPairs) {
      result.push_back({modes[0], first, false, modes[1], then});
      if (first != then) continue;
      result.push_back({modes[1], first, false, modes[0], then});
      result.push_back({modes[0], first, true, modes[1], then});
    }
  }
  return result;
}

/// All microbatches alike: everything kept, dropped, or on hosts; then a half, a quarter and three quarters of the
/// units dropped, or on hosts, or some of them the one and some the other; then shares between, around the best.
void ModeSearch::try_shares(std::vector<Candidate>& found) {
  std::set<State> tried;
  std::optional<std::pair<Duration, Share>> best;
  const auto attempt = [&](const Share& share, double of_all) {
    State state = state_of(share);
    if (!tried.insert(state).second || incumbent_.is_optimal()) return;
    if (incumbent_.best() && budget_.expired()) return;
    std::optional<Candidate> candidate = planned(state, next(of_all));
    if (!candidate) return;
    if (!best || candidate->makespan < best->first) best = {candidate->makespan, share};
    add(found, std::move(*candidate));
  };
  const std::vector<Share> all = shares();
  const std::vector<MemoryMode> modes = modes_of_units();
  const double moment = kShareOfMoments / static_cast<double>(all.size() + 2 * kFinerSteps.size());
  attempt({MemoryMode::kKeep, 0, false}, moment);  // so that there is a plan soon
  try_published(found);
  double each = kShareOfEach;
  if (const auto limit = budget_.time_limit_seconds()) {
    const double most = modes.size() > 1 ? kMostOfEachOfTwo : kMostOfEach;
    if (!budget_.work_limit()) {
      each = std::clamp(kSecondsPerTask * static_cast<double>(problem_.task_count()) / *limit, moment, most);
    }
  }
  for (const MemoryMode mode : modes) attempt({mode, 1, is_uniform_}, each);
  if (best && best->second.mode == MemoryMode::kKeep) {
    tried.erase(state_of(best->second));
    attempt(best->second, each);
  }
  for (const Share& share : all) {
    if (!is_behind(kEndOfMoments)) attempt(share, moment);
  }
  for (const double step : kFinerSteps) {
    if (!best || best->second.mode == MemoryMode::kKeep || is_behind(kEndOfMoments)) return;
    Share less = best->second;
    Share more = best->second;
    less.of_units = std::max(0.0, less.of_units - step);
    more.of_units = std::min(1.0, more.of_units + step);
    attempt(less, moment);
    attempt(more, moment);
  }
}

/// Published schedules with the first units of every stage in one mode, as many as is best: they are made without a
/// search, so that on large problems, too, no plan is longer than they are. First none and all, then half, and so on.
void ModeSearch::try_published(std::vector<Candidate>& found) {
  if (reduces_) return;  // they know no reductions
  const Budget budget = budget_.share(kShareOfPublished);
  std::uint32_t most = 0;
  for (const UnitLevers& unit : units_) most = std::max(most, unit.rank_in_stage + 1);
  std::set<State> tried;
  double longest = 0;
  const auto attempt = [&](MemoryMode mode, std::uint32_t count) {
    State state = first_of_stages(mode, count);
    if (is_over() || budget.remaining().value_or(longest) < longest || !tried.insert(state).second) return;
    const double begin = budget.elapsed();
    if (std::optional<Candidate> candidate = published(std::move(state), budget)) add(found, *std::move(candidate));
    longest = std::max(longest, budget.elapsed() - begin);
  };
  attempt(MemoryMode::kKeep, 0);
  for (std::uint32_t step = most; step > 0; step /= 2) {
    for (std::uint32_t count = step; count <= most; count += step) {
      for (const MemoryMode mode : modes_of_units()) attempt(mode, count);
    }
  }
}

/// The shortest published schedule of a state that is valid, offered.
std::optional<ModeSearch::Candidate> ModeSearch::published(State state, const Budget& budget) {
  try {
    auto derived = ProblemWithMovements::create(problem_, choice_of(state), Return::kJustInTime);
    const Problem& problem = derived.problem();
    std::vector<ExpertPlan> experts = expert_plans(problem, budget);
    std::ranges::stable_sort(experts, {}, [&](const ExpertPlan& expert) { return expert.schedule.makespan(problem); });
    const auto valid =
        std::ranges::find_if(experts, [&](const ExpertPlan& expert) { return is_valid(problem, expert.schedule); });
    if (valid == experts.end()) return std::nullopt;
    const Duration makespan = valid->schedule.makespan(problem);
    Candidate candidate{std::move(state), derived, std::move(valid->schedule), makespan};
    offer(candidate, valid->name.c_str());
    return candidate;
  } catch (const InputError&) {
    return std::nullopt;  // as in planned()
  }
}

/// In the order of a schedule with memory for everything, everything goes, and then stays that memory has room for.
/// Devices that hold many microbatches so let more go than others, and more in the middle of the iteration.
void ModeSearch::try_plenty(std::vector<Candidate>& found) {
  const std::vector<MemoryMode> modes = modes_of_units();
  const double each = kShareOfPlenty / static_cast<double>(2 + modes.size());
  const Problem plenty = with_plenty_of_memory(unreduced_);
  const State keep(state_.size(), 0);
  const auto free = ProblemWithMovements::create(plenty, choice_of(keep));
  PlannerOptions inner = options_;
  inner.warm_start.reset();
  inner.on_progress = nullptr;
  const PlanResult result = opweave::plan(free.problem(), budget_of(next(2 * each)), inner);
  if (!result.plan) return;
  const Candidate begin{keep, free, to_schedule(free.problem(), *result.plan), result.plan->statistics.makespan};
  for (const MemoryMode mode : modes) {
    const Slice slice = next(each);
    if (is_over()) return;
    try {
      const State state = state_of({mode, 1, false});
      auto derived = ProblemWithMovements::create(problem_, choice_of(state));
      const std::optional<Schedule> gone = carry(begin.derived, begin.schedule, derived);
      if (!gone) continue;
      const Duration makespan = gone->makespan(derived.problem());
      const Candidate everything{state, std::move(derived), *gone, makespan};
      State kept = kept_where_it_fits(everything);
      auto rest = ProblemWithMovements::create(problem_, choice_of(kept));
      const std::optional<Schedule> less = carry(everything.derived, everything.schedule, rest);
      Candidate candidate =
          less ? in_better_order(std::move(kept), std::move(rest), *less, options_.seed, slice) : everything;
      offer(candidate, "as if memory were plenty");
      add(found, std::move(candidate));
    } catch (const InputError&) {
      // As in planned().
    }
  }
}

/// The best few, each in a better order; half of them again, for longer. First all stays that memory has room for:
/// nothing gets longer by that.
void ModeSearch::run_rounds(std::vector<Candidate>& found) {
  std::size_t rounds = 0;
  for (std::size_t count = found.size(); count > 0; count /= 2) ++rounds;
  bool keeps = !is_uniform_;
  for (std::size_t count = found.size(); count > 0 && !is_over(); count /= 2) {
    found.erase(found.begin() + static_cast<std::ptrdiff_t>(count), found.end());
    std::vector<std::optional<Candidate>> better(count);
    const std::uint64_t seed = random_.next();
    next(kShareOfRounds / static_cast<double>(rounds)).each(count, [&](std::size_t i, const Slice& slice) {
      const Candidate& from = found[i];
      if (keeps) better[i] = carried(from, kept_where_it_fits(from), seed + i, slice);
      if (better[i] && better[i]->makespan > from.makespan) better[i] = from;
      if (!better[i]) better[i] = in_better_order(from.state, from.derived, from.schedule, seed + i, slice);
    });
    keeps = false;
    for (std::size_t i = 0; i < count; ++i) found[i] = std::move(*better[i]);
    std::ranges::stable_sort(found, {}, &Candidate::makespan);
    offer(found.front(), "order search");
  }
}

void ModeSearch::add(std::vector<Candidate>& found, Candidate candidate) {
  const auto behind =
      std::ranges::find_if(found, [&](const Candidate& other) { return other.makespan > candidate.makespan; });
  found.insert(behind, std::move(candidate));
  if (found.size() > kMostCandidates) found.pop_back();
}

}  // namespace opweave
