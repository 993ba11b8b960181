/// Blocks: parts of a model whose work on a microbatch runs in one piece per phase.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/graph.h"
#include "opweave/id.h"

namespace opweave {

/// What the operators of one block have in common.
enum class Blocks : std::uint8_t {
  kNone,   ///< every operator runs for itself
  kStage,  ///< their stage
  kLayer,  ///< their layer
};
/// "none", "stage", "layer".
[[nodiscard]] std::string_view to_string(Blocks blocks);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<Blocks> blocks_from_string(std::string_view text);

/// The operators of one phase of a block: for a microbatch (of phase O: for a replica) they run as one.
struct Piece {
  std::string block;  ///< stage or layer; empty for an operator of phase O that has none
  Phase phase = Phase::kNone;
  std::vector<OperatorId> operators;  ///< in the graph's topological order

  /// "stage 3.F", "layer attention.F", or the name of the operator that has no block.
  [[nodiscard]] std::string name(const ComputationGraph& graph, Blocks blocks) const;
};

/// The pieces of a graph, each operator in one, by their first operators in topological order. The backward of a block
/// with an operator of phase B is one piece of phase B: its I and W are not told apart. Operators without a phase count
/// as F where their block has an F. An operator of phase O without stage or layer is a piece of its own.
/// \pre  blocks is not kNone
/// \throws InputError if another operator has no stage or layer
[[nodiscard]] std::vector<Piece> pieces_of(const ComputationGraph& graph, Blocks blocks);

}  // namespace opweave
