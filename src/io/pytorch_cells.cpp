#include "io/pytorch_cells.h"

#include <array>

#include "training/take_number.h"

namespace opweave::detail {

namespace {

struct Keyword {
  CellKind kind;
  std::string_view text;
  bool has_microbatch;
};
constexpr std::array<Keyword, 7> kKeywords = {{{CellKind::kSendForward, "SEND_F", true},
                                               {CellKind::kReceiveForward, "RECV_F", true},
                                               {CellKind::kSendBackward, "SEND_B", true},
                                               {CellKind::kReceiveBackward, "RECV_B", true},
                                               {CellKind::kUnshard, "UNSHARD", false},
                                               {CellKind::kReshard, "RESHARD", false},
                                               {CellKind::kReduceGradient, "REDUCE_GRAD", false}}};

}  // namespace

std::string to_string(const Cell& cell) {
  if (cell.kind == CellKind::kCompute) return opweave::to_string(cell.action);
  for (const Keyword& keyword : kKeywords) {
    if (keyword.kind != cell.kind) continue;
    return std::to_string(cell.action.stage) + std::string(keyword.text) +
           (keyword.has_microbatch ? std::to_string(cell.action.microbatch) : "");
  }
  return {};
}

std::optional<Cell> cell_from_string(std::string_view text) {
  Cell cell;
  if (const auto action = action_from_string(text)) {
    cell.action = *action;
    return cell;
  }
  const auto stage = take_number(text);
  if (!stage) return std::nullopt;
  cell.action.stage = *stage;
  for (const Keyword& keyword : kKeywords) {
    if (!text.starts_with(keyword.text)) continue;
    text.remove_prefix(keyword.text.size());
    cell.kind = keyword.kind;
    if (keyword.has_microbatch) {
      const auto microbatch = take_number(text);
      if (!microbatch) return std::nullopt;
      cell.action.microbatch = *microbatch;
    }
    return text.empty() ? std::optional(cell) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace opweave::detail
