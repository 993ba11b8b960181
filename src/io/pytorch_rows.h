/// Rows of PyTorch's pipeline schedules as computation: who does what, and in which step.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/pytorch_cells.h"

namespace opweave::detail {

using Rows = std::vector<std::vector<Cell>>;

/// What is wrong with a schedule, and the cell where it shows (row, index in the row without empty cells).
struct RowError {
  std::size_t row = 0;
  std::size_t index = 0;
  std::string reason;
};

/// Sizes of a schedule and the row of each stage.
struct RowSummary {
  std::vector<std::uint32_t> row_of_stage;
  std::uint32_t microbatches = 0;
  bool has_backward = true;  ///< else forwards alone
};

/// Parts of a computation, as a schedule counts them. A backward is an I and a W at once.
struct Deed {
  char what;  ///< F, I or W
  std::uint32_t stage;
  std::uint32_t microbatch;
  auto operator<=>(const Deed&) const = default;
};

[[nodiscard]] std::vector<Deed> deeds_of(const PipelineAction& action);
/// "2F0".
[[nodiscard]] std::string text(const Deed& deed);

/// A tensor that changes rows: made by one deed, needed by another.
struct Message {
  Deed producer;
  Deed consumer;
  auto operator<=>(const Message&) const = default;
};
/// The message that a deed waits for, if its input comes from another row; the one that it gives rise to.
[[nodiscard]] std::optional<Message> incoming(const Deed& deed, const RowSummary& summary);
[[nodiscard]] std::optional<Message> outgoing(const Deed& deed, const RowSummary& summary);
/// The message of a send or receive; nothing if its stage has no neighbour on that side or in another row.
[[nodiscard]] std::optional<Message> message_of(const Cell& cell, const RowSummary& summary);
[[nodiscard]] bool is_send(CellKind kind);
[[nodiscard]] bool is_receive(CellKind kind);

/// Everything that PyTorch takes for granted: a stage on one row, every microbatch through every stage
/// once, forward before backward, I before W; or forwards alone. Nothing, and `error` set, for anything else.
[[nodiscard]] std::optional<RowSummary> summarise(const Rows& rows, RowError& error);

/// When a cell runs.
struct CellSpan {
  std::int64_t start = 0;
  std::int64_t end = 0;
};

/// Every cell as early as it can, after those before it and what it needs; nothing, and `error` set with the circle,
/// where rows wait for each other. A cell lasts `length`, a tensor needs `transfer` to another row. With messages, a
/// tensor from another row is there once it has been sent.
[[nodiscard]] std::optional<std::vector<std::vector<CellSpan>>> play(
    const Rows& rows, const RowSummary& summary, bool has_messages,
    const std::function<std::int64_t(const Cell& cell)>& length, std::int64_t transfer, RowError& error);

}  // namespace opweave::detail
