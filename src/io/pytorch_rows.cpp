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
        if (done.contains(deed)) continue;
        return fail(summary.row_of_stage[stage], 0, text(deed) + " is missing");
      }
    }
  }
  summary.microbatches = static_cast<std::uint32_t>(microbatches);
  return summary;
}

std::optional<std::vector<std::vector<std::size_t>>> steps(const Rows& rows, const RowSummary& summary,
                                                           bool has_messages, RowError& error) {
  std::map<Deed, std::size_t> done;
  std::map<Message, std::size_t> sent;
  std::vector<std::vector<std::size_t>> result(rows.size());

  // First step in which a cell can run; nothing while something it needs has not run.
  const auto earliest = [&](std::size_t row) -> std::optional<std::size_t> {
    const std::size_t index = result[row].size();
    std::size_t step = index == 0 ? 0 : result[row].back() + 1;
    const Cell& cell = rows[row][index];
    if (cell.kind != CellKind::kCompute) return step;
    const std::vector<Deed> deeds = deeds_of(cell.action);
    for (const Deed& deed : deeds) {
      const auto source = source_of(deed, summary.row_of_stage.size());
      if (!source) continue;
      const auto message = has_messages ? incoming(deed, summary) : std::nullopt;
      std::optional<std::size_t> available;
      if (message) {
        if (const auto found = sent.find(*message); found != sent.end()) available = found->second;
      } else if (const auto found = done.find(*source); found != done.end()) {
        available = found->second;
      }
      if (!available) return std::nullopt;
      step = std::max(step, *available + 1);
    }
    return step;
  };

  for (bool progress = true; progress;) {
    progress = false;
    for (std::size_t row = 0; row < rows.size(); ++row) {
      while (result[row].size() < rows[row].size()) {
        const auto step = earliest(row);
        if (!step) break;
        const Cell& cell = rows[row][result[row].size()];
        if (cell.kind == CellKind::kCompute) {
          for (const Deed& deed : deeds_of(cell.action)) done[deed] = *step;
        } else if (is_send(cell.kind)) {
          sent[*message_of(cell, summary)] = *step;
        }
        result[row].push_back(*step);
        progress = true;
      }
    }
  }
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (result[row].size() == rows[row].size()) continue;
    error = {row, result[row].size(), "waits forever: the rows wait for each other"};
    return std::nullopt;
  }
  return result;
}

}  // namespace opweave::detail
