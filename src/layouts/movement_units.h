/// Which movements run again, and with what (docs/layouts.md, "With memory modes").
#pragma once

#include <cstdint>
#include <vector>

#include "opweave/graph.h"

namespace opweave {

/// A movement of a tensor as an operator.
struct MovedTensor {
  OperatorId movement;
  OperatorId maker;           ///< operator of the original graph that made the tensor
  std::uint32_t held_on = 0;  ///< gang on which what it reads is
  TensorId read;
  TensorId made;
  bool is_between = false;        ///< it is on more devices than what it reads
  bool gathers_in_place = false;  ///< an all_gather on one gang
  bool may_reach_host = false;    ///< all of its devices keep what it makes
  /// Where values may have modes: operators of the original graph that need what it makes, perhaps moved further.
  std::vector<OperatorId> readers;
};

/// Gives each movement of what the forward pass makes its phase and, where some operator of the forward pass needs it,
/// its unit: that of the maker, if one of its operators is among them; else, of an all_gather in place, the unit of all
/// of them, if they are of one; else one of its own.
/// \param operators  of the derived graph; those of `original` have their numbers
/// \param unit_of  operators of `original`
void give_units(const ComputationGraph& original, const std::vector<std::uint32_t>& unit_of,
                const std::vector<MovedTensor>& moves, std::vector<Operator>& operators);

/// A gather of weights for operators of the forward pass runs again with them, if they are of one unit.
void join_unit_of_readers(const ComputationGraph& original, const std::vector<std::uint32_t>& unit_of,
                          const std::vector<OperatorId>& readers, Operator& gather, std::vector<Operator>& operators);

}  // namespace opweave
