#include "planner/minimise_makespan.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "opweave/bounds.h"
#include "planner/block_question.h"
#include "planner/run_methods.h"
#include "planner/solve_alone.h"

namespace opweave {
namespace {

/// Share of the time for bounds.
constexpr double kMakespanBoundShare = 0.2;

/// The incumbent hears of what others find, as long as this lives. \pre the bounds of the incumbent are stated
class Listening {
 public:
  Listening(std::shared_ptr<Exchange> exchange, IncumbentStore& incumbent)
      : exchange_(std::move(exchange)), incumbent_(incumbent) {
    if (exchange_) exchange_->attach(incumbent);
  }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  ~Listening() {
    if (exchange_) exchange_->detach(incumbent_);
  }

 private:
  const std::shared_ptr<Exchange> exchange_;
  IncumbentStore& incumbent_;
};

/// First plans, bounds as soon as there is one, and what improves them.
class MakespanSearch {
 public:
  MakespanSearch(std::span<const MethodRow> methods, const Problem& problem, const Budget& budget,
                 const PlannerOptions& options, std::optional<Duration> target, std::shared_ptr<Exchange> exchange,
                 const std::function<void(const Progress&)>& on_progress)
      : methods_(methods),
        problem_(problem),
        budget_(budget),
        options_(options),
        target_(target),
        exchange_(std::move(exchange)),
        incumbent_(problem, budget, on_progress),
        traits_(problem),
        context_{traits_, options},
        work_(budget.work_limit()) {}

  Finding run() {
    if (options_.warm_start) incumbent_.offer(*options_.warm_start, kWarmStart);
    // By the clock one plan goes first, before anything that may take longer than there is time: on large problems the
    // bounds cost more than a plan.
    if (!budget_.remaining() && !options_.warm_start && !know_bounds()) return finding_;
    for (const MethodRow& row : methods_) {
      if (row.phase != MethodPhase::kFirstPlans || !row.supports(traits_)) continue;
      if (!make_first_plans(row)) return finding_;
    }
    if (!know_bounds()) return finding_;
    if (!incumbent_.makespan()) settle(problem_, budget_, options_, incumbent_, finding_);
    if (!incumbent_.makespan()) return finding_;
    add_starts();
    // A search takes about as long to begin as a list schedule.
    if (!incumbent_.is_optimal() && !budget_.expired() &&
        budget_.remaining().value_or(context_.step) >= context_.step) {
      const Listening listening(exchange_, incumbent_);
      run_methods(methods_, context_, alone_.get(), budget_, work_, incumbent_);
    }
    conclude(incumbent_, finding_);
    finding_.bounds = incumbent_.bounds();
    finding_.is_optimal = incumbent_.is_optimal();
    return finding_;
  }

 private:
  /// False if the search has ended.
  bool make_first_plans(const MethodRow& row) {
    std::unique_ptr<SearchMethod> method = row.make(context_, options_.seed);
    const Slice slice{budget_,
                      work_ || !budget_.remaining() ? work_.value_or(kDefaultWork) : std::optional<std::uint64_t>(),
                      options_.threads};
    if (!incumbent_.makespan()) method->find_first(incumbent_, slice);
    if (incumbent_.makespan() && !know_bounds()) return false;
    method->advance(incumbent_, slice);
    if (work_) *work_ -= std::min(*work_, method->evaluations());
    if (method->goes_on_alone()) {
      context_.is_decided = true;
      alone_ = std::move(method);
    }
    return true;
  }

  /// Finds the bounds, once. False if they prove that there is no plan, or that the target is out of reach.
  bool know_bounds() {
    if (!finding_.bounds.empty()) return true;
    if (!incumbent_.makespan()) {
      if (const auto proofs = infeasibility_proofs(problem_); !proofs.empty()) {
        finding_ = infeasible(proofs.front());
        return false;
      }
    }
    finding_.bounds = lower_bounds(problem_, budget_.share(kMakespanBoundShare));
    incumbent_.state_bounds(finding_.bounds);
    const LowerBound& bound = finding_.bounds.front();
    if (!target_ || bound.value <= *target_) return true;
    finding_.detail =
        fmt::format("lower bound \"{}\" is {} ns, above {} ns", bound.name, bound.value.value(), target_->value());
    return false;
  }

  /// Whatever plan there is, is one to improve.
  void add_starts() {
    std::vector<Start>& starts = context_.starts;
    if (starts.empty()) starts = {{incumbent_.schedule(), *incumbent_.makespan(), incumbent_.method()}};
    if (!options_.warm_start) return;
    const Duration makespan = options_.warm_start->makespan(problem_);
    const auto behind = std::ranges::find_if(starts, [&](const Start& start) { return start.makespan > makespan; });
    starts.insert(behind, {*options_.warm_start, makespan, kWarmStart});
  }

  const std::span<const MethodRow> methods_;
  const Problem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  const std::optional<Duration> target_;
  const std::shared_ptr<Exchange> exchange_;
  IncumbentStore incumbent_;
  const ProblemTraits traits_;
  SearchContext context_;
  std::optional<std::uint64_t> work_;  ///< what is left of the limit
  std::unique_ptr<SearchMethod> alone_;
  Finding finding_;
};

Finding search(const Problem& problem, const Budget& budget, const PlannerOptions& options,
               std::optional<Duration> target, const std::shared_ptr<Exchange>& exchange,
               std::span<const MethodRow> methods) {
  std::atomic<bool> is_reached = false;
  const Budget own = target ? budget.until(&is_reached) : budget;
  const auto on_progress = [&](const Progress& progress) {
    if (target && progress.makespan && *progress.makespan <= *target) is_reached = true;
    if (options.on_progress) options.on_progress(progress);
  };
  const std::optional<exact::ExactMethod> program = complete_program(options.method);
  if (program) return solve_alone(problem, own, options, *program, on_progress);
  return MakespanSearch(methods, problem, own, options, target, exchange, on_progress).run();
}

}  // namespace

Finding minimise_makespan(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                          std::optional<Duration> target, const std::shared_ptr<Exchange>& exchange,
                          std::span<const MethodRow> methods) {
  if (problem.settings().blocks == Blocks::kNone) return search(problem, budget, options, target, exchange, methods);
  // What others find are schedules of the whole, not of its pieces.
  const BlockQuestion question(problem, budget, options);
  return question.answer(search(question.problem(), question.budget(), question.options(), target, nullptr, methods));
}

}  // namespace opweave
