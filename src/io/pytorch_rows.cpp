#include "io/pytorch_rows.h"

#include <algorithm>
#include <set>

namespace opweave::detail {

namespace {

/// What a deed needs from elsewhere in the chain of stages.
std::optional<Deed> source_of(const Deed& deed, std::size_t stages) {
  if (deed.what == 'F' && deed.stage > 0) return Deed{'F', deed.stage - 1, deed.microbatch};
  if (deed.what != 'I') return std::nullopt;
  if (deed.stage + 1 < stages) return Deed{'I', deed.stage + 1, deed.microbatch};
  return Deed{'F', deed.stage, deed.microbatch};
}

/// Rows that are being played through.
class Player {
 public:
  Player(const Rows& rows, const RowSummary& summary, bool has_messages)
      : rows_(rows), summary_(summary), has_messages_(has_messages), spans_(rows.size()) {}

  bool run(const std::function<std::int64_t(const Cell&)>& length, std::int64_t transfer) {
    bool is_complete = false;
    for (bool progress = true; progress && !is_complete;) {
      progress = false;
      is_complete = true;
      for (std::size_t row = 0; row < rows_.size(); ++row) {
        while (!is_done(row) && !missing(row)) {
          advance(row, length, transfer);
          progress = true;
        }
        is_complete = is_complete && is_done(row);
      }
    }
    return is_complete;
  }

  [[nodiscard]] std::vector<std::vector<CellSpan>> take_spans() { return std::move(spans_); }

  /// From the first row that is left: what each waits for, until a row comes back. \pre run() was false
  [[nodiscard]] RowError circle() const {
    std::size_t row = 0;
    while (is_done(row)) ++row;
    const std::size_t first = row;
    std::vector<std::size_t> seen;
    while (std::find(seen.begin(), seen.end(), row) == seen.end()) {
      seen.push_back(row);
      row = summary_.row_of_stage[missing(row)->stage];
    }
    const auto start = std::find(seen.begin(), seen.end(), row);
    const auto name = [&](std::size_t of) {
      return "\"" + to_string(head(of)) + "\"" + " of row " + std::to_string(of);
    };
    std::string reason = "waits forever: " + name(row);
    for (auto at = start; at != seen.end(); ++at) {
      reason += (at == start ? " needs " : ", which needs ") + text(*missing(*at)) + ", which comes after " +
                name(at + 1 == seen.end() ? row : *(at + 1));
    }
    return {first, spans_[first].size(), reason};
  }

 private:
  [[nodiscard]] bool is_done(std::size_t row) const { return spans_[row].size() == rows_[row].size(); }
  [[nodiscard]] const Cell& head(std::size_t row) const { return rows_[row][spans_[row].size()]; }

  /// What the next cell of a row still needs.
  [[nodiscard]] std::optional<Deed> missing(std::size_t row) const {
    for (const Deed& deed : needs(head(row))) {
      const auto source = source_of(deed, summary_.row_of_stage.size());
      if (source && !available_.contains(key(*source, deed))) return source;
    }
    return std::nullopt;
  }
  [[nodiscard]] static std::vector<Deed> needs(const Cell& cell) {
    return cell.kind == CellKind::kCompute ? deeds_of(cell.action) : std::vector<Deed>();
  }
  /// What `deed` waits for: the message, where there are some, else the deed before it.
  [[nodiscard]] std::pair<Deed, bool> key(const Deed& source, const Deed& deed) const {
    return {source, has_messages_ && incoming(deed, summary_)};
  }

  void advance(std::size_t row, const std::function<std::int64_t(const Cell&)>& length, std::int64_t transfer) {
    const Cell& cell = head(row);
    std::int64_t start = spans_[row].empty() ? 0 : spans_[row].back().end;
    for (const Deed& deed : needs(cell)) {
      const auto source = source_of(deed, summary_.row_of_stage.size());
      if (!source) continue;
      const bool travels = !has_messages_ && incoming(deed, summary_);
      start = std::max(start, available_.at(key(*source, deed)) + (travels ? transfer : 0));
    }
    const std::int64_t end = start + length(cell);
    for (const Deed& deed : needs(cell)) available_[{deed, false}] = end;
    if (is_send(cell.kind)) available_[{message_of(cell, summary_)->producer, true}] = end;
    spans_[row].push_back({start, end});
  }

  const Rows& rows_;
  const RowSummary& summary_;
  const bool has_messages_;
  std::vector<std::vector<CellSpan>> spans_;
  std::map<std::pair<Deed, bool>, std::int64_t> available_;  // what a deed makes: where it is made, and sent
};

}  // namespace

std::vector<Deed> deeds_of(const PipelineAction& action) {
  switch (action.kind) {
    case ActionKind::kForward:
      return {{'F', action.stage, action.microbatch}};
    case ActionKind::kInputGradient:
      return {{'I', action.stage, action.microbatch}};
    case ActionKind::kWeightGradient:
      return {{'W', action.stage, action.microbatch}};
    case ActionKind::kBackward:
      return {{'I', action.stage, action.microbatch}, {'W', action.stage, action.microbatch}};
    case ActionKind::kPair:
      return {{'F', action.stage, action.microbatch},
              {'I', action.backward_stage, action.backward_microbatch},
              {'W', action.backward_stage, action.backward_microbatch}};
  }
  return {};
}

std::string text(const Deed& deed) { return std::to_string(deed.stage) + deed.what + std::to_string(deed.microbatch); }

std::optional<Message> incoming(const Deed& deed, const RowSummary& summary) {
  const auto source = source_of(deed, summary.row_of_stage.size());
  if (!source || summary.row_of_stage[source->stage] == summary.row_of_stage[deed.stage]) return std::nullopt;
  return Message{*source, deed};
}

std::optional<Message> outgoing(const Deed& deed, const RowSummary& summary) {
  std::optional<Deed> consumer;
  if (deed.what == 'F' && deed.stage + 1 < summary.row_of_stage.size()) {
    consumer = Deed{'F', deed.stage + 1, deed.microbatch};
  }
  if (deed.what == 'I' && deed.stage > 0) consumer = Deed{'I', deed.stage - 1, deed.microbatch};
  return consumer ? incoming(*consumer, summary) : std::nullopt;
}

std::optional<Message> message_of(const Cell& cell, const RowSummary& summary) {
  const std::uint32_t stage = cell.action.stage;
  const std::uint32_t microbatch = cell.action.microbatch;
  const bool last = stage + 1 == summary.row_of_stage.size();
  switch (cell.kind) {
    case CellKind::kSendForward:
      return outgoing({'F', stage, microbatch}, summary);
    case CellKind::kReceiveForward:
      return incoming({'F', stage, microbatch}, summary);
    case CellKind::kSendBackward:
      return outgoing({'I', stage, microbatch}, summary);
    case CellKind::kReceiveBackward:
      return last ? std::nullopt : incoming({'I', stage, microbatch}, summary);
    default:
      return std::nullopt;
  }
}

bool is_send(CellKind kind) { return kind == CellKind::kSendForward || kind == CellKind::kSendBackward; }
bool is_receive(CellKind kind) { return kind == CellKind::kReceiveForward || kind == CellKind::kReceiveBackward; }

std::optional<RowSummary> summarise(const Rows& rows, RowError& error) {
  std::map<std::uint32_t, std::uint32_t> row_of_stage;
  std::set<Deed> done;
  const auto fail = [&](std::size_t row, std::size_t index, std::string reason) {
    error = {row, index, std::move(reason)};
    return std::nullopt;
  };
  std::uint64_t microbatches = 0;
  bool has_backward = false;
  for (std::uint32_t row = 0; row < rows.size(); ++row) {
    for (std::size_t index = 0; index < rows[row].size(); ++index) {
      if (rows[row][index].kind != CellKind::kCompute) continue;
      for (const Deed& deed : deeds_of(rows[row][index].action)) {
        const auto [home, is_new] = row_of_stage.try_emplace(deed.stage, row);
        if (home->second != row) {
          return fail(row, index,
                      "stage " + std::to_string(deed.stage) + " is on rows " + std::to_string(home->second) + " and " +
                          std::to_string(row) + ", PyTorch runs a stage on one rank");
        }
        if (!done.insert(deed).second) {
          return fail(row, index, text(deed) + " is done a second time");
        }
        const char before = deed.what == 'W' ? 'I' : 'F';
        if (deed.what != 'F' && !done.contains({before, deed.stage, deed.microbatch})) {
          return fail(row, index, text(deed) + " comes before " + text({before, deed.stage, deed.microbatch}));
        }
        microbatches = std::max(microbatches, std::uint64_t{deed.microbatch} + 1);
        has_backward = has_backward || deed.what != 'F';
      }
    }
    if (rows[row].empty()) return fail(row, 0, "row " + std::to_string(row) + " has no action");
  }
  if (rows.empty()) return fail(0, 0, "no rows");
  RowSummary summary;
  for (const auto& [stage, row] : row_of_stage) {
    if (stage != summary.row_of_stage.size()) {
      return fail(row, 0,
                  "stage " + std::to_string(summary.row_of_stage.size()) + " is on no row, but stage " +
                      std::to_string(stage) + " is on row " + std::to_string(row));
    }
    summary.row_of_stage.push_back(row);
  }
  for (std::uint32_t stage = 0; stage < summary.row_of_stage.size(); ++stage) {
    for (std::uint64_t microbatch = 0; microbatch < microbatches; ++microbatch) {
      for (const char what : {'F', 'I', 'W'}) {
        const Deed deed{what, stage, static_cast<std::uint32_t>(microbatch)};
        if (done.contains(deed) || (what != 'F' && !has_backward)) continue;
        return fail(summary.row_of_stage[stage], 0, text(deed) + " is missing");
      }
    }
  }
  summary.microbatches = static_cast<std::uint32_t>(microbatches);
  summary.has_backward = has_backward;
  return summary;
}

std::optional<std::vector<std::vector<CellSpan>>> play(const Rows& rows, const RowSummary& summary, bool has_messages,
                                                       const std::function<std::int64_t(const Cell& cell)>& length,
                                                       std::int64_t transfer, RowError& error) {
  Player player(rows, summary, has_messages);
  if (player.run(length, transfer)) return player.take_spans();
  error = player.circle();
  return std::nullopt;
}

}  // namespace opweave::detail
