#include "planner/solve_alone.h"

#include <fmt/format.h>

#include "exact/model_file.h"
#include "opweave/bounds.h"
#include "opweave/error.h"

namespace opweave {

std::optional<exact::ExactMethod> complete_program(Method method) {
  switch (method) {
    case Method::kMipDisjunctive:
      return exact::ExactMethod::kDisjunctive;
    case Method::kMipTimeIndexed:
      return exact::ExactMethod::kTimeIndexed;
    case Method::kCp:
      return exact::ExactMethod::kConstraintProgram;
    case Method::kAuto:
    case Method::kHeuristic:
      return std::nullopt;
  }
  throw InternalError("unknown method");
}

Finding solve_alone(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                    exact::ExactMethod method, const std::function<void(const Progress&)>& on_progress) {
  exact::ExactOptions exact_options;
  exact_options.method = method;
  exact_options.threads = options.threads;
  exact_options.seed = options.seed;
  if (budget.work_limit()) {
    exact_options.work = static_cast<double>(*budget.work_limit()) / 1000;
    exact_options.deterministic = true;
    exact_options.threads = 1;  // the same plan whatever the threads
  }
  IncumbentStore incumbent(problem, budget, on_progress);
  if (options.warm_start) incumbent.offer(*options.warm_start, kWarmStart);
  const std::string name(to_string(method));
  if (const std::string reason = exact::too_many_choices(problem, exact_options); !reason.empty()) {
    Finding finding;
    finding.detail = "the model would have " + reason;
    conclude(incumbent, finding);
    return finding;
  }
  if (const auto proofs = infeasibility_proofs(problem); !proofs.empty()) return infeasible(proofs.front());
  const exact::ExactAnswer answer =
      exact::solve_exactly(problem, options.warm_start ? &*options.warm_start : nullptr, budget, exact_options,
                           [&](const Schedule& schedule) { incumbent.offer(schedule, name); });
  if (answer.schedule) incumbent.offer(*answer.schedule, name);
  Finding finding;
  finding.bounds = {{name, answer.bound, "by the solver"}};
  using Status = exact::ExactAnswer::Status;
  if (answer.status == Status::kTooLarge) {
    finding.detail = fmt::format("the model would have {}", answer.message);
  } else if (answer.status == Status::kInfeasible) {
    finding.reason = PlanResult::Reason::kInfeasible;
    finding.detail = fmt::format("the solver proves that there is no valid schedule ({})", name);
  } else if (answer.status != Status::kOptimal && answer.status != Status::kFeasible) {
    finding.detail = answer.message.empty() ? "the solver found no schedule" : answer.message;
  }
  if (!incumbent.makespan()) settle(problem, budget, options, incumbent, finding);
  conclude(incumbent, finding);
  if (finding.schedule) finding.is_optimal = finding.schedule->makespan(problem) == answer.bound;
  return finding;
}

}  // namespace opweave
