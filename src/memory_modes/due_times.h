/// When what was let go must come back.
#pragma once

#include <cstdint>
#include <vector>

#include "memory_modes/derive.h"

namespace opweave {

/// Finds, for each unit, the operators of the backward pass behind which it is time to bring its values back: as many
/// before the first that needs them as the unit has operators.
class DueTimes {
 public:
  DueTimes(const ComputationGraph& graph, const std::vector<std::uint32_t>& unit_of,
           const std::vector<MemoryMode>& modes, const GraphWithMovements& derived);

  /// By unit; empty where nothing of the backward pass comes before. None of them needs what waits for it.
  [[nodiscard]] std::vector<std::vector<OperatorId>> releases() const;

 private:
  void find_first_readers(const GraphWithMovements& derived);
  [[nodiscard]] std::vector<OperatorId> makers_before(OperatorId op) const;

  const ComputationGraph& graph_;
  const std::vector<std::uint32_t>& unit_of_;
  const std::vector<MemoryMode>& modes_;
  std::vector<std::uint32_t> position_;      ///< of an operator in the topological order
  std::vector<std::uint32_t> first_reader_;  ///< by unit: position of what needs it first; kNone where nothing does
  std::vector<std::uint32_t> size_;          ///< by unit: operators of the forward pass
};

}  // namespace opweave
