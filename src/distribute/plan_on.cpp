#include "distribute/plan_on.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "distribute/crew.h"
#include "distribute/plan_parts.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave::distribute {
namespace {

/// Seconds after the limit, or after an interrupt, in which searches may bring home what they have.
constexpr double kSecondsToComeHome = 2;
/// Methods of the searches where the method is auto: most chance first, then proofs, then other starts.
constexpr Method kTurns[] = {Method::kAuto, Method::kHeuristic, Method::kAuto, Method::kCp};

Json question_of(const Problem& problem, const std::optional<Schedule>& warm_start) {
  const Plan start = warm_start ? make_plan(problem, *warm_start, {}, {}) : settings_alone(problem);
  return {{"kind", "plan"},
          {"graph", graph_to_json(problem.graph())},
          {"cluster", cluster_to_json(problem.cluster())},
          {"plan", plan_to_json(start, problem.graph(), problem.cluster())}};
}

/// The best that any has told of, and all bounds.
class PlanGathering {
 public:
  explicit PlanGathering(const Problem& problem) : problem_(problem) {}

  /// True if the plan is better than all before. `search` tells equals apart.
  bool take(Plan plan, std::size_t search) {
    const std::pair key(plan.statistics.makespan, search);
    // What a search brings home at its end says more of itself than what it told on the way.
    if (best_ && key > std::pair(best_->statistics.makespan, best_by_)) return false;
    const auto violations = check(problem_.graph(), problem_.cluster(), plan, 1);
    if (!violations.empty()) throw InternalError("check rejects a worker's plan: " + violations.front().message);
    const bool is_better = !best_ || key.first < best_->statistics.makespan;
    best_ = std::move(plan);
    best_by_ = search;
    return is_better;
  }
  /// True if it is above all before.
  bool take(const LowerBound& bound) {
    const Duration before = this->bound();
    const auto [place, is_new] = bounds_.try_emplace(bound.name, bound);
    if (!is_new && bound.value > place->second.value) place->second = bound;
    return bound.value > before;
  }
  /// What a search says at its end.
  void take_result(PlanResult result, std::size_t search) {
    for (const LowerBound& bound : result.bounds) take(bound);
    if (result.plan) {
      for (const LowerBound& bound : result.plan->bounds) take(bound);
      take(*std::exchange(result.plan, std::nullopt), search);
    }
    if (!last_ || rank(result) > rank(*last_) || (rank(result) == rank(*last_) && search < last_by_)) {
      last_ = std::move(result);
      last_by_ = search;
    }
  }

  [[nodiscard]] const std::optional<Plan>& best() const { return best_; }
  [[nodiscard]] Duration bound() const {
    Duration greatest;
    for (const auto& [name, bound] : bounds_) greatest = std::max(greatest, bound.value);
    return greatest;
  }
  [[nodiscard]] bool is_settled() const {
    return (best_ && best_->statistics.makespan == bound()) ||
           (last_ && last_->reason == PlanResult::Reason::kInfeasible);
  }

  [[nodiscard]] PlanResult finish(const Budget& budget, std::uint64_t first_seed) && {
    PlanResult result = last_ ? std::move(*last_) : PlanResult{};
    for (const auto& [name, bound] : bounds_) result.bounds.push_back(bound);
    std::ranges::stable_sort(result.bounds, std::greater<>(), &LowerBound::value);
    if (!best_) return result;
    if (bound() > best_->statistics.makespan) {
      throw InternalError("a lower bound is above the makespan of a valid plan");
    }
    best_->bounds = result.bounds;
    best_->status = is_settled() ? PlanStatus::kOptimal : PlanStatus::kFeasible;
    result.reason = PlanResult::Reason::kPlanned;
    if (!budget.work_limit() && budget.time_limit_seconds()) {
      result.limit = fmt::format("time {} s", *budget.time_limit_seconds());
      state_origin(result.limit, budget, first_seed);
    }
    if (is_settled()) result.limit.clear();
    if (budget.stopped()) result.limit = "interrupt";
    result.plan = std::move(best_);
    return result;
  }

 private:
  /// The limit of each search is what was left of the whole, and a search that was lost said nothing at its end.
  void state_origin(const std::string& limit, const Budget& budget, std::uint64_t first_seed) {
    Provenance& origin = best_->provenance;
    origin.version = OPWEAVE_VERSION;
    origin.seed = first_seed + best_by_;
    origin.limit = limit;
    origin.graph_hash = content_hash(problem_.graph());
    origin.cluster_hash = content_hash(problem_.cluster());
    origin.seconds = budget.elapsed();
  }
  /// Which of two ends without a plan says more.
  static int rank(const PlanResult& result) { return result.reason == PlanResult::Reason::kInfeasible ? 1 : 0; }

  const Problem& problem_;
  std::optional<Plan> best_;
  std::size_t best_by_ = 0;
  std::map<std::string, LowerBound> bounds_;
  std::optional<PlanResult> last_;
  std::size_t last_by_ = 0;
};

void submit_all(Crew& crew, std::size_t searches, const Budget& budget, const PlannerOptions& options, bool shares) {
  const auto seconds = budget.remaining();
  for (std::size_t i = 0; i < searches; ++i) {
    const bool is_choice = options.method == Method::kAuto;
    Json task = {{"seed", options.seed + i},
                 {"threads", options.threads},
                 {"method", to_string(is_choice ? kTurns[i % std::size(kTurns)] : options.method)},
                 {"is_choice", is_choice},
                 {"shares", shares}};
    if (seconds) task["seconds"] = *seconds;
    if (budget.work_limit()) task["work"] = *budget.work_limit();
    crew.submit(i, std::move(task));
  }
}

void show(const PlannerOptions& options, const PlanGathering& gathering, const Budget& budget, std::size_t open) {
  if (!options.on_progress) return;
  Progress progress;
  progress.seconds = budget.elapsed();
  if (gathering.best()) progress.makespan = gathering.best()->statistics.makespan;
  progress.lower_bound = gathering.bound();
  progress.method = fmt::format("{} searches", open);
  options.on_progress(progress);
}

}  // namespace

PlanResult plan_on(const Place& place, std::size_t workers, std::size_t searches, const Problem& problem,
                   const Budget& budget, const PlannerOptions& options) {
  const bool shares = !budget.work_limit();
  Crew crew(place, workers, question_of(problem, options.warm_start), hash_of(problem));
  submit_all(crew, shares ? crew.workers() : searches, budget, options, shares);
  PlanGathering gathering(problem);
  std::string failure;
  std::optional<double> over_at;
  while (crew.open() > 0) {
    if (!over_at && (budget.expired() || (shares && gathering.is_settled()))) {
      over_at = budget.elapsed();
      crew.stop();
    }
    if (over_at && budget.elapsed() > *over_at + kSecondsToComeHome) break;
    Json news = Json::object();
    for (const Crew::Event& event : crew.next(kSecondsToListen)) {
      if (event.kind == Crew::Kind::kFailure) {
        failure = event.content.get<std::string>();
      } else if (event.kind == Crew::Kind::kAnswer) {
        gathering.take_result(result_from(problem, event.content), event.task);
      } else {
        if (event.content.contains("plan") &&
            gathering.take(plan_from(problem, event.content["plan"].get<std::string>()), event.task)) {
          news["plan"] = event.content["plan"];
        }
        if (event.content.contains("bound") && gathering.take(bound_from(event.content["bound"]))) {
          news["bound"] = event.content["bound"];
        }
      }
    }
    if (shares && !news.empty()) crew.broadcast(news);
    show(options, gathering, budget, crew.open());
  }
  if (!gathering.best() && !gathering.is_settled() && !over_at && !failure.empty()) throw InputError(failure);
  return std::move(gathering).finish(budget, options.seed);
}

}  // namespace opweave::distribute
