/// Why a problem has no plan, in the words of its author.
#pragma once

#include <functional>
#include <string>

#include "opweave/problem.h"

namespace opweave {

/// The least that has to be given up for a plan to exist: which memories, which anti-colocation groups, missing routes.
/// Grounds are left out one by one as long as the rest still excludes every plan; what remains is needed as a whole.
/// \param has_no_plan  proof that a problem has none; false where there is one, or nobody knows
/// \pre has_no_plan(problem)
/// \return what cannot be kept to: "the memory of \"gpu0\" (10 bytes) and the routes that there are", say
[[nodiscard]] std::string infeasibility_cause(const Problem& problem,
                                              const std::function<bool(const Problem& problem)>& has_no_plan);

}  // namespace opweave
