/// What a unit may do with what it keeps for the backward pass.
#pragma once

#include <cstdint>
#include <vector>

#include "opweave/memory_modes.h"

namespace opweave {

/// One way of a unit: tensors of it that get a mode, together.
struct Lever {
  MemoryMode mode = MemoryMode::kKeep;
  std::vector<TensorId> tensors;
};

/// A unit that has a way beside keeping everything.
struct UnitLevers {
  std::uint32_t unit = 0;
  std::vector<Lever> levers;  ///< without that of keeping
  Bytes kept;                 ///< bytes of one microbatch that its backward pass needs
  /// Position among the units of its place, those first whose values stay longest: what gives most memory back for one
  /// repetition.
  std::uint32_t rank = 0;
  std::uint32_t rank_in_stage = 0;  ///< position among the units of its stage: every stage gives some
};

/// The units with levers, by rank, so that the first of them are spread over all places; among equals those first that
/// keep most. Dropping takes what
/// only the unit itself or the backward pass reads; where it also has outputs that the forward pass reads elsewhere and
/// the backward pass needs, there is a lever that drops them and one that keeps them.
[[nodiscard]] std::vector<UnitLevers> levers_of(const Problem& problem);

}  // namespace opweave
