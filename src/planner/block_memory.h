/// What the pieces of blocks hold, for a problem that knows them as single operators.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/blocks.h"
#include "opweave/graph.h"

namespace opweave {

/// A piece as it runs on some device, from its start on.
struct TimedPiece {
  std::vector<Duration> starts;  ///< by operator of the piece
  std::vector<Duration> ends;
  std::vector<Bytes> workspaces;
  Duration length;
};

/// One array between pieces.
struct BlockTensor {
  std::optional<TensorId> tensor;  ///< of the graph; nothing for bytes that pieces of one block take over in place
  Bytes size;
  std::optional<std::size_t> producer;  ///< piece
  std::vector<std::size_t> consumers;   ///< pieces, ascending
};

struct BlockMemory {
  std::vector<BlockTensor> tensors;
  std::vector<Bytes> workspaces;  ///< by piece
};

/// Tensors between pieces and workspaces of pieces such that a device that holds them never holds less than it does
/// when the operators run one by one (docs/blocks.md has the proof), and rarely more.
/// \param piece_of  by operator
/// \param timed     by piece, all ways in which it may run: at least one
[[nodiscard]] BlockMemory block_memory(const ComputationGraph& graph, const std::vector<Piece>& pieces,
                                       const std::vector<std::size_t>& piece_of,
                                       const std::vector<std::vector<TimedPiece>>& timed);

}  // namespace opweave
