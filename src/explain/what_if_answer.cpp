#include <fmt/format.h>

#include <algorithm>

#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/explain.h"
#include "opweave/memory_modes.h"
#include "opweave/simulate.h"
#include "opweave/what_if.h"
#include "planner/block_question.h"

namespace opweave {
namespace {

/// A changed problem.
struct Change {
  std::string what;
  Problem problem;
  bool has_same_tasks = true;  ///< the plan's order means something in it
  std::string remark = {};
};

bool any_operator_is_free(const ComputationGraph& graph) {
  return std::ranges::any_of(graph.operators(),
                             [](const Operator& op) { return op.devices.empty() && op.modes.empty(); });
}

/// The kinds, or without kinds the operators, that take most of the critical path.
std::vector<std::string> longest_on_path(const Problem& problem, const Schedule& schedule, std::size_t count) {
  std::vector<std::pair<std::string, Duration>> sums;
  for (const PathStep& step : Explanation(problem, schedule).critical_path()) {
    if (!step.task) continue;
    const Operator& op = problem.op(*step.task);
    const std::string& name = op.kind.empty() ? op.name : op.kind;
    auto entry = std::ranges::find(sums, name, &std::pair<std::string, Duration>::first);
    if (entry == sums.end()) entry = sums.insert(sums.end(), {name, Duration()});
    entry->second += step.until - step.from;
  }
  std::ranges::stable_sort(sums, [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(count, sums.size()); ++i) names.push_back(sums[i].first);
  return names;
}

Problem with(const Problem& problem, ComputationGraph graph) {
  return Problem::create(std::move(graph), problem.cluster(), problem.settings());
}
Problem with(const Problem& problem, Cluster cluster) {
  return Problem::create(problem.graph(), std::move(cluster), problem.settings());
}
Problem with_microbatches(const Problem& problem, std::uint32_t microbatches) {
  ProblemSettings settings = problem.settings();
  settings.training.microbatches = microbatches;
  settings.training.replica_of_microbatch.clear();
  return Problem::create(problem.graph(), problem.cluster(), settings);
}

/// Runs `build`; an InputError from it is thrown on with the word of the question in front.
template <class Build>
auto naming(std::string_view word, Build&& build) {
  try {
    return build();
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", word, error.what()), error.hint());
  }
}

void expect_numbers(std::string_view word, const std::vector<double>& factors, double least) {
  for (const double factor : factors) {
    if (factor >= least && factor <= 1e6) continue;
    throw InputError(fmt::format("{}: value is {:g}, expected a number from {:g} to 1000000", word, factor, least));
  }
}

void expect_answerable(const WhatIfQuestion& question) {
  expect_numbers("link-speed", question.link_speeds, 1e-3);
  expect_numbers("memory", question.memories, 0);
  expect_numbers("host-link", question.host_links, 1e-3);
  expect_numbers("factor", {question.factor}, 1e-3);
  for (const std::uint32_t count : question.devices) {
    if (count < 1 || count > 1024) {
      throw InputError(fmt::format("devices: value is {}, expected a whole number from 1 to 1024", count));
    }
  }
}

/// What is looked at where nothing is asked.
WhatIfQuestion standard(const Problem& problem, const Schedule& schedule, WhatIfQuestion question) {
  question.link_speeds = {2};
  question.memories = {1.25};
  question.devices = {1};
  question.microbatches = {2 * problem.settings().training.microbatches};
  question.faster = longest_on_path(problem, schedule, 3);
  return question;
}

bool is_open(const WhatIfQuestion& question) {
  return question.link_speeds.empty() && question.memories.empty() && question.host_links.empty() &&
         question.devices.empty() && question.microbatches.empty() && question.faster.empty();
}

std::vector<Change> changes(const Problem& problem, const WhatIfQuestion& question) {
  std::vector<Change> result;
  for (const double factor : question.link_speeds) {
    result.push_back(
        {fmt::format("links {:g} times as fast", factor), with(problem, with_link_speed(problem.cluster(), factor))});
  }
  for (const double factor : question.memories) {
    result.push_back({fmt::format("memory times {:g}", factor), with_memory(problem, factor)});
  }
  for (const double factor : question.host_links) {
    result.push_back({fmt::format("host links {:g} times as fast", factor), naming("host-link", [&] {
                        return with(problem, with_host_link_speed(problem.cluster(), factor));
                      })});
  }
  for (const std::uint32_t count : question.devices) {
    result.push_back({count == 1 ? "one device more" : fmt::format("{} devices more", count),
                      with(problem, with_more_devices(problem.cluster(), count)), true,
                      any_operator_is_free(problem.graph()) ? "" : "every operator names its devices"});
  }
  for (const std::uint32_t count : question.microbatches) {
    result.push_back({fmt::format("{} microbatches", count),
                      naming("microbatches", [&] { return with_microbatches(problem, count); }), false});
  }
  for (const std::string& which : question.faster) {
    result.push_back({fmt::format("{} {:g} times as fast", which, question.factor), naming("faster", [&] {
                        return with(problem, with_faster(problem.graph(), which, question.factor));
                      })});
  }
  return result;
}

/// For each change.
Budget replan_budget(const WhatIfQuestion& question, const std::atomic<bool>* stop) {
  constexpr double kSeconds = 10;
  const bool is_limited = question.time_limit || question.work_limit;
  Budget budget(is_limited ? question.time_limit : std::optional(kSeconds), question.work_limit);
  if (stop != nullptr) budget.watch(stop);
  return budget;
}

WhatIfChange unanswered(const Change& change, bool replans) {
  WhatIfChange result;
  result.what = change.what;
  result.remark = change.remark;
  result.microbatches = change.problem.settings().training.microbatches;
  if (!change.has_same_tasks && !replans && result.remark.empty()) {
    result.remark = "other microbatches have no order yet: --replan";
  }
  return result;
}

/// No plan is shorter, in the pieces that it is held to.
Duration bound_of(const Problem& problem) {
  const bool has_blocks = problem.settings().blocks != Blocks::kNone;
  return (has_blocks ? bounds_in_blocks(problem) : lower_bounds(problem)).front().value;
}

/// What the planner makes of a changed problem.
void replan(const Change& change, const Schedule& schedule, const WhatIfQuestion& question, PlannerOptions planner,
            const std::atomic<bool>* stop, WhatIfChange& result) {
  // What was possible before is possible with more.
  if (change.has_same_tasks) planner.warm_start = carried_over(change.problem, schedule);
  const Budget budget = replan_budget(question, stop);
  const PlanResult planned = plan(change.problem, budget, planner);
  if (planned.plan) {
    result.replanned = planned.plan->statistics.makespan;
    result.bound = planned.plan->lower_bound();
  } else {
    result.remark = planned.reason == PlanResult::Reason::kInfeasible ? "no plan exists" : "no plan found";
    if (!planned.bounds.empty()) result.bound = planned.bounds.front().value;
  }
}

WhatIfChange outcome(const Change& change, const Schedule& schedule, const WhatIfQuestion& question,
                     const PlannerOptions& planner, const std::atomic<bool>* stop) {
  WhatIfChange result = unanswered(change, question.replan);
  if (const auto proofs = infeasibility_proofs(change.problem); !proofs.empty()) {
    result.remark = "no plan exists";
    return result;
  }
  if (change.has_same_tasks) {
    const Replay played = replay(change.problem, schedule);
    if (played.fits_memory) {
      result.same_order = played.makespan;
    } else {
      result.remark = "exceeds memory";
    }
  }
  if (question.replan) {
    replan(change, schedule, question, planner, stop, result);
  } else {
    result.bound = bound_of(change.problem);
  }
  return result;
}

std::vector<Robustness> robustness_of(const Problem& problem, const Schedule& schedule, const WhatIfQuestion& question,
                                      std::uint64_t seed, const std::atomic<bool>* stop) {
  std::vector<Robustness> result;
  Budget unlimited;
  if (stop != nullptr) unlimited.watch(stop);
  for (const double spread : {0.01, 0.02, 0.05, 0.1, 0.2}) {
    if (question.samples == 0 || (stop != nullptr && *stop)) break;
    result.push_back(robustness(problem, schedule, spread, question.samples, seed, unlimited));
  }
  return result;
}

/// The order and the modes of a plan with movements in a changed problem.
void play(const Change& change, const MemoryChoice& choice, const Schedule& schedule, WhatIfChange& result) {
  const auto derived = ProblemWithMovements::create(change.problem, choice);
  const SimulationResult played = simulate(derived.problem(), execution_order(derived.problem(), schedule),
                                           {derived.problem().settings().contention, 1, {}});
  if (!played.deadlock.empty()) throw InputError("the order cannot run: " + played.deadlock);
  const Plan plan = derived.plan(played.schedule, {}, {});
  const auto violations = check(change.problem.graph(), change.problem.cluster(), plan, 1);
  if (violations.empty()) {
    result.same_order = plan.statistics.makespan;
  } else {
    result.remark = violations.front().rule == Rule::kHostMemory ? "exceeds memory of hosts" : "exceeds memory";
  }
}

WhatIfChange outcome(const Change& change, const MemoryChoice& choice, const Schedule& schedule,
                     const WhatIfQuestion& question, const PlannerOptions& planner, const std::atomic<bool>* stop) {
  WhatIfChange result = unanswered(change, question.replan);
  if (const auto proofs = infeasibility_proofs_with_modes(change.problem); !proofs.empty()) {
    result.remark = "no plan exists";
    return result;
  }
  if (change.has_same_tasks) play(change, choice, schedule, result);
  if (!question.replan) {
    result.bound = lower_bounds_with_modes(change.problem).front().value;
    return result;
  }
  const Budget budget = replan_budget(question, stop);
  const PlanResult planned = plan_with_memory_modes(change.problem, budget, planner);
  if (!planned.bounds.empty()) result.bound = planned.bounds.front().value;
  result.replanned = result.same_order;
  if (!planned.plan) {
    if (!result.same_order) result.remark = "no plan found";
    return result;
  }
  const Duration makespan = planned.plan->statistics.makespan;
  result.replanned = result.same_order ? std::min(*result.same_order, makespan) : makespan;
  return result;
}

}  // namespace

WhatIfAnswer what_if(const ProblemWithMovements& movements, const Schedule& schedule, const WhatIfQuestion& asked,
                     const PlannerOptions& planner, const std::atomic<bool>* stop) {
  expect_answerable(asked);
  const Problem& problem = movements.original();
  WhatIfQuestion question = asked;
  if (is_open(question)) {
    question = standard(movements.problem(), schedule, question);
    question.microbatches = {2 * problem.settings().training.microbatches};
    std::erase_if(question.faster, [&](const std::string& which) {  // what the original does not have: copies
      return std::ranges::none_of(problem.graph().operators(),
                                  [&](const Operator& op) { return op.kind == which || op.name == which; });
    });
    const auto has_host = [](const DeviceType& type) { return type.host_link.has_value(); };
    if (std::ranges::any_of(problem.cluster().types(), has_host)) question.host_links = {2};
  }
  PlannerOptions search;
  search.seed = planner.seed;
  search.threads = planner.threads;
  search.on_progress = planner.on_progress;
  const auto is_stopped = [stop] { return stop != nullptr && *stop; };
  WhatIfAnswer answer;
  answer.makespan = schedule.makespan(movements.problem());
  answer.bound = lower_bounds_with_modes(problem).front().value;
  answer.microbatches = problem.settings().training.microbatches;
  for (const Change& change : changes(problem, question)) {
    if (is_stopped()) break;
    answer.changes.push_back(outcome(change, movements.choice(), schedule, question, search, stop));
  }
  answer.robustness = robustness_of(movements.problem(), schedule, question, search.seed, stop);
  return answer;
}

WhatIfAnswer what_if(const Problem& problem, const Plan& plan, const WhatIfQuestion& question,
                     const PlannerOptions& planner, const std::atomic<bool>* stop) {
  expect_answerable(question);
  const Schedule schedule = to_schedule(problem, plan);
  PlannerOptions search;
  search.seed = planner.seed;
  search.threads = planner.threads;
  search.on_progress = planner.on_progress;
  const auto is_stopped = [stop] { return stop != nullptr && *stop; };

  WhatIfAnswer answer;
  answer.makespan = plan.statistics.makespan;
  answer.bound = std::max(plan.lower_bound(), bound_of(problem));
  answer.microbatches = problem.settings().training.microbatches;
  const WhatIfQuestion asked = is_open(question) ? standard(problem, schedule, question) : question;
  for (const Change& change : changes(problem, asked)) {
    if (is_stopped()) break;
    answer.changes.push_back(outcome(change, schedule, question, search, stop));
  }
  answer.robustness = robustness_of(problem, schedule, question, search.seed, stop);
  return answer;
}

}  // namespace opweave
