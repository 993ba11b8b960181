/// The way to solvers that opweave does not embed: models out, solutions in.
#pragma once

#include <filesystem>

#include "opweave/planner.h"
#include "opweave/problem.h"

namespace opweave::cli {

/// Writes the complete integer program that options.method names (auto = disjunctive) and says how large it is. Its
/// horizon is the makespan of the warm start or, without one, of the first plan that is found.
/// \throws InputError if the file cannot be written, its ending is neither .mps nor .lp, or the method has no such
/// model \return an empty text, or why the model was not built
[[nodiscard]] std::string write_model_file(const Problem& problem, const PlannerOptions& options,
                                           const std::filesystem::path& path);

/// The plan that a solver's answer to the written model states, with the bounds that need no solver. It has passed
/// `check`.
/// \throws InputError if the file states no valid plan
[[nodiscard]] Plan read_solution_file(const Problem& problem, const PlannerOptions& options,
                                      const std::filesystem::path& path);

}  // namespace opweave::cli
