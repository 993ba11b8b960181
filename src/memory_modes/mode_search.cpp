#include "memory_modes/mode_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "memory_modes/carry.h"
#include "opweave/error.h"
#include "order_search/order_search.h"

namespace opweave {
namespace {

/// Shares of the units with levers that are tried first, in this order.
constexpr std::array kShares = {1.0, 0.5, 0.25, 0.75};
/// Shares of the time and work: for choices in which all microbatches are alike, for those that delay some, for the
/// best of all alone. The rest is for changes.
constexpr double kShareOfAlike = 0.25;
constexpr double kShareOfDelays = 0.3;
constexpr double kShareOfBest = 0.25;
/// Microbatches of a replica that are delayed.
constexpr std::uint32_t kMostDelayed = 4;
/// Candidate orders for each change of modes.
constexpr std::uint64_t kEvaluationsPerChange = 400;
/// Where nothing limits the search there is no last change.
constexpr std::uint64_t kMostChanges = 1000;

/// By task of the ordinary problem, what it is in which microbatch; empty where the problem says so itself.
std::vector<Likeness> likeness_of(const ProblemWithMovements& derived) {
  const Problem& original = derived.original();
  if (derived.problem().settings().training == original.settings().training) return {};
  const std::size_t operators = original.graph().operators().size();
  const std::size_t tensors = original.graph().tensors().size();
  std::vector<Likeness> result;
  for (std::size_t t = 0; t < derived.problem().task_count(); ++t) {
    const ProblemWithMovements::Origin origin = derived.origin(TaskId(t));
    const Task& task = original.task(origin.task);
    std::size_t kind = task.op.index();
    if (origin.is_movement && origin.kind == MovementKind::kRecompute) kind += operators;
    if (origin.is_movement && origin.kind != MovementKind::kRecompute) {
      kind = 2 * operators + original.tensor_of(origin.value).index();
      if (origin.kind == MovementKind::kCopyIn) kind += tensors;
    }
    result.push_back({task.copy, static_cast<std::uint32_t>(kind), origin.is_movement});
  }
  return result;
}

Budget budget_of(const Slice& slice) {
  return slice.evaluations ? slice.budget.with_work(std::max<std::uint64_t>(1, *slice.evaluations)) : slice.budget;
}

}  // namespace

ModeSearch::ModeSearch(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                       ModeIncumbent& incumbent)
    : problem_(problem),
      budget_(budget),
      options_(options),
      incumbent_(incumbent),
      units_(levers_of(problem)),
      microbatches_(problem.settings().training.microbatches),
      state_(units_.size() * microbatches_, 0),
      random_(options.seed) {}

void ModeSearch::run() {
  try_shares();
  if (!incumbent_.best()) return;
  if (!is_over()) delay_microbatches();
  if (!is_over()) improve_best();
  if (!is_over() && !units_.empty()) change_modes();
}

Slice ModeSearch::part(double of_time_left, double of_all_work) const {
  Slice slice{budget_.share(of_time_left), budget_.work_limit(), options_.threads};
  if (slice.evaluations) {
    slice.evaluations = static_cast<std::uint64_t>(static_cast<double>(*slice.evaluations) * of_all_work);
  }
  return slice;
}

MemoryChoice ModeSearch::choice_of(const State& state) const {
  MemoryChoice choice(problem_.value_count(), MemoryMode::kKeep);
  for (std::size_t u = 0; u < units_.size(); ++u) {
    for (std::uint32_t m = 0; m < microbatches_; ++m) {
      const std::uint32_t way = state[u * microbatches_ + m];
      if (way == 0) continue;
      const Lever& lever = units_[u].levers[way - 1];
      for (const TensorId tensor : lever.tensors) choice[problem_.value_of(tensor, m).index()] = lever.mode;
    }
  }
  return choice;
}

/// Gives the first units a mode in some microbatches. The last lever of a mode is the one that gives most memory back.
void ModeSearch::move_units(State& state, MemoryMode mode, double share,
                            const std::vector<std::uint32_t>& microbatches) const {
  const auto count = static_cast<std::size_t>(std::ceil(share * static_cast<double>(units_.size())));
  for (std::size_t u = 0; u < count; ++u) {
    const std::vector<Lever>& levers = units_[u].levers;
    const auto last = std::find_if(levers.rbegin(), levers.rend(), [&](const Lever& l) { return l.mode == mode; });
    if (last == levers.rend()) continue;
    const auto way = static_cast<std::uint32_t>(levers.rend() - last);
    for (const std::uint32_t m : microbatches) state[u * microbatches_ + m] = way;
  }
}

void ModeSearch::offer(const Candidate& candidate, const char* method) {
  if (incumbent_.offer(candidate.derived, candidate.schedule, method)) state_ = candidate.state;
}

ModeSearch::Candidate ModeSearch::best() const {
  const ModeIncumbent::Best& best = *incumbent_.best();
  return {state_, best.derived, best.schedule, best.makespan};
}

/// All units alike over the microbatches: everything kept, then some or all of them dropped, or moved to hosts.
void ModeSearch::try_shares() {
  std::vector<std::uint32_t> all(microbatches_);
  std::iota(all.begin(), all.end(), 0U);
  std::vector<State> states = {State(units_.size() * microbatches_, 0)};
  for (const double share : kShares) {
    for (const MemoryMode mode : {MemoryMode::kHost, MemoryMode::kDrop}) {
      State state(states.front().size(), 0);
      move_units(state, mode, share, all);
      if (std::ranges::find(states, state) == states.end()) states.push_back(std::move(state));
    }
  }
  const double each = kShareOfAlike / static_cast<double>(states.size());
  double left = 1;
  for (const State& state : states) {
    if (incumbent_.is_optimal() || (budget_.expired() && incumbent_.best())) return;
    plan_modes(state, part(each / left, each));
    left -= each;
  }
}

void ModeSearch::plan_modes(const State& state, const Slice& slice) {
  try {
    const auto derived = ProblemWithMovements::create(problem_, choice_of(state), Return::kJustInTime);
    PlannerOptions inner = options_;
    inner.warm_start.reset();
    inner.on_progress = nullptr;
    PlanResult result = opweave::plan(derived.problem(), budget_of(slice), inner);
    if (!result.plan) return;
    Schedule schedule = to_schedule(derived.problem(), *result.plan);
    const Candidate candidate{state, derived, std::move(schedule), result.plan->statistics.makespan};
    if (std::ranges::count(state, 0U) == std::ssize(state)) kept_ = candidate;
    offer(candidate, result.plan->provenance.method.c_str());
  } catch (const InputError&) {
    // Units that need each other, a device without a host: other choices are left.
  }
}

/// The schedule of another state, with the modes of a few values changed, in the order of this one; improved.
std::optional<ModeSearch::Candidate> ModeSearch::carried(const Candidate& from, std::span<const std::int64_t> starts,
                                                         State state, const OrderSearchOptions& options,
                                                         const Budget& budget) const {
  try {
    auto derived = ProblemWithMovements::create(problem_, choice_of(state), Return::kJustInTime);
    const std::optional<Schedule> begin = carry(from.derived, from.schedule, starts, derived);
    if (!begin) return std::nullopt;
    OrderSearchOptions how = options;
    how.likeness = likeness_of(derived);
    Schedule better = improve_order(derived.problem(), *begin, budget, how, {});
    const Duration makespan = better.makespan(derived.problem());
    if (getenv("MODEDBG"))
      fprintf(stderr, "%.2f carried from %.2f: begin %.2f -> %.2f\n", budget_.elapsed(), from.makespan.value() / 1e6,
              begin->makespan(derived.problem()).value() / 1e6, makespan.value() / 1e6);
    return Candidate{std::move(state), std::move(derived), std::move(better), makespan};
  } catch (const InputError&) {
    return std::nullopt;  // as in plan_modes
  }
}

/// Some microbatches of each replica let everything go and come back last: their forward passes fill the idle time at
/// the beginning, their repetitions and backward passes that at the end.
void ModeSearch::delay_microbatches() {
  std::vector<Candidate> bases = {best()};
  if (kept_ && kept_->makespan > bases.front().makespan) bases.push_back(*kept_);
  struct Way {
    const Candidate* base;
    MemoryMode mode;
  };
  std::vector<Way> ways;
  for (const MemoryMode mode : {MemoryMode::kDrop, MemoryMode::kHost}) {
    const auto has_mode = [&](const UnitLevers& unit) {
      return std::ranges::any_of(unit.levers, [&](const Lever& lever) { return lever.mode == mode; });
    };
    if (!std::ranges::any_of(units_, has_mode)) continue;
    for (const Candidate& base : bases) ways.push_back({&base, mode});
  }
  double left = 1 - kShareOfAlike;
  for (const Way& way : ways) {
    if (is_over()) return;
    const double each = kShareOfDelays / static_cast<double>(ways.size());
    delay_from(*way.base, way.mode, part(each / left, each));
    left -= each;
  }
}

/// One microbatch of each replica more, as long as that is better: the last that began.
void ModeSearch::delay_from(const Candidate& base, MemoryMode mode, const Slice& slice) {
  const Training& training = problem_.settings().training;
  std::vector<std::vector<std::uint32_t>> of_replica(training.replicas);
  const std::vector<std::int64_t> starts = original_starts(base.derived, base.schedule);
  std::vector<std::int64_t> begin(microbatches_, std::numeric_limits<std::int64_t>::max());
  for (std::size_t t = 0; t < starts.size(); ++t) {
    if (problem_.op(TaskId(t)).phase == Phase::kOptimizer) continue;
    std::int64_t& first = begin[problem_.task(TaskId(t)).copy];
    first = std::min(first, starts[t]);
  }
  for (std::uint32_t m = 0; m < microbatches_; ++m) of_replica[training.replica_of(m)].push_back(m);
  for (auto& own : of_replica) std::ranges::stable_sort(own, {}, [&](std::uint32_t m) { return begin[m]; });
  Candidate last = base;
  for (std::uint32_t step = 0; step < kMostDelayed && !is_over(); ++step) {
    std::vector<std::uint32_t> delayed;
    for (std::vector<std::uint32_t>& own : of_replica) {
      if (own.size() < 2) continue;
      delayed.push_back(own.back());
      own.pop_back();
    }
    State state = last.state;
    move_units(state, mode, 1, delayed);
    if (state == last.state) return;
    const Slice own = slice.share(1.0 / (kMostDelayed - step));
    OrderSearchOptions how;
    how.seed = random_.next();
    how.initial_temperature = 1;
    how.max_evaluations = slice.evaluations ? *slice.evaluations / kMostDelayed : own.most_evaluations();
    std::optional<Candidate> next = carried(last, delayed_starts(last, delayed), std::move(state), how, own.budget);
    if (!next || next->makespan >= last.makespan) return;
    offer(*next, "delayed microbatches");
    last = std::move(*next);
  }
}

/// The starts of the original tasks, with the forward passes of some microbatches before the last one that begins
/// before the backward pass does on their devices, while there is memory to run them, and their backward passes behind
/// all others.
std::vector<std::int64_t> ModeSearch::delayed_starts(const Candidate& from,
                                                     const std::vector<std::uint32_t>& delayed) const {
  std::vector<DeviceId> device(problem_.task_count());
  for (std::size_t t = 0; t < from.schedule.tasks.size(); ++t) {
    const ProblemWithMovements::Origin origin = from.derived.origin(TaskId(t));
    if (origin.is_movement) continue;
    device[origin.task.index()] = from.derived.problem().mode(TaskId(t), from.schedule.tasks[t].mode).devices.front();
  }
  const std::vector<std::int64_t> before = original_starts(from.derived, from.schedule);
  const auto is_delayed = [&](std::uint32_t m) { return std::ranges::find(delayed, m) != delayed.end(); };
  std::vector<std::int64_t> first_backward(problem_.cluster().device_count(), std::numeric_limits<std::int64_t>::max());
  std::vector<std::int64_t> last_forward(first_backward.size(), 0);
  for (std::size_t t = 0; t < before.size(); ++t) {
    const Phase phase = problem_.op(TaskId(t)).phase;
    if (phase == Phase::kForward && !is_delayed(problem_.task(TaskId(t)).copy)) {
      last_forward[device[t].index()] = std::max(last_forward[device[t].index()], before[t]);
    }
    if (phase == Phase::kForward || phase == Phase::kOptimizer) continue;
    std::int64_t& first = first_backward[device[t].index()];
    first = std::min(first, before[t]);
  }
  std::vector<std::int64_t> starts = before;
  for (std::size_t t = 0; t < starts.size(); ++t) {
    const Task& task = problem_.task(TaskId(t));
    const Phase phase = problem_.op(TaskId(t)).phase;
    if (phase == Phase::kOptimizer || !is_delayed(task.copy)) continue;
    // Memory becomes free behind the last forward pass.
    std::int64_t last = phase == Phase::kForward ? 0 : last_forward[device[t].index()];
    for (std::uint32_t m = 0; m < microbatches_; ++m) {
      const TaskId other = problem_.task_of(task.op, m);
      if (problem_.task(other).replica != task.replica || is_delayed(m)) continue;
      const std::int64_t start = before[other.index()];
      if (phase == Phase::kForward && start > first_backward[device[t].index()]) continue;
      last = std::max(last, start);
    }
    starts[t] = phase == Phase::kForward ? last - 1 : last + 1;
  }
  return starts;
}

/// All methods of the planner on the modes that promise most; where microbatches differ, the order search alone, which
/// knows what is alike.
void ModeSearch::improve_best() {
  constexpr double kTimeBefore = kShareOfAlike + kShareOfDelays;
  const Slice slice = part(kShareOfBest / (1 - kTimeBefore), kShareOfBest);
  const Candidate begin = best();
  OrderSearchOptions how;
  how.likeness = likeness_of(begin.derived);
  if (how.likeness.empty()) {
    PlannerOptions inner = options_;
    inner.warm_start = begin.schedule;
    inner.on_progress = [this](const Progress& progress) {
      if (progress.makespan) incumbent_.tell(*progress.makespan, progress.method);
    };
    PlanResult result = opweave::plan(begin.derived.problem(), budget_of(slice), inner);
    if (!result.plan) return;
    offer({begin.state, begin.derived, to_schedule(begin.derived.problem(), *result.plan),
           result.plan->statistics.makespan},
          result.plan->provenance.method.c_str());
    return;
  }
  std::vector<std::optional<Schedule>> found(slice.lanes());
  const std::uint64_t seed = random_.next();
  slice.each(found.size(), [&](std::size_t lane, const Slice& own) {
    OrderSearchOptions options = how;
    options.seed = seed + lane;
    options.max_evaluations = own.most_evaluations();
    found[lane] = improve_order(begin.derived.problem(), begin.schedule, own.budget, options, {});
  });
  for (const std::optional<Schedule>& schedule : found) {
    if (!schedule) continue;
    offer({begin.state, begin.derived, *schedule, schedule->makespan(begin.derived.problem())}, "order search");
  }
}

/// Modes of single microbatches with the order carried over and searched, as many changes at once as there are lanes.
void ModeSearch::change_modes() {
  Slice slice = part(1, 1 - kShareOfAlike - kShareOfDelays - kShareOfBest);
  const std::size_t lanes = slice.lanes();
  std::uint64_t rounds = slice.evaluations ? *slice.evaluations / (kEvaluationsPerChange * lanes) : kMostChanges;
  const bool has_end = slice.evaluations || !budget_.time_limit_seconds();
  slice.evaluations = kEvaluationsPerChange * lanes;
  while (!is_over() && (!has_end || rounds > 0)) {
    if (has_end) --rounds;
    const Candidate begin = best();
    const std::uint64_t seed = random_.next();
    std::vector<std::optional<Candidate>> found(lanes);
    slice.each(lanes, [&](std::size_t lane, const Slice& own) {
      Random random(seed + lane);
      State state = changed(begin.state, random);
      OrderSearchOptions how;
      how.seed = random.next();
      how.initial_temperature = 0.5;
      how.max_evaluations = kEvaluationsPerChange;
      found[lane] = carried(begin, original_starts(begin.derived, begin.schedule), std::move(state), how, own.budget);
    });
    for (const std::optional<Candidate>& candidate : found) {
      if (candidate) offer(*candidate, "change of modes");
    }
  }
}

/// Another way for one unit in one to four neighbouring microbatches, or for some units in one microbatch; or two
/// microbatches change places.
ModeSearch::State ModeSearch::changed(State state, Random& random) const {
  const auto at = [&](std::size_t unit, std::uint32_t m) -> std::uint32_t& { return state[unit * microbatches_ + m]; };
  const std::uint32_t first = random.below(microbatches_);
  const std::size_t unit = random.below(units_.size());
  const auto ways = static_cast<std::uint32_t>(units_[unit].levers.size() + 1);
  const std::uint32_t way = (at(unit, first) + 1 + random.below(ways - 1)) % ways;
  const std::uint32_t draw = random.below(10);
  if (draw < 5) {
    const std::uint32_t count = 1 + random.below(std::min(4U, microbatches_));
    for (std::uint32_t m = first; m < std::min(microbatches_, first + count); ++m) at(unit, m) = way;
  } else if (draw < 8) {
    const std::size_t count = 1 + random.below(units_.size());
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t other = (unit + i) % units_.size();
      at(other, first) = std::min(way, static_cast<std::uint32_t>(units_[other].levers.size()));
    }
  } else {
    const std::uint32_t second = random.below(microbatches_);
    for (std::size_t u = 0; u < units_.size(); ++u) std::swap(at(u, first), at(u, second));
  }
  return state;
}

}  // namespace opweave
