/// How the operators of one piece (docs/blocks.md) run on one device.
#pragma once

#include <cstdint>
#include <vector>

#include "opweave/budget.h"
#include "opweave/quantity.h"

namespace opweave {

/// Operators of a piece on a device, in topological order.
struct PieceWork {
  std::vector<Duration> durations;
  std::vector<std::uint32_t> streams;                    ///< masks, as in Problem
  std::vector<std::vector<std::uint32_t>> predecessors;  ///< among the operators of the piece, ascending
  auto operator<=>(const PieceWork&) const = default;
};

struct PieceOrder {
  std::vector<Duration> starts;  ///< of each operator, from the start of the piece
  Duration length;
  Duration shortest;  ///< proven: no order of these operators is shorter
};

/// The shortest order that is found: of operators that share a stream, the given one; else that of a plan for one
/// device, with every stream taking one operator at a time. The same work gives the same order, unless the clock of
/// the budget cuts the search short.
[[nodiscard]] PieceOrder order_piece(const PieceWork& work, const Budget& budget);

}  // namespace opweave
