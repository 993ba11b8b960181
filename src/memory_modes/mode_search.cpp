#include "memory_modes/mode_search.h"

#include <algorithm>
#include <utility>

#include "memory_modes/carry.h"
#include "memory_modes/memory_slack.h"
#include "memory_modes/reductions.h"
#include "opweave/error.h"
#include "order_search/order_search.h"

namespace opweave {
namespace {

/// Share of the time and work for all methods of the planner on the best choice so far. The rest is for changes.
constexpr double kShareOfBest = 0.15;
/// The same where memory has room for everything.
constexpr double kShareOfKept = 0.4;
/// Where there are no modes to choose: the share of all methods. The rest searches the order with the reductions in it.
constexpr double kShareOfFirstPlan = 0.02;
constexpr double kShareOfPlanning = 0.6;
/// Candidate orders for each change of modes.
constexpr std::uint64_t kEvaluationsPerChange = 400;
/// One change of so many keeps all that fits, and takes this share of what is left.
constexpr std::uint64_t kChangesPerKeeping = 16;
constexpr double kShareOfKeeping = 0.3;
/// Share of the time for a choice in which gradients are summed in no time, where they are not.
constexpr double kShareBeforeReductions = 0.6;
/// A change is given up that makes the plan so much longer at first.
constexpr double kLongestBegin = 1.02;
/// Candidate orders where nothing limits the search.
constexpr std::uint64_t kMostWork = 400'000;

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
    if (origin.is_movement && origin.kind == MovementKind::kAllReduce) {
      kind = 2 * operators + 2 * tensors + origin.parameter.index();
    } else if (origin.is_movement && origin.kind != MovementKind::kRecompute) {
      kind = 2 * operators + original.tensor_of(origin.value).index();
      if (origin.kind == MovementKind::kCopyIn) kind += tensors;
    }
    result.push_back({task.copy, static_cast<std::uint32_t>(kind), origin.is_movement});
  }
  return result;
}

}  // namespace

ModeSearch::ModeSearch(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                       const ModeOptions& modes, ModeIncumbent& incumbent)
    : problem_(problem),
      budget_(budget),
      options_(options),
      is_uniform_(modes.is_uniform),
      incumbent_(incumbent),
      unreduced_(without_reductions(problem)),
      reduces_(!reductions_of(problem).empty()),
      units_(levers_of(problem)),
      microbatches_(problem.settings().training.microbatches),
      state_(units_.size() * microbatches_, 0),
      random_(options.seed) {}

void ModeSearch::run() {
  if (units_.empty()) return order_alone();
  std::vector<Candidate> found;
  try_shares(found);
  if (!incumbent_.best()) return;
  if (!is_uniform_ && !is_over()) try_plenty(found);
  if (!is_over()) run_rounds(found);
  found.clear();
  if (!is_over()) improve_best();
  if (!is_over() && !is_uniform_) change_modes();
}

/// No value may have a mode: all is in the order.
void ModeSearch::order_alone() {
  (void)planned(state_, next(kShareOfFirstPlan));
  if (!is_over()) (void)planned(state_, next(kShareOfPlanning));
  if (!incumbent_.best() || is_over()) return;
  const ModeIncumbent::Best best = *incumbent_.best();
  offer(in_better_order(state_, best.derived, best.schedule, options_.seed, next(1 - spent_)), "order search");
}

Slice ModeSearch::next(double of_all) {
  of_all = std::clamp(of_all, 0.0, 1 - spent_);
  const double of_rest = spent_ < 1 ? std::min(1.0, of_all / (1 - spent_)) : 1;
  spent_ += of_all;
  Slice slice{budget_.share(of_rest), budget_.work_limit(), options_.threads};
  if (slice.evaluations) {
    slice.evaluations = static_cast<std::uint64_t>(static_cast<double>(*slice.evaluations) * of_all);
  }
  return slice;
}

bool ModeSearch::is_behind(double of_all) const {
  const std::optional<double> limit = budget_.time_limit_seconds();
  return limit && !budget_.work_limit() && budget_.elapsed() > of_all * *limit;
}

Budget ModeSearch::budget_of(const Slice& slice) {
  return slice.evaluations ? slice.budget.with_work(std::max<std::uint64_t>(1, *slice.evaluations)) : slice.budget;
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

void ModeSearch::offer(const Candidate& candidate, const char* method) {
  if (incumbent_.offer(candidate.derived, candidate.schedule, method)) state_ = candidate.state;
}

std::optional<ModeSearch::Candidate> ModeSearch::planned(const State& state, const Slice& slice) {
  try {
    const Slice planning = reduces_ ? slice.share(kShareBeforeReductions) : slice;
    auto derived = ProblemWithMovements::create(unreduced_, choice_of(state), Return::kJustInTime);
    PlannerOptions inner = options_;
    inner.warm_start.reset();
    inner.on_progress = nullptr;
    PlanResult result = opweave::plan(derived.problem(), budget_of(planning), inner);
    if (!result.plan) return std::nullopt;
    Schedule schedule = to_schedule(derived.problem(), *result.plan);
    Candidate candidate{state, std::move(derived), std::move(schedule), result.plan->statistics.makespan};
    if (reduces_) {
      // Reductions are not alike in all microbatches: what the planner knows of those would be lost to it.
      Slice rest = slice;
      if (rest.evaluations) *rest.evaluations -= *planning.evaluations;
      auto reduced = ProblemWithMovements::create(problem_, choice_of(state));
      const std::optional<Schedule> begin = carry(candidate.derived, candidate.schedule, reduced);
      if (!begin) return std::nullopt;
      candidate = in_better_order(state, std::move(reduced), *begin, options_.seed, rest);
    }
    offer(candidate, result.plan->provenance.method.c_str());
    return candidate;
  } catch (const InputError&) {
    return std::nullopt;  // units that need each other, a device without a host: other choices are left
  }
}

/// The schedule of another state, with the modes of a few values changed, in the order of this one; improved.
std::optional<ModeSearch::Candidate> ModeSearch::carried(const Candidate& from, State state, std::uint64_t seed,
                                                         const Slice& slice) const {
  try {
    auto derived = ProblemWithMovements::create(problem_, choice_of(state), Return::kAnyTime);
    const std::optional<Schedule> begin = carry(from.derived, from.schedule, derived);
    if (!begin) return std::nullopt;
    const Duration first = begin->makespan(derived.problem());
    if (static_cast<double>(first.value()) > kLongestBegin * static_cast<double>(from.makespan.value())) {
      return std::nullopt;
    }
    return in_better_order(std::move(state), std::move(derived), *begin, seed, slice);
  } catch (const InputError&) {
    return std::nullopt;  // as in planned()
  }
}

ModeSearch::Candidate ModeSearch::in_better_order(State state, ProblemWithMovements derived, const Schedule& begin,
                                                  std::uint64_t seed, const Slice& slice) const {
  OrderSearchOptions how;
  how.seed = seed;
  how.initial_temperature = 0.5;
  how.max_evaluations = slice.most_evaluations();
  how.likeness = likeness_of(derived);
  Schedule better = improve_order(derived.problem(), begin, slice.budget, how, {});
  const Duration makespan = better.makespan(derived.problem());
  return {std::move(state), std::move(derived), std::move(better), makespan};
}

/// All methods of the planner on the modes that promise most.
void ModeSearch::improve_best() {
  const bool is_kept = std::ranges::all_of(state_, [](std::uint32_t way) { return way == 0; });
  const Slice slice = next(is_uniform_ ? 1 - spent_ : is_kept && !reduces_ ? kShareOfKept : kShareOfBest);
  const ModeIncumbent::Best best = *incumbent_.best();
  if (!likeness_of(best.derived).empty()) {  // whose microbatches the planner would not know
    offer(in_better_order(state_, best.derived, best.schedule, random_.next(), slice), "order search");
    return;
  }
  PlannerOptions inner = options_;
  inner.warm_start = best.schedule;
  inner.on_progress = [this](const Progress& progress) {
    if (progress.makespan) incumbent_.tell(*progress.makespan, progress.method);
  };
  PlanResult result = opweave::plan(best.derived.problem(), budget_of(slice), inner);
  if (!result.plan) return;
  Schedule schedule = to_schedule(best.derived.problem(), *result.plan);
  offer({state_, best.derived, std::move(schedule), result.plan->statistics.makespan},
        result.plan->provenance.method.c_str());
}

/// In turns: all that memory has room for is kept and the order is searched for long, since what need not be made again
/// gives way; then modes of single microbatches change, the order carried over and searched for a moment, as many
/// changes at once as there are parallel searches. What costs nothing is taken too.
void ModeSearch::change_modes() {
  const Slice all = next(1 - spent_);
  const std::size_t searches = all.parallel_searches();
  std::uint64_t left = all.evaluations.value_or(kMostWork);
  const bool has_end = all.is_repeatable() || !budget_.time_limit_seconds();
  const ModeIncumbent::Best& best = *incumbent_.best();
  Candidate current{state_, best.derived, best.schedule, best.makespan};
  for (std::uint64_t round = 0; !is_over(); ++round) {
    const bool keeps = round % kChangesPerKeeping == 0;
    Slice own = all;
    if (keeps) own.budget = all.budget.share(kShareOfKeeping);
    if (!keeps || has_end) {
      const auto part_of_left = static_cast<std::uint64_t>(kShareOfKeeping * static_cast<double>(left));
      own.evaluations = std::max(keeps ? part_of_left : 0, kEvaluationsPerChange * searches);
      if (has_end && *own.evaluations > left) return;
      if (has_end) left -= *own.evaluations;
    }
    const State kept = keeps ? kept_where_it_fits(current) : State();
    const std::uint64_t seed = random_.next();
    std::vector<std::optional<Candidate>> found(searches);
    own.each(searches, [&](std::size_t number, const Slice& slice) {
      Random random(seed + number);
      State state = keeps ? kept : changed(current.state, random);
      found[number] = carried(current, std::move(state), random.next(), slice);
    });
    for (std::optional<Candidate>& candidate : found) {
      if (!candidate || candidate->makespan > current.makespan) continue;
      offer(*candidate, "change of modes");
      current = std::move(*candidate);
    }
  }
}

/// Values stay, with the unit of their microbatch, where memory has room for them until they are back: what frees least
/// memory goes first.
ModeSearch::State ModeSearch::kept_where_it_fits(const Candidate& candidate) const {
  MemorySlack slack(candidate.derived, candidate.schedule);
  struct Stay {
    double cost;  ///< bytes x time
    std::size_t at;
    std::vector<MemorySlack::Gap> gaps;
  };
  std::vector<Stay> stays;
  for (std::size_t u = 0; u < units_.size(); ++u) {
    for (std::uint32_t m = 0; m < microbatches_; ++m) {
      const std::size_t at = u * microbatches_ + m;
      if (candidate.state[at] == 0) continue;
      Stay stay{0, at, {}};
      for (const TensorId tensor : units_[u].levers[candidate.state[at] - 1].tensors) {
        for (const MemorySlack::Gap& gap : slack.gaps(problem_.value_of(tensor, m))) {
          stay.cost += static_cast<double>(gap.bytes) * static_cast<double>(gap.to - gap.from);
          stay.gaps.push_back(gap);
        }
      }
      stays.push_back(std::move(stay));
    }
  }
  std::ranges::stable_sort(stays, {}, &Stay::cost);
  State state = candidate.state;
  for (const Stay& stay : stays) {
    if (slack.take(stay.gaps)) state[stay.at] = 0;
  }
  return state;
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
