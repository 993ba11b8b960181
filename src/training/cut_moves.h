/// Small changes of a cut.
#pragma once

#include <cstdint>
#include <functional>
#include <random>

#include "training/cut_loads.h"

namespace opweave::detail {

/// Moves the ends of some consecutive stages by one layer, all up or all down, so that one layer's worth goes from the
/// stage at one end to the stage at the other; single ends first. Calls `accept` with every changed cut without an
/// empty stage; where it returns true the change stays and the moves begin anew. Ends when no move is accepted, or
/// `steps` (one per stage and cut) run out.
void improve_by_moves(CutBounds& bounds, std::int64_t& steps, const std::function<bool(const CutBounds&)>& accept);

/// A smaller largest load, by moves alone.
void balance_by_moves(const CutLoads& loads, CutBounds& bounds, std::int64_t& steps);

/// A shorter longest stage without a larger largest load, by moves alone.
void shorten_by_moves(const CutLoads& loads, CutBounds& bounds, std::int64_t& steps);

/// The cut after a few random moves of single ends.
[[nodiscard]] CutBounds shaken(CutBounds bounds, std::mt19937& random);

}  // namespace opweave::detail
