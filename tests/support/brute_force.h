/// Exact optima of tiny problems, straight from the rules that every plan obeys.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::testing {

struct ExactAnswer {
  bool finished = false;         ///< the search was complete
  std::optional<Schedule> best;  ///< optimal if finished; nothing and finished = no valid schedule exists
};

/// Tries every choice of modes and sources, and for each every set of tasks and transfers to start at
/// every moment at which something ends. That is enough: a task or transfer that starts at any other
/// moment can start one nanosecond earlier, because no stream, channel or memory has come free at its
/// start, so a schedule with the least sum of starts starts everything at such moments.
/// Uses nothing of src/bounds. At most 64 tasks and transfers together.
/// \param node_limit  of search steps over all choices.
[[nodiscard]] ExactAnswer brute_force(const Problem& problem, std::uint64_t node_limit = 20'000'000);

/// Calls visit() with the shortest schedule of every choice of modes and sources that has any: with all values that an
/// objective which does not depend on times can take.
/// \return whether the search was complete
[[nodiscard]] bool for_each_choice(const Problem& problem, const std::function<void(const Schedule& shortest)>& visit,
                                   std::uint64_t node_limit = 20'000'000);

}  // namespace opweave::testing
