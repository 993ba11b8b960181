/// One complete program, one solver, and nothing of ours but the warm start.
#pragma once

#include <functional>
#include <optional>

#include "exact/solve.h"
#include "planner/finding.h"

namespace opweave {

/// The program that a method of the options asks for; nothing where it asks for a search.
[[nodiscard]] std::optional<exact::ExactMethod> complete_program(Method method);

/// Solves the program until the budget ends. A unit of a work limit is a node of the search tree, or a millisecond of
/// CP-SAT's deterministic time.
[[nodiscard]] Finding solve_alone(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                  exact::ExactMethod method, const std::function<void(const Progress&)>& on_progress);

}  // namespace opweave
