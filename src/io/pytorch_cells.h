/// Cells of PyTorch's pipeline schedules: computation, communication, parameters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "opweave/pipeline.h"

namespace opweave::detail {

/// What a cell of the compute_comms dialect does.
enum class CellKind : std::uint8_t {
  kCompute,
  kSendForward,     ///< SEND_F of the stage that made the activation
  kReceiveForward,  ///< RECV_F of the stage that needs it
  kSendBackward,    ///< SEND_B of the stage that made the gradient; it goes to the stage before
  kReceiveBackward,
  kUnshard,
  kReshard,
  kReduceGradient,
};

struct Cell {
  CellKind kind = CellKind::kCompute;
  PipelineAction action;  ///< for kCompute; else its stage and microbatch say which message or stage is meant
};

/// Text of a cell.
[[nodiscard]] std::string to_string(const Cell& cell);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<Cell> cell_from_string(std::string_view text);

}  // namespace opweave::detail
