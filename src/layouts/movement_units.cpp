#include "layouts/movement_units.h"

#include <algorithm>
#include <string>

namespace opweave {
namespace {

/// Units of operators that had none begin with a character that no text of a file has.
const std::string kOfOperator(1, '\0');

/// Makes two operators of one unit. Where the first is alone, its name is the unit.
void join_unit(Operator& of, Operator& other) {
  if (of.unit.empty() && of.layer.empty()) of.unit = kOfOperator + of.name;
  other.unit = of.unit;
  other.layer = of.layer;
}

}  // namespace

void give_units(const ComputationGraph& original, const std::vector<std::uint32_t>& unit_of,
                const std::vector<MovedTensor>& moves, std::vector<Operator>& operators) {
  for (const MovedTensor& move : moves) {
    Operator& movement = operators[move.movement.index()];
    if (original.at(move.maker).phase != Phase::kForward) continue;
    std::vector<OperatorId> readers;
    bool are_forward = true;
    for (const OperatorId reader : move.readers) {
      const Phase phase = original.at(reader).phase;
      if (phase != Phase::kForward && phase != Phase::kNone) continue;
      are_forward = are_forward && phase == Phase::kForward;
      readers.push_back(reader);
    }
    movement.phase = readers.empty() ? Phase::kInputGradient : Phase::kForward;
    if (readers.empty()) continue;
    const auto is_in = [&](std::uint32_t unit) {
      return [&, unit](OperatorId reader) {
        return original.at(reader).phase == Phase::kForward && unit_of[reader.index()] == unit;
      };
    };
    const OperatorId first = readers.front();
    if (std::ranges::any_of(readers, is_in(unit_of[move.maker.index()]))) {
      join_unit(operators[move.maker.index()], movement);
    } else if (move.gathers_in_place && are_forward && std::ranges::all_of(readers, is_in(unit_of[first.index()]))) {
      join_unit(operators[first.index()], movement);
    } else {
      movement.unit = kOfOperator + movement.name;
    }
  }
}

void join_unit_of_readers(const ComputationGraph& original, const std::vector<std::uint32_t>& unit_of,
                          const std::vector<OperatorId>& readers, Operator& gather, std::vector<Operator>& operators) {
  const std::uint32_t unit = unit_of[readers.front().index()];
  const bool are_of_one = std::ranges::all_of(readers, [&](OperatorId reader) {
    return original.at(reader).phase == Phase::kForward && unit_of[reader.index()] == unit;
  });
  if (are_of_one) join_unit(operators[readers.front().index()], gather);
}

}  // namespace opweave
