/// Proof that the messages of PyTorch's pipeline schedules do not wait for each other.
#pragma once

#include <optional>

#include "io/pytorch_rows.h"
#include "opweave/channel_model.h"

namespace opweave::detail {

/// A circle of cells that wait for each other when messages take turns as `model` says; nothing if all of them
/// end. A row goes through its cells in their order: a message takes its place in its queue after the computations
/// before it, and holds up no later one. \pre rows have passed summarise() and check_messages(), model has queues.
[[nodiscard]] std::optional<RowError> find_circle(const Rows& rows, const RowSummary& summary, ChannelModel model);

}  // namespace opweave::detail
