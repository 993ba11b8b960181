#include "planner/periodic_plans.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <span>
#include <utility>

#include "periodic/find_kernel.h"
#include "periodic/kernel_program.h"
#include "periodic/kernel_search.h"
#include "periodic/modulo_schedule.h"
#include "planner/construction.h"
#include "planner/improve_placements.h"
#include "planner/offers.h"

namespace opweave {
namespace {

/// Microbatches of the iteration in whose middle kernels are sought: at least so many, and so many per device, to have
/// a steady state between two ramps.
constexpr std::uint32_t kKernelTrialMicrobatches = 24;
constexpr std::uint32_t kTrialMicrobatchesPerDevice = 6;
/// Share of the time for that, and for a first look before bounds are found, which may take long.
constexpr double kConstructionShare = 0.15;
constexpr double kFirstLookShare = 0.05;
/// Share of the time, or of a part of the work, to search placements on the short iteration, where they are open.
constexpr double kPlacementShare = 0.2;
/// Share of the time, or of a part of the work, to shorten the periods of kernels that are not as short as they can be.
constexpr double kShortenShare = 0.3;
/// Orders tried for that while plans are constructed, where the clock does not count.
constexpr std::uint64_t kFirstShortening = 3000;
/// Of the time to shorten a period, the share of the solver, and intervals of the largest kernel that it is asked for.
constexpr double kSolverShare = 0.3;
constexpr std::size_t kMostKernelIntervals = 1000;
/// Laps that the solver may use beyond those of the kernel that is known.
constexpr std::uint32_t kMoreLaps = 3;
/// Placements whose kernels are scheduled anew, and the share of the time for that; how many modulo schedules are begun
/// for each, of as many nodes, and fewer of more.
constexpr std::size_t kModuloPlacements = 12;
constexpr double kFirstModuloShare = 0.1;
constexpr std::uint64_t kFirstModuloTries = 50;
constexpr std::uint64_t kFirstModuloNodes = 400;
/// Of what shortens the periods of the best later, the share of modulo schedules.
constexpr double kModuloShare = 0.3;
/// Nodes for which a modulo schedule takes as long as an order of a kernel: its effort grows with their square.
constexpr std::uint64_t kNodesPerOrder = 32;
/// Candidates whose ramps get a trial before the best gets the rest, and the share of all trials.
constexpr std::size_t kRampTrials = 3;
constexpr double kRampTrialShare = 0.3;
/// Share of their first length that ramps may come to, and of the time to see whether they do where that decides.
constexpr double kLeastRamps = 0.5;
constexpr double kDecisionShare = 0.15;
/// Plans that searches of the whole begin from, where it comes to them.
constexpr std::size_t kHandedOver = 6;
/// The order of a kernel is good already: little of it may be given up, in mean durations.
constexpr double kInitialTemperature = 1;
/// Time kept for an offer, as a multiple of the longest so far.
constexpr double kOfferReserve = 1.5;

std::uint32_t trial_microbatches(const Problem& problem) {
  const auto devices = static_cast<std::uint32_t>(problem.cluster().device_count());
  return std::max(kKernelTrialMicrobatches, kTrialMicrobatchesPerDevice * devices);
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

std::uint64_t first_modulo_tries(const periodic::LoopBody& body) {
  const std::uint64_t nodes = std::max<std::uint64_t>(body.nodes().size(), kFirstModuloNodes);
  return std::max<std::uint64_t>(1, kFirstModuloTries * kFirstModuloNodes * kFirstModuloNodes / (nodes * nodes));
}

bool placement_is_fixed(const Problem& problem) {
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    if (problem.mode_count(TaskId(t)) > 1) return false;
  }
  return true;
}

std::string describe(const periodic::Iteration& iteration, const std::string& origin) {
  const std::size_t microbatches = iteration.kernel().body->placed().problem().settings().training.microbatches;
  const bool is_least = iteration.period() == periodic::least_period(*iteration.kernel().body);
  return fmt::format("periodic, kernel of {} microbatch{}, period {:.2f} ms{}, from {}", microbatches,
                     microbatches == 1 ? "" : "es", static_cast<double>(iteration.period()) / 1e6,
                     is_least ? " (the least possible)" : "", origin);
}

}  // namespace

struct PeriodicPlans::Attempt {
  const Candidate* candidate;
  std::uint64_t seed;
  std::unique_ptr<periodic::Iteration> iteration;
};

/// What one slice does.
class PeriodicPlans::Work {
 public:
  Work(PeriodicPlans& method, IncumbentStore& incumbent, const Slice& slice)
      : method_(method), problem_(method.problem_), trial_(method.trial_), incumbent_(incumbent), slice_(slice) {}

  void find_first() {
    IncumbentStore store(trial_, slice_.budget, {});
    find_candidates(kFirstLookShare, store);
    if (!method_.candidates_.empty() && !slice_.budget.expired()) offer_best();
  }

  void find_kernels() {
    IncumbentStore store(trial_, slice_.budget, {});
    find_candidates(kConstructionShare, store);
    if (!slice_.is_repeatable() && !slice_.budget.expired()) {
      (void)place_layers(slice_.share(kPlacementShare), method_.seed_, store);
    }
    schedule_placements(slice_.budget.share(kFirstModuloShare));
    if (!slice_.budget.expired()) {
      Slice own = slice_.share(kShortenShare);
      if (own.evaluations) own.evaluations = kFirstShortening;
      method_.evaluations_ += shorten_periods(own, method_.seed_);
    }
    if (method_.candidates_.empty()) return;
    const auto iteration = offer_best();
    const std::optional<Duration> makespan = incumbent_.makespan();
    const bool is_own = makespan && method_.candidates_.front().makespan <= *makespan;
    method_.leads_ = is_own && (!store.makespan() ||
                                iteration->period() <= periodic::distance_of_repetitions(trial_, store.schedule()));
    if (method_.leads_ || !store.makespan() || placement_is_fixed(trial_)) return;
    if (slice_.is_repeatable() || slice_.budget.expired()) return;
    method_.leads_ = is_own && leads_with_ramps(*iteration, store.schedule());
    if (!method_.leads_) hand_over();
  }

  void improve() {
    if (method_.candidates_.empty()) return;
    if (!slice_.is_repeatable()) {
      // Every lap is as long as the kernel: what a long period costs, no ramp makes up for.
      const std::uint64_t seed = method_.seed_++;
      shorten_periods(slice_.share(kShortenShare), seed);
      return improve_ramps(slice_, seed);
    }
    const std::uint64_t seed = ++method_.seed_;
    IncumbentStore store(trial_, slice_.budget, {});
    Slice on_ramps = slice_;
    const auto spend = [&](std::uint64_t orders) { *on_ramps.evaluations -= std::min(*on_ramps.evaluations, orders); };
    spend(place_layers(slice_.share(kPlacementShare), seed, store));
    spend(shorten_periods(slice_.share(kShortenShare), seed));
    improve_ramps(on_ramps, seed);
  }

 private:
  /// Where the best plan is longer than a whole like the best schedule of the short iteration, but might not be with
  /// shorter ramps: whether it is not, after a trial of them.
  bool leads_with_ramps(const periodic::Iteration& iteration, const Schedule& schedule) {
    const Duration goal = periodic::makespan_of_whole_like(problem_, trial_, schedule);
    const auto steady =
        iteration.period() * static_cast<periodic::Time>(periodic::microbatches_by_replica(problem_).front().size());
    const double ramps = static_cast<double>(iteration.makespan() - steady);
    if (static_cast<double>(steady) + kLeastRamps * ramps > static_cast<double>(goal.value())) return false;
    if (incumbent_.makespan() && *incumbent_.makespan() > goal)
      improve_ramps(slice_.share(kDecisionShare), method_.seed_++);
    return incumbent_.makespan() && *incumbent_.makespan() <= goal;
  }

  /// The best plans for the searches of the whole to begin from.
  void hand_over() {
    for (const Candidate& candidate : method_.candidates_) {
      if (method_.context_.starts.size() >= kHandedOver || slice_.budget.expired()) return;
      Schedule schedule = periodic::Iteration::create(problem_, candidate.kernel, candidate.example.get())->schedule();
      if (!is_valid(problem_, schedule)) continue;
      method_.context_.starts.push_back(
          {std::move(schedule), candidate.makespan, candidate.method, candidate.is_guessed});
    }
  }

  /// True if nothing better can come on this placement, but for the ramps.
  bool consider(const Schedule& schedule, const std::string& method, bool is_guessed = true) {
    const std::optional<periodic::Kernel> kernel = periodic::kernel_from_schedule(problem_, trial_, schedule);
    if (!kernel) return false;
    return keep({*kernel, method, std::make_shared<const periodic::Iteration::Example>(trial_, schedule), is_guessed});
  }

  /// Kernels of the best placements that owe nothing to the orders that they are known in: which placement is best is
  /// seen only then.
  void schedule_placements(const Budget& budget) {
    std::vector<Candidate> tried = method_.candidates_;
    if (tried.size() > kModuloPlacements) tried.resize(kModuloPlacements);
    for (const Candidate& candidate : tried) {
      const periodic::Kernel& kernel = candidate.kernel;
      if (!periodic::can_be_modulo_scheduled(*kernel.body)) continue;
      const std::optional<periodic::Kernel> shorter = periodic::modulo_kernel(
          kernel.body, kernel.period, budget, {method_.seed_, first_modulo_tries(*kernel.body)});
      if (shorter) keep({*shorter, candidate.method + ", modulo schedule", nullptr, candidate.is_guessed, true});
    }
  }

  /// Keeps the best kernel of each placement, and the best that was scheduled anew: whose period gets shorter is not
  /// known. True as consider(). \param found  without its makespan
  bool keep(Candidate found) {
    const std::unique_ptr<periodic::Iteration> iteration =
        periodic::Iteration::create(problem_, found.kernel, found.example.get());
    if (!iteration) return false;
    std::vector<Candidate>& candidates = method_.candidates_;
    found.makespan = Duration(iteration->makespan());
    const bool is_least = iteration->period() == periodic::least_period(*found.kernel.body);
    const auto is_like = [&](const Candidate& candidate) {
      return candidate.is_anew == found.is_anew &&
             candidate.kernel.body->placed().modes() == found.kernel.body->placed().modes();
    };
    const auto known = std::ranges::find_if(candidates, is_like);
    if (known == candidates.end() || found.makespan < known->makespan) {
      // The others when all are known: a check of a long iteration takes a while.
      if (!incumbent_.makespan()) offer(*iteration, found.method);
      if (known != candidates.end()) candidates.erase(known);
      const auto behind = std::ranges::find_if(
          candidates, [&](const Candidate& candidate) { return candidate.makespan > found.makespan; });
      candidates.insert(behind, std::move(found));
    }
    return is_least;
  }

  /// Kernels of the schedules that construction makes of the trial, one of them even past the time.
  void find_candidates(double share, IncumbentStore& store) {
    const bool is_fixed = placement_is_fixed(trial_);
    const Budget time = slice_.budget.share(share);
    std::atomic<bool> is_over = false;
    bool has_least_period = false;
    ConstructionOptions options;
    options.experts_early = true;
    options.is_enough = [&] { return is_fixed && has_least_period; };
    options.on_schedule = [&](const Schedule& schedule, const std::string& method) {
      if (!method_.candidates_.empty() && time.expired()) is_over = true;
      if (!is_over) has_least_period |= consider(schedule, method);
    };
    Construction construction(trial_, store, std::move(options));
    const Budget budget = time.until(&is_over);
    construction.find_first(budget);
    construction.complete(budget);
    method_.evaluations_ += construction.evaluations();
    method_.starts_ = construction.starts();
  }

  /// Kernels of placements that are searched for on the short iteration. Returns the orders that takes as long as.
  std::uint64_t place_layers(const Slice& slice, std::uint64_t seed, IncumbentStore& store) {
    PlannerOptions options = method_.context_.options;
    options.seed = seed;
    options.threads = slice.threads;
    PlacementsFound found = search_placements(trial_, slice.budget, options, method_.starts_, slice.evaluations, store,
                                              problem_.settings().training.microbatches);
    for (Start& start : found.starts) {
      consider(start.schedule, start.method, start.is_guessed);
      method_.starts_.push_back(std::move(start));
    }
    std::ranges::stable_sort(method_.starts_, {}, &Start::makespan);
    return found.orders;
  }

  /// The solver says whether a small body has a kernel of the least possible period.
  [[nodiscard]] std::optional<periodic::Kernel> solve_for_least_period(const periodic::Kernel& kernel,
                                                                       const Slice& slice) const {
    if (method_.context_.options.method == Method::kHeuristic) return std::nullopt;
    periodic::Time first = std::numeric_limits<periodic::Time>::max();
    periodic::Time last = std::numeric_limits<periodic::Time>::min();
    for (const periodic::Node node : kernel.body->nodes()) {
      first = std::min(first, kernel.lap(node));
      last = std::max(last, kernel.lap(node));
    }
    periodic::KernelProgramOptions options;
    options.laps = static_cast<std::uint32_t>(last - first) + kMoreLaps;
    options.seed = method_.context_.options.seed;
    options.engine = method_.context_.solver;
    if (periodic::kernel_program_size(*kernel.body, options.laps) > kMostKernelIntervals) return std::nullopt;
    const Slice own = slice.share(kSolverShare);
    options.work = own.solver_work(problem_);
    return periodic::solve_kernel(kernel.body, periodic::least_period(*kernel.body), &kernel, own.budget, options)
        .kernel;
  }

  /// A shorter kernel of the same placement. What that takes is no longer for the search.
  [[nodiscard]] static std::optional<periodic::Kernel> schedule_anew(const periodic::Kernel& kernel, const Slice& slice,
                                                                     periodic::KernelSearchOptions& options) {
    std::uint64_t tries = UINT64_MAX;
    if (slice.evaluations) {
      const std::uint64_t orders_per_try = kernel.body->nodes().size() / kNodesPerOrder + 1;
      tries = static_cast<std::uint64_t>(kModuloShare * static_cast<double>(options.max_evaluations)) / orders_per_try;
      options.max_evaluations -= tries * orders_per_try;
    }
    return periodic::modulo_kernel(kernel.body, kernel.period, slice.budget.share(kModuloShare), {options.seed, tries});
  }

  /// Whose periods can get shorter: the best candidates, and by the clock behind them the others, of the shortest least
  /// period first. Many get there in a moment, and what a kernel is worth before says little.
  [[nodiscard]] std::vector<Candidate> to_shorten() const {
    std::vector<Candidate> result;
    for (const Candidate& candidate : method_.candidates_) {
      if (candidate.kernel.period > periodic::least_period(*candidate.kernel.body)) result.push_back(candidate);
    }
    if (result.size() <= kRampTrials) return result;
    if (slice_.is_repeatable()) {
      result.resize(kRampTrials);
    } else {
      std::ranges::stable_sort(result.begin() + kRampTrials, result.end(), {}, [](const Candidate& candidate) {
        return periodic::least_period(*candidate.kernel.body);
      });
    }
    return result;
  }

  /// Searches for shorter periods. Returns the orders tried in a repeatable slice.
  std::uint64_t shorten_periods(const Slice& slice, std::uint64_t seed) {
    const std::vector<Candidate> tried = to_shorten();
    std::uint64_t evaluations = 0;
    for (std::size_t i = 0; i < tried.size() && !slice.budget.expired(); ++i) {
      Slice own = slice.share(1.0 / static_cast<double>(std::min(kRampTrials, tried.size() - i)));
      if (own.evaluations) {
        own.evaluations = *slice.evaluations / tried.size();
        evaluations += *own.evaluations;
      }
      periodic::KernelSearchOptions options;
      options.seed = seed + i;
      options.max_evaluations = own.most_evaluations();
      std::optional<periodic::Kernel> best = solve_for_least_period(tried[i].kernel, own);
      const auto keep_shorter = [&](const periodic::Kernel& kernel) {
        return keep({kernel, tried[i].method, nullptr, tried[i].is_guessed, tried[i].is_anew});
      };
      if (best && keep_shorter(*best)) continue;
      best = tried[i].is_anew ? schedule_anew(tried[i].kernel, own, options) : std::nullopt;
      if (best && keep_shorter(*best)) continue;
      const periodic::Kernel start = best.value_or(tried[i].kernel);
      periodic::shorten_period(start, own.budget, options, [&](const periodic::Kernel& kernel) { best = kernel; });
      if (best) keep_shorter(*best);
    }
    return evaluations;
  }

  /// The iteration of the best kernel, which there is.
  std::unique_ptr<periodic::Iteration> offer_best() {
    const Candidate& best = method_.candidates_.front();
    auto iteration = periodic::Iteration::create(problem_, best.kernel, best.example.get());
    offer(*iteration, best.method);
    return iteration;
  }

  void offer(const periodic::Iteration& iteration, const std::string& origin) {
    const Duration makespan(iteration.makespan());
    if (incumbent_.makespan() && makespan >= *incumbent_.makespan()) return;
    const Budget clock;
    incumbent_.offer(iteration.schedule(), describe(iteration, origin));
    double known = method_.offer_seconds_;
    const double seconds = clock.elapsed();
    while (seconds > known && !method_.offer_seconds_.compare_exchange_weak(known, seconds)) {
    }
  }

  /// The candidates that are shortest as they are, and of the others the one that can get the shortest: ramps get
  /// shorter when they are searched, the period stays.
  [[nodiscard]] std::vector<const Candidate*> promising() const {
    const std::vector<Candidate>& candidates = method_.candidates_;
    std::vector<const Candidate*> result;
    for (const Candidate& candidate : candidates) {
      if (result.size() + 1 < kRampTrials) result.push_back(&candidate);
    }
    const auto others = std::span(candidates).subspan(result.size());
    const auto period = [](const Candidate& candidate) {
      const Problem& body = candidate.kernel.body->placed().problem();
      return static_cast<double>(candidate.kernel.period) / body.settings().training.microbatches;
    };
    if (!others.empty()) result.push_back(&*std::ranges::min_element(others, {}, period));
    return result;
  }

  void run(std::vector<Attempt>& attempts, const Slice& slice) {
    slice.each(attempts.size(), [&](std::size_t i, const Slice& own) {
      const Attempt& attempt = attempts[i];
      Offers offers(incumbent_, own, attempt.candidate->method);
      attempt.iteration->improve(own.budget, {attempt.seed, own.most_evaluations(), kInitialTemperature},
                                 [&](const periodic::Iteration& iteration) {
                                   if (!offers.is_due()) return;
                                   const double began = own.budget.elapsed();
                                   offer(iteration, attempt.candidate->method);
                                   offers.offered(began);
                                 });
    });
    // In the order of the attempts, so that the incumbent's trajectory is repeatable where the work is.
    for (const Attempt& attempt : attempts) offer(*attempt.iteration, attempt.candidate->method);
  }

  void improve_ramps(const Slice& given, std::uint64_t seed) {
    // What is found at the end has to be checked, search by search.
    const double last_offers = kOfferReserve * method_.offer_seconds_ * std::max(1U, given.threads);
    Slice slice = given;
    slice.budget = given.budget.until(&incumbent_.is_final()).keeping(last_offers);
    const std::vector<Candidate>& candidates = method_.candidates_;
    std::vector<Attempt> attempts;
    const auto attempt = [&](const Candidate& candidate, std::uint64_t own_seed) {
      attempts.push_back(
          {&candidate, own_seed, periodic::Iteration::create(problem_, candidate.kernel, candidate.example.get())});
    };
    const Candidate* best = &candidates.front();
    if (candidates.size() > 1) {
      for (const Candidate* candidate : promising()) attempt(*candidate, seed + attempts.size());
      run(attempts, slice.share(kRampTrialShare));
      if (incumbent_.is_optimal() || slice.budget.expired()) return;
      best =
          std::ranges::min_element(attempts, {}, [](const Attempt& a) { return a.iteration->makespan(); })->candidate;
      attempts.clear();
      if (slice.evaluations) slice.evaluations = slice.share(1 - kRampTrialShare).evaluations;
    }
    for (std::size_t i = 0; i < slice.parallel_searches(); ++i) attempt(*best, seed + 1000 + i);
    run(attempts, slice);
  }

  PeriodicPlans& method_;
  const Problem& problem_;
  const Problem& trial_;
  IncumbentStore& incumbent_;
  const Slice& slice_;
};

PeriodicPlans::PeriodicPlans(SearchContext& context, std::uint64_t seed)
    : problem_(context.problem()), context_(context), seed_(seed), trial_(trial_problem(context.problem())) {}

PeriodicPlans::~PeriodicPlans() = default;

bool PeriodicPlans::supports(const ProblemTraits& traits) {
  return traits.microbatches > trial_microbatches(traits.problem);
}

double PeriodicPlans::share(const ProblemTraits&) { return 1; }

void PeriodicPlans::find_first(IncumbentStore& incumbent, const Slice& slice) {
  if (!slice.is_repeatable()) Work(*this, incumbent, slice).find_first();
}

void PeriodicPlans::advance(IncumbentStore& incumbent, const Slice& slice) {
  Work work(*this, incumbent, slice);
  std::exchange(has_sought_, true) ? work.improve() : work.find_kernels();
}

}  // namespace opweave
