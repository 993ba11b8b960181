#include "planner/periodic_plans.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include "periodic/find_kernel.h"
#include "periodic/kernel_program.h"
#include "periodic/kernel_search.h"
#include "planner/doubling_parts.h"
#include "planner/improve_placements.h"
#include "planner/side_by_side.h"

namespace opweave {
namespace {

/// Microbatches of the iteration in whose middle kernels are sought: at least so many, and so many per device, to have
/// a steady state between two ramps.
constexpr std::uint32_t kTrialMicrobatches = 24;
constexpr std::uint32_t kTrialMicrobatchesPerDevice = 6;
/// Share of the time for that.
constexpr double kConstructionShare = 0.15;
/// Share of the time, or of a part of the work, to search placements on the short iteration, where they are open.
constexpr double kPlacementShare = 0.2;
/// Share of the time, or of a part of the work, to shorten the periods of kernels that are not as short as they can be.
constexpr double kShortenShare = 0.3;
/// Orders tried for that while plans are constructed, where the clock does not count.
constexpr std::uint64_t kFirstShortening = 3000;
/// Of it, the share of the solver, and intervals of the largest kernel that it is asked for.
constexpr double kSolverShare = 0.3;
constexpr std::size_t kMostIntervals = 1000;
/// Windows that the solver may use beyond those of the kernel that is known.
constexpr std::uint32_t kMoreWindows = 3;
/// Candidates whose ramps get a trial before the best gets the rest, and the share of all trials.
constexpr std::size_t kTrials = 3;
constexpr double kTrialShare = 0.3;
/// Lanes under a work limit: fixed, because the result must not depend on the threads at hand.
constexpr std::size_t kRepeatableLanes = 2;
/// The order of a kernel is good already: little of it may be given up, in mean durations.
constexpr double kHeat = 1;
/// Where neither time nor work is limited.
constexpr std::uint64_t kDefaultWork = 200'000;
/// A check of a long iteration takes a while: at most this share of the time goes to offers on the way.
constexpr double kOfferShare = 0.1;
/// Time kept for an offer, as a multiple of the longest so far.
constexpr double kOfferReserve = 1.5;

std::uint32_t trial_microbatches(const Problem& problem) {
  const auto devices = static_cast<std::uint32_t>(problem.cluster().device_count());
  return std::max(kTrialMicrobatches, kTrialMicrobatchesPerDevice * devices);
}

Problem trial_problem(const Problem& problem) {
  const auto lists = periodic::microbatches_by_replica(problem);
  std::vector<std::uint32_t> counts;
  for (const auto& list : lists) {
    const auto share = static_cast<std::uint32_t>(trial_microbatches(problem) / lists.size());
    counts.push_back(std::min(static_cast<std::uint32_t>(list.size()), std::max(1U, share)));
  }
  return periodic::with_microbatches(problem, counts);
}

bool placement_is_fixed(const Problem& problem) {
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    if (problem.mode_count(TaskId(t)) > 1) return false;
  }
  return true;
}

std::string describe(const periodic::Iteration& iteration, const std::string& origin) {
  const std::size_t microbatches = iteration.kernel().unit->placed().problem().settings().training.microbatches;
  const bool is_least = iteration.period() == periodic::least_period(*iteration.kernel().unit);
  return fmt::format("periodic, kernel of {} microbatch{}, period {:.2f} ms{}, from {}", microbatches,
                     microbatches == 1 ? "" : "es", static_cast<double>(iteration.period()) / 1e6,
                     is_least ? " (the least possible)" : "", origin);
}

}  // namespace

struct PeriodicPlans::Attempt {
  const Candidate* candidate;
  std::uint64_t seed;
  std::uint64_t max_evaluations;
  std::unique_ptr<periodic::Iteration> iteration;
};

bool PeriodicPlans::supports(const ProblemTraits& traits) {
  return traits.microbatches > trial_microbatches(traits.problem);
}

PeriodicPlans::PeriodicPlans(const Problem& problem, const PlannerOptions& options, IncumbentStore& incumbent)
    : problem_(problem), options_(options), incumbent_(incumbent), trial_(trial_problem(problem)) {}

/// True if nothing better can come on this placement, but for the ramps.
bool PeriodicPlans::consider(const Schedule& schedule, const std::string& method) {
  const std::optional<periodic::Kernel> kernel = periodic::kernel_from_schedule(problem_, trial_, schedule);
  if (!kernel) return false;
  return keep(*kernel, method, std::make_shared<const periodic::Iteration::Example>(trial_, schedule));
}

/// Keeps the best kernel of each placement. True as consider().
bool PeriodicPlans::keep(const periodic::Kernel& kernel, const std::string& method,
                         std::shared_ptr<const periodic::Iteration::Example> example) {
  const std::unique_ptr<periodic::Iteration> iteration = periodic::Iteration::create(problem_, kernel, example.get());
  if (!iteration) return false;
  const Duration makespan(iteration->makespan());
  const auto same_placement = [&](const Candidate& candidate) {
    return candidate.kernel.unit->placed().modes() == kernel.unit->placed().modes();
  };
  const auto known = std::find_if(candidates_.begin(), candidates_.end(), same_placement);
  if (known == candidates_.end() || makespan < known->makespan) {
    // The others when all are known: a check of a long iteration takes a while.
    if (!incumbent_.makespan()) offer(*iteration, method);
    if (known != candidates_.end()) candidates_.erase(known);
    const auto behind = std::find_if(candidates_.begin(), candidates_.end(),
                                     [&](const Candidate& candidate) { return candidate.makespan > makespan; });
    candidates_.insert(behind, {kernel, method, std::move(example), makespan});
  }
  return iteration->period() == periodic::least_period(*kernel.unit);
}

/// By the clock, the solver says whether a small unit has a kernel of the least possible period.
std::optional<periodic::Kernel> PeriodicPlans::solve_for_least_period(const periodic::Kernel& kernel,
                                                                      const Budget& budget) const {
  if (!budget.remaining() || budget.work_limit() || options_.method == Method::kHeuristic) return std::nullopt;
  periodic::Time first = std::numeric_limits<periodic::Time>::max();
  periodic::Time last = std::numeric_limits<periodic::Time>::min();
  for (const periodic::Node node : kernel.unit->nodes()) {
    first = std::min(first, kernel.window(node));
    last = std::max(last, kernel.window(node));
  }
  periodic::KernelProgramOptions options;
  options.windows = static_cast<std::uint32_t>(last - first) + kMoreWindows;
  options.seed = options_.seed;
  if (periodic::kernel_program_size(*kernel.unit, options.windows) > kMostIntervals) return std::nullopt;
  return periodic::solve_kernel(kernel.unit, periodic::least_period(*kernel.unit), &kernel, budget.share(kSolverShare),
                                options)
      .kernel;
}

/// Searches for shorter periods of the best candidates, by the clock if it counts. Returns the orders tried otherwise.
std::uint64_t PeriodicPlans::shorten_periods(const Budget& budget, std::uint64_t orders, std::uint64_t seed) {
  std::vector<Candidate> tried;
  for (const Candidate& candidate : candidates_) {
    if (tried.size() < kTrials && candidate.kernel.period > periodic::least_period(*candidate.kernel.unit)) {
      tried.push_back(candidate);
    }
  }
  std::uint64_t evaluations = 0;
  for (std::size_t i = 0; i < tried.size() && !budget.expired(); ++i) {
    periodic::KernelSearchOptions options;
    options.seed = seed + i;
    options.max_evaluations = std::numeric_limits<std::uint64_t>::max();
    if (!budget.remaining()) {
      options.max_evaluations = orders / tried.size();
      evaluations += options.max_evaluations;
    }
    std::optional<periodic::Kernel> best = solve_for_least_period(tried[i].kernel, budget);
    if (best && keep(*best, tried[i].method, nullptr)) continue;
    periodic::shorten_period(tried[i].kernel, budget.share(1.0 / static_cast<double>(tried.size() - i)), options,
                             [&](const periodic::Kernel& kernel) { best = kernel; });
    if (best) keep(*best, tried[i].method, nullptr);
  }
  return evaluations;
}

void PeriodicPlans::offer(const periodic::Iteration& iteration, const std::string& origin) {
  const Duration makespan(iteration.makespan());
  if (incumbent_.makespan() && makespan >= *incumbent_.makespan()) return;
  const Budget clock;
  incumbent_.offer(iteration.schedule(), describe(iteration, origin));
  double known = offer_seconds_;
  const double seconds = clock.elapsed();
  while (seconds > known && !offer_seconds_.compare_exchange_weak(known, seconds)) {
  }
}

/// Kernels of the schedules that construction makes of the trial, until there is a plan or to the end.
std::uint64_t PeriodicPlans::find_candidates(const Budget& given, bool until_first, IncumbentStore& store) {
  const bool is_fixed = placement_is_fixed(trial_);
  std::atomic<bool> is_over = false;
  const Budget budget = given.share(kConstructionShare).until(&is_over);
  bool has_least_period = false;
  ConstructionOptions options;
  options.experts_early = true;
  options.is_enough = [&] { return is_fixed && has_least_period; };
  options.see = [&](const Schedule& schedule, const std::string& method) {
    if (!candidates_.empty() && (until_first || given.expired())) is_over = true;
    if (!is_over) has_least_period |= consider(schedule, method);
  };
  Construction construction = opweave::construct(trial_, budget, store, options);
  starts_ = std::move(construction.starts);
  return construction.evaluations;
}

/// Kernels of placements that are searched for on the short iteration. Returns the orders that takes as long as.
std::uint64_t PeriodicPlans::place_layers(const Budget& budget, std::optional<std::uint64_t> work, std::uint64_t seed,
                                          IncumbentStore& store) {
  PlannerOptions options = options_;
  options.seed = seed;
  PlacementsFound found =
      search_placements(trial_, budget, options, starts_, work, store, problem_.settings().training.microbatches);
  for (Start& start : found.starts) {
    consider(start.schedule, start.method);
    starts_.push_back(std::move(start));
  }
  std::ranges::stable_sort(starts_, {}, &Start::makespan);
  return found.orders;
}

std::uint64_t PeriodicPlans::construct(const Budget& given, const std::function<bool()>& on_first) {
  std::uint64_t evaluations = 0;
  if (given.remaining() && !incumbent_.makespan()) {
    IncumbentStore store(trial_, given, {});
    evaluations += find_candidates(given, true, store);
  }
  if (incumbent_.makespan() && (!on_first() || given.expired())) return evaluations;
  IncumbentStore store(trial_, given, {});
  evaluations += find_candidates(given, false, store);
  if (given.remaining() && !given.work_limit() && !given.expired()) {
    (void)place_layers(given.share(kPlacementShare), std::nullopt, options_.seed, store);
  }
  if (!given.expired()) evaluations += shorten_periods(given.share(kShortenShare), kFirstShortening, options_.seed);
  if (candidates_.empty()) return evaluations;
  const Candidate& best = candidates_.front();
  const auto iteration = periodic::Iteration::create(problem_, best.kernel, best.example.get());
  offer(*iteration, best.method);
  lead_ = incumbent_.makespan() && best.makespan <= *incumbent_.makespan() &&
          (!store.makespan() || iteration->period() <= periodic::distance_of_repetitions(trial_, store.schedule()));
  return evaluations;
}

void PeriodicPlans::run(std::vector<Attempt>& attempts, const Budget& budget) {
  const std::size_t workers = std::min<std::size_t>(std::max(1U, options_.threads), attempts.size());
  const std::size_t turns = (attempts.size() + workers - 1) / workers;
  const bool repeatable = budget.work_limit().has_value();
  const auto work_through = [&](std::size_t worker) {
    std::size_t turns_left = turns;
    for (std::size_t i = worker; i < attempts.size(); i += workers, --turns_left) {
      Attempt& attempt = attempts[i];
      const Budget own = budget.share(1.0 / static_cast<double>(turns_left));
      double next_offer = 0;
      attempt.iteration->improve(own, {attempt.seed, attempt.max_evaluations, kHeat},
                                 [&](const periodic::Iteration& iteration) {
                                   if (repeatable || budget.elapsed() < next_offer) return;
                                   const double began = budget.elapsed();
                                   offer(iteration, attempt.candidate->method);
                                   next_offer = budget.elapsed() + (budget.elapsed() - began) / kOfferShare;
                                 });
    }
  };
  side_by_side(workers, work_through);
  // In the order of the attempts, so that the incumbent's trajectory is repeatable where the work is.
  for (const Attempt& attempt : attempts) {
    offer(*attempt.iteration, attempt.candidate->method);
  }
}

void PeriodicPlans::improve(const Budget& budget, std::optional<std::uint64_t> work) {
  if (candidates_.empty()) return;
  if (!work && budget.remaining()) return improve_ramps(budget, std::nullopt, options_.seed);
  std::uint64_t seed = options_.seed;
  for (const std::uint64_t part : doubling_parts(work.value_or(kDefaultWork))) {
    if (incumbent_.is_optimal() || budget.expired()) return;
    ++seed;
    const auto share = [&](double of) { return static_cast<std::uint64_t>(of * static_cast<double>(part)); };
    IncumbentStore store(trial_, budget, {});
    std::uint64_t left = part;
    left -= std::min(left, place_layers(budget, share(kPlacementShare), seed, store));
    left -= std::min(left, shorten_periods(budget, share(kShortenShare), seed));
    improve_ramps(budget, left, seed);
  }
}

/// \param work  orders to try; nothing = by the clock
void PeriodicPlans::improve_ramps(const Budget& given, std::optional<std::uint64_t> work, std::uint64_t seed) {
  // What is found at the end has to be checked, lane by lane.
  const double last_offers = kOfferReserve * offer_seconds_ * std::max(1U, options_.threads);
  const Budget budget = given.until(&incumbent_.is_final()).keeping(last_offers);
  const auto evaluations = [&](double share, std::size_t lanes) {
    if (!work) return std::numeric_limits<std::uint64_t>::max();
    return static_cast<std::uint64_t>(static_cast<double>(*work) * share / static_cast<double>(lanes));
  };
  std::vector<Attempt> attempts;
  const auto attempt = [&](const Candidate& candidate, std::uint64_t own_seed, std::uint64_t most) {
    attempts.push_back(
        {&candidate, own_seed, most, periodic::Iteration::create(problem_, candidate.kernel, candidate.example.get())});
  };
  const Candidate* best = &candidates_.front();
  double share = 1;
  if (candidates_.size() > 1) {
    const std::size_t trials = std::min(kTrials, candidates_.size());
    for (std::size_t i = 0; i < trials; ++i) attempt(candidates_[i], seed + i, evaluations(kTrialShare, trials));
    run(attempts, budget.share(kTrialShare));
    if (incumbent_.is_optimal() || budget.expired()) return;
    best = std::min_element(attempts.begin(), attempts.end(), [](const Attempt& a, const Attempt& b) {
             return a.iteration->makespan() < b.iteration->makespan();
           })->candidate;
    share -= kTrialShare;
    attempts.clear();
  }
  const std::size_t lanes = work ? kRepeatableLanes : std::max(1U, options_.threads);
  for (std::size_t i = 0; i < lanes; ++i) attempt(*best, seed + 1000 + i, evaluations(share, lanes));
  run(attempts, budget);
}

}  // namespace opweave
