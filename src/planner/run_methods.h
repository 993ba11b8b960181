/// Runs the methods of a table that improve a plan: by the clock, or under a work limit.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "planner/method_table.h"

namespace opweave {

/// Evaluations where neither time nor work is limited.
inline constexpr std::uint64_t kDefaultWork = 200'000;

/// Runs all methods of the table that support the problem, but those that make first plans, until the budget ends, the
/// incumbent is optimal or all methods are done.
///  - By the clock (`work` is nothing): those of phase kBefore one after the other; then those of kTogether on all
///    threads, where methods that share a thread take turns in rounds, each twice as long as the one before: short at
///    first, so that every method is heard early, and long in the end, for those that need time.
///  - Under a work limit: in parts, each twice as large as the one before, as many as fit. In every part every method
///    gets its share of evaluations; what all searches of phase kTogether share is the part. A search that cools down
///    over its work ends elsewhere with more of it, perhaps at a worse plan; a sequence of parts only gets longer, so a
///    larger limit never gives a longer plan. Neither number of threads nor clock matter.
/// \param alone  a method that goes on alone, instead of the table; else null
/// \pre the incumbent has a schedule, of the starts one at least; the budget has a deadline where `work` is nothing
void run_methods(std::span<const MethodRow> rows, SearchContext& context, SearchMethod* alone, const Budget& budget,
                 std::optional<std::uint64_t> work, IncumbentStore& incumbent);

}  // namespace opweave
