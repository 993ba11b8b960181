/// Integer programs for other solvers, and their answers.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "exact/solve.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::exact {

/// Why the program of a problem is too large even to be sized in detail, from the number of its choices; empty if it
/// is not.
[[nodiscard]] std::string too_many_choices(const Problem& problem, const ExactOptions& options);

/// Values of columns by name, from what a solver writes: HiGHS (`# Columns n`, then `name value` lines), Gurobi and
/// others (`name value` lines; those that begin with `#` are comments).
/// \throws InputError naming source and line
[[nodiscard]] std::map<std::string, double, std::less<>> parse_solution(std::string_view text,
                                                                        const std::string& source);

/// The schedule that a solver's answer to write_integer_program() with the same arguments states. Columns that the
/// answer leaves out are 0. A claim until `check` has seen it.
/// \throws InputError if it names a column that the model does not have, or states no schedule
[[nodiscard]] Schedule read_integer_program_solution(const Problem& problem, const Schedule* upper_bound,
                                                     std::string_view text, const std::string& source,
                                                     const ExactOptions& options);

}  // namespace opweave::exact
