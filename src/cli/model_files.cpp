#include "cli/model_files.h"

#include <fmt/format.h>

#include "exact/model_file.h"
#include "exact/solve.h"
#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave::cli {
namespace {

exact::ExactOptions exact_options(const PlannerOptions& options) {
  exact::ExactOptions result;
  switch (options.method) {
    case Method::kAuto:
    case Method::kMipDisjunctive:
      result.method = exact::ExactMethod::kDisjunctive;
      return result;
    case Method::kMipTimeIndexed:
      result.method = exact::ExactMethod::kTimeIndexed;
      return result;
    case Method::kHeuristic:
    case Method::kCp:
      break;
  }
  throw InputError(
      fmt::format("--method {} has no integer program, expected mip or mip-time-indexed", to_string(options.method)));
}

/// A schedule whose makespan is the horizon of the model: the same for the same problem and warm start, so that a
/// solution finds its model again.
std::optional<Schedule> horizon(const Problem& problem, const PlannerOptions& options) {
  if (options.warm_start) return options.warm_start;
  PlannerOptions quick;
  quick.method = Method::kHeuristic;
  const PlanResult first = plan(problem, Budget(std::nullopt, 0), quick);
  if (!first.plan) return std::nullopt;
  return to_schedule(problem, *first.plan);
}

}  // namespace

std::string write_model_file(const Problem& problem, const PlannerOptions& options, const std::filesystem::path& path) {
  const exact::ExactOptions exact = exact_options(options);
  if (path.extension() != ".mps" && path.extension() != ".lp") {
    throw InputError(fmt::format("--write-model: file is \"{}\", expected an ending of .mps or .lp", path.string()));
  }
  if (const std::string reason = exact::too_many_choices(problem, exact); !reason.empty()) {
    return "the model would have " + reason;
  }
  const auto upper_bound = horizon(problem, options);
  return exact::write_integer_program(problem, upper_bound ? &*upper_bound : nullptr, path.string(), exact);
}

Plan read_solution_file(const Problem& problem, const PlannerOptions& options, const std::filesystem::path& path) {
  const exact::ExactOptions exact = exact_options(options);
  const std::string text = read_file(path);
  if (const std::string reason = exact::too_many_choices(problem, exact); !reason.empty()) {
    throw InputError(fmt::format("--read-solution: the model would have {}", reason));
  }
  const auto upper_bound = horizon(problem, options);
  const Schedule schedule =
      exact::read_integer_program_solution(problem, upper_bound ? &*upper_bound : nullptr, text, path.string(), exact);
  Provenance provenance;
  provenance.version = OPWEAVE_VERSION;
  provenance.method = std::string(kReadSolution) + std::string(to_string(exact.method));
  provenance.limit = "none";
  provenance.graph_hash = content_hash(problem.graph());
  provenance.cluster_hash = content_hash(problem.cluster());
  Plan plan = make_plan(problem, schedule, lower_bounds(problem), std::move(provenance));
  const auto violations = check(problem.graph(), problem.cluster(), plan, 1);
  if (!violations.empty()) {
    throw InputError(fmt::format("{}: states no valid plan: {}: {}", path.string(), to_string(violations.front().rule),
                                 violations.front().message));
  }
  return plan;
}

}  // namespace opweave::cli
