/// What a selection is probably worth, before anything is planned.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>

#include "opweave/layouts.h"

namespace opweave {

/// Compares as selections are preferred: first what fits, then what is short.
struct QuickValue {
  std::int64_t excess = 0;  ///< bytes by which parameters alone go beyond the memory of a device, at most
  std::int64_t time = 0;    ///< an estimate: critical path of one microbatch, the most loaded stream for each other one
  auto operator<=>(const QuickValue&) const = default;
};

/// O(operators + edges), whatever the number of microbatches. Nothing where the selection has no plan.
[[nodiscard]] std::optional<QuickValue> quick_value(const LayoutProblem& problem, const LayoutSelection& selection);

}  // namespace opweave
