/// Kernels by modulo scheduling, from the inside out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "opweave/budget.h"
#include "periodic/kernel.h"

namespace opweave::periodic {

/// A body that modulo_kernel() can schedule in milliseconds: at most some thousand nodes.
[[nodiscard]] bool can_be_modulo_scheduled(const LoopBody& body);

struct ModuloOptions {
  std::uint64_t seed = 1;
  std::uint64_t tries = 100;  ///< kernels that are begun
};

/// The kernel of the shortest period below `below` that is found: each try places the nodes one by one on a circle of a
/// drawn period, those first while which most memory is held (docs/periodic.md). Nothing if no try has room and memory
/// for all nodes. Stops at the tries, with the budget, or when the period is the least possible.
/// O(nodes x (nodes + edges)) per try. \pre can_be_modulo_scheduled(*body)
[[nodiscard]] std::optional<Kernel> modulo_kernel(const std::shared_ptr<const LoopBody>& body, Time below,
                                                  const Budget& budget, const ModuloOptions& options);

}  // namespace opweave::periodic
