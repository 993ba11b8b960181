#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/random.h"
#include "memory_modes/carry.h"
#include "memory_modes/every_choice.h"
#include "memory_modes/levers.h"
#include "memory_modes/mode_incumbent.h"
#include "memory_modes/unfold.h"
#include "opweave/bounds.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/memory_modes.h"
#include "order_search/order_search.h"
#include "planner/provenance.h"

namespace opweave {
namespace {

/// Shares of the units with levers that are tried first, in this order.
constexpr std::array kShares = {1.0, 0.5, 0.25, 0.75};
/// Share of the time or work for them, and for the best of them alone.
constexpr double kShareOfFirst = 0.35;
constexpr double kShareOfBest = 0.5;
/// Candidate orders for each change of modes.
constexpr std::uint64_t kEvaluationsPerChange = 400;

void require_supported(const Problem& problem, const PlannerOptions& options) {
  if (options.objectives != std::vector{Objective::kMakespan}) {
    throw InputError("memory modes are planned for the makespan alone, expected no other objective");
  }
  if (options.deadline) throw InputError("memory modes are planned without a deadline, expected none");
  if (problem.settings().blocks != Blocks::kNone) {
    throw InputError("memory modes are planned for single operators, expected no blocks");
  }
}

/// The problem without what memory forbids: a plan with any modes is one of it, once what brings values back is left
/// out (docs/bounds.md).
Problem without_memory(const Problem& problem) {
  ClusterParts parts = problem.cluster().parts();
  for (Device& device : parts.devices) device.memory.reset();
  ProblemSettings settings = problem.settings();
  settings.memory_limit.reset();
  settings.memory_modes = {};
  return Problem::create(problem.graph(), Cluster::create(std::move(parts)), std::move(settings));
}

/// The work limit's part; all of it where there is none.
Budget part_of(const Budget& budget, double share, double of_work) {
  Budget part = budget.share(share);
  const auto work = budget.work_limit();
  return work ? part.with_work(static_cast<std::uint64_t>(static_cast<double>(*work) * of_work)) : part;
}

class ModeSearch {
 public:
  ModeSearch(const Problem& problem, const Budget& budget, const PlannerOptions& options, ModeIncumbent& incumbent)
      : problem_(problem),
        budget_(budget),
        options_(options),
        incumbent_(incumbent),
        units_(levers_of(problem)),
        random_(options.seed) {}

  void run() {
    try_shares();
    if (!incumbent_.best() || incumbent_.is_optimal()) return;
    plan_best();
    if (!units_.empty()) change_modes();
  }

 private:
  using State = std::vector<std::uint32_t>;  ///< by unit and microbatch: 0 = keep, else one more than the lever

  [[nodiscard]] std::uint32_t microbatches() const { return problem_.settings().training.microbatches; }

  [[nodiscard]] MemoryChoice choice_of(const State& state) const {
    MemoryChoice choice(problem_.value_count(), MemoryMode::kKeep);
    for (std::size_t u = 0; u < units_.size(); ++u) {
      for (std::uint32_t m = 0; m < microbatches(); ++m) {
        const std::uint32_t way = state[u * microbatches() + m];
        if (way == 0) continue;
        const Lever& lever = units_[u].levers[way - 1];
        for (const TensorId tensor : lever.tensors) choice[problem_.value_of(tensor, m).index()] = lever.mode;
      }
    }
    return choice;
  }

  /// The last lever of a mode is the one that gives most memory back; 0 where a unit has none.
  [[nodiscard]] std::uint32_t strongest(const UnitLevers& unit, MemoryMode mode) const {
    for (std::size_t i = unit.levers.size(); i-- > 0;) {
      if (unit.levers[i].mode == mode) return static_cast<std::uint32_t>(i + 1);
    }
    return 0;
  }

  void offer(const State& state, const ProblemWithMovements& derived, const Schedule& schedule,
             const std::string& method) {
    if (incumbent_.offer(derived, schedule, method)) state_ = state;
  }

  /// All units alike over the microbatches: everything kept, then some or all of them dropped, or moved to hosts.
  void try_shares() {
    std::vector<State> states = {State(units_.size() * microbatches(), 0)};
    for (const double share : kShares) {
      for (const MemoryMode mode : {MemoryMode::kHost, MemoryMode::kDrop}) {
        State state(states.front().size(), 0);
        const auto count = static_cast<std::size_t>(std::ceil(share * static_cast<double>(units_.size())));
        for (std::size_t u = 0; u < count; ++u) {
          const std::uint32_t way = strongest(units_[u], mode);
          std::fill_n(state.begin() + static_cast<std::ptrdiff_t>(u * microbatches()), microbatches(), way);
        }
        if (std::ranges::find(states, state) == states.end()) states.push_back(std::move(state));
      }
    }
    const double each = kShareOfFirst / static_cast<double>(states.size());
    double left = 1;
    for (const State& state : states) {
      if (incumbent_.is_optimal() || (budget_.expired() && incumbent_.best())) return;
      plan_modes(state, part_of(budget_, each / left, each));
      left -= each;
    }
  }

  void plan_modes(const State& state, const Budget& budget) {
    try {
      const auto derived = ProblemWithMovements::create(problem_, choice_of(state));
      PlannerOptions inner = options_;
      inner.warm_start.reset();
      inner.on_progress = nullptr;
      PlanResult result = opweave::plan(derived.problem(), budget, inner);
      if (!result.plan) return;
      offer(state, derived, to_schedule(derived.problem(), *result.plan), result.plan->provenance.method);
    } catch (const InputError&) {
      // Units that need each other, a device without a host: other choices are left.
    }
  }

  /// All methods of the planner on the modes that promise most.
  void plan_best() {
    const ModeIncumbent::Best best = *incumbent_.best();
    PlannerOptions inner = options_;
    inner.warm_start = best.schedule;
    inner.on_progress = [this](const Progress& progress) {
      if (progress.makespan) incumbent_.tell(*progress.makespan, progress.method);
    };
    const Budget budget = part_of(budget_, kShareOfBest, (1 - kShareOfFirst) * kShareOfBest);
    PlanResult result = opweave::plan(best.derived.problem(), budget, inner);
    if (result.plan) {
      offer(state_, best.derived, to_schedule(best.derived.problem(), *result.plan), result.plan->provenance.method);
    }
  }

  /// Modes of single microbatches, or of all microbatches of a unit, with the order carried over and searched.
  void change_modes() {
    std::uint64_t work = 0;
    if (const auto limit = budget_.work_limit()) {
      work = static_cast<std::uint64_t>(static_cast<double>(*limit) * (1 - kShareOfFirst) * (1 - kShareOfBest));
    }
    while (!budget_.expired() && !incumbent_.is_optimal()) {
      if (budget_.work_limit()) {
        if (work < kEvaluationsPerChange) return;
        work -= kEvaluationsPerChange;
      } else if (!budget_.time_limit_seconds()) {
        return;
      }
      change_once();
    }
  }

  void change_once() {
    const ModeIncumbent::Best best = *incumbent_.best();
    State state = state_;
    const std::size_t unit = random_.below(units_.size());
    const auto ways = static_cast<std::uint32_t>(units_[unit].levers.size() + 1);
    const std::uint32_t first = random_.below(microbatches());
    const std::uint32_t count = 1 + random_.below(std::min(4U, microbatches()));
    const std::size_t at = unit * microbatches();
    const std::uint32_t way = (state[at + first] + 1 + random_.below(ways - 1)) % ways;
    for (std::uint32_t m = first; m < std::min(microbatches(), first + count); ++m) state[at + m] = way;
    try {
      const auto derived = ProblemWithMovements::create(problem_, choice_of(state));
      const std::optional<Schedule> begin = carry(best.derived, best.schedule, derived);
      if (!begin) return;
      OrderSearchOptions how;
      how.seed = random_.next();
      how.initial_temperature = 0.5;
      how.max_evaluations = kEvaluationsPerChange;
      offer(state, derived, improve_order(derived.problem(), *begin, budget_, how, {}), "change of modes");
    } catch (const InputError&) {
      // As in plan_modes.
    }
  }

  const Problem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  ModeIncumbent& incumbent_;
  const std::vector<UnitLevers> units_;
  State state_;  ///< of the incumbent
  Random random_;
};

}  // namespace

PlanResult plan_with_memory_modes(const Problem& problem, const Budget& budget, const PlannerOptions& options) {
  require_supported(problem, options);
  PlanResult result;
  const Problem relaxed = without_memory(problem);
  if (const auto proofs = infeasibility_proofs(relaxed); !proofs.empty()) {
    result.reason = PlanResult::Reason::kInfeasible;
    result.detail = proofs.front();
    return result;
  }
  constexpr double kShareOfBounds = 0.05;
  result.bounds = lower_bounds(relaxed, budget.share(kShareOfBounds));
  ModeIncumbent incumbent(problem, budget, options, result.bounds.front().value);
  if (options.warm_start) {
    const MemoryChoice keep(problem.value_count(), MemoryMode::kKeep);
    incumbent.offer(ProblemWithMovements::create(problem, keep), *options.warm_start, "warm start");
  }
  if (EveryChoice every(problem, budget, options); every.is_small()) {
    const std::optional<Duration> bound = every.plan(incumbent);
    if (every.proves_infeasible() && !incumbent.best()) {
      result.reason = PlanResult::Reason::kInfeasible;
      result.detail = "no choice of memory modes has a valid plan";
      return result;
    }
    if (bound && *bound > result.bounds.front().value) {
      result.bounds.insert(result.bounds.begin(), {"memory-modes", *bound, "least over all choices of memory modes"});
    }
  } else {
    ModeSearch(problem, budget, options, incumbent).run();
  }
  const bool is_optimal = incumbent.best() && incumbent.best()->makespan == result.bounds.front().value;
  result.limit = reached_limit(budget, is_optimal);
  if (!incumbent.best()) return result;
  result.reason = PlanResult::Reason::kPlanned;
  const ModeIncumbent::Best& best = *incumbent.best();
  Provenance provenance = provenance_of(budget, options, best.method, incumbent.trajectory());
  provenance.graph_hash = content_hash(problem.graph());
  provenance.cluster_hash = content_hash(problem.cluster());
  result.plan = best.derived.plan(best.schedule, result.bounds, std::move(provenance));
  return result;
}

}  // namespace opweave
