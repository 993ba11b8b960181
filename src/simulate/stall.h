/// Why a simulation stopped before everything ran.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "simulate/pieces.h"

namespace opweave::simulation {

/// Where a simulation came to rest.
struct Stall {
  const Problem& problem;
  const Pieces& pieces;
  const std::vector<bool>& ended;                ///< by piece
  const std::vector<std::uint32_t>& next_index;  ///< per queue: position of the first piece that has not started
  /// Whether the message with a value that is made has not had its turn at a device.
  std::function<bool(ValueId value, DeviceId device)> waits_for_turn;
};

/// Follows from the first piece that did not start what each one waits for, until a piece comes back
/// or a transfer has no route: "...", one line. \pre some piece has not ended.
[[nodiscard]] std::string explain(const Stall& stall);

}  // namespace opweave::simulation
