/// The least bytes that a placement moves, as an integer program without time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/problem.h"

namespace opweave::exact {

/// What the program says. It knows placement, parameters and the load of each stream, and nothing of order, so its
/// bound holds for every valid plan that ends by the deadline, while its placement may not have such a plan.
struct LeastCommunication {
  std::optional<Bytes> bound;                   ///< no such plan moves fewer bytes
  std::optional<std::vector<ModeIndex>> modes;  ///< a placement that moves the fewest found, by TaskId
  bool is_infeasible = false;                   ///< proven: no placement keeps memory and loads
  std::string message;                          ///< why something is missing
};

/// Minimises the bytes moved (docs/objectives.md).
/// \param largest_load  no stream may be busy for longer; nothing = no limit
[[nodiscard]] LeastCommunication least_communication(const Problem& problem, std::optional<Duration> largest_load,
                                                     const Budget& budget, unsigned threads, std::uint64_t seed);

}  // namespace opweave::exact
