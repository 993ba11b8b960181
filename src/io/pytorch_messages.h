/// Communication between the rows of PyTorch's pipeline schedules.
#pragma once

#include <optional>

#include "io/pytorch_rows.h"

namespace opweave::detail {

/// Checks sends and receives: one of each for every tensor that changes rows and for no other, after
/// its producer and before its consumer, received in the order in which the other row sends them (all
/// messages between two ranks share one queue, so that crossed receives exchange their tensors
/// silently); and that gathering of parameters and reduction of gradients enclose their use.
/// \pre rows have passed summarise().
[[nodiscard]] std::optional<RowError> check_messages(const Rows& rows, const RowSummary& summary);

/// The rows with sends and receives, and a gradient reduction after each stage's last backward. Computations and
/// messages of all rows get places in one order, computations by their ends, messages by the ends of what makes
/// them, after all computations that end by then; every row follows it, so that no messages wait in a circle
/// (docs/messages.md). `ends`: of every cell. \pre rows of computation that have passed summarise() and play().
[[nodiscard]] Rows with_messages(const Rows& rows, const RowSummary& summary,
                                 const std::vector<std::vector<std::int64_t>>& ends);

}  // namespace opweave::detail
