#include "opweave/pytorch_csv.h"

#include <algorithm>

#include "io/message.h"
#include "io/pytorch_channels.h"
#include "io/pytorch_messages.h"
#include "io/pytorch_text.h"
#include "opweave/error.h"

namespace opweave {

namespace {

using detail::Cell;
using detail::CellKind;
using detail::RowError;

/// The shape in which stages lie on rows; free if it is none of the known ones.
PipelineShape shape_of_rows(const std::vector<std::uint32_t>& row_of_stage, std::uint32_t rows) {
  const auto stages = static_cast<std::uint32_t>(row_of_stage.size());
  const auto matches = [&](PipelineShape shape) {
    for (std::uint32_t stage = 0; stage < stages; ++stage) {
      if (device_of_stage(shape, stage, 0, rows) != row_of_stage[stage]) return false;
    }
    return true;
  };
  if (stages == rows && matches(PipelineShape::kLinear)) return PipelineShape::kLinear;
  if (stages == 2 * rows && matches(PipelineShape::kV)) return PipelineShape::kV;
  if (stages % rows == 0 && matches(PipelineShape::kLoop)) return PipelineShape::kLoop;
  return PipelineShape::kFree;
}

std::int64_t one_step(const Cell& cell) {
  (void)cell;
  return 1;
}

/// The computations of a schedule as rows that PyTorch would take.
struct CompleteRows {
  const PipelineSchedule& schedule;
  detail::Rows rows;
  detail::RowSummary summary;

  explicit CompleteRows(const PipelineSchedule& of) : schedule(of) {
    for (const auto& actions : schedule.devices) {
      rows.emplace_back();
      for (const PipelineAction& action : actions) rows.back().push_back({CellKind::kCompute, action});
    }
    RowError error;
    const auto found = detail::summarise(rows, error);
    if (!found) refuse(error);
    summary = *found;
  }

  [[nodiscard]] std::vector<std::vector<detail::CellSpan>> play(const std::function<std::int64_t(const Cell&)>& length,
                                                                std::int64_t transfer) const {
    RowError error;
    auto spans = detail::play(rows, summary, false, length, transfer, error);
    if (!spans) refuse(error);
    return std::move(*spans);
  }

  [[nodiscard]] std::vector<std::vector<std::int64_t>> numbers(const ActionEnds& ends) const {
    std::vector<std::vector<std::int64_t>> result(ends.size());
    for (std::size_t row = 0; row < ends.size(); ++row) {
      for (const Duration end : ends[row]) result[row].push_back(end.value());
    }
    const auto same_size = [](const auto& a, const auto& b) { return a.size() == b.size(); };
    if (!std::ranges::equal(result, rows, same_size)) {
      throw InputError("schedule \"" + schedule.name + "\": ends do not have the sizes of its rows");
    }
    return result;
  }

  [[noreturn]] void refuse(const RowError& error) const {
    std::string where = "schedule \"" + schedule.name + "\": ";
    if (error.row < rows.size() && error.index < rows[error.row].size()) {
      where += "row " + std::to_string(error.row) + ", action " + std::to_string(error.index) + " \"" +
               to_string(rows[error.row][error.index]) + "\": ";
    }
    throw InputError(where + error.reason);
  }
};

std::string lines(const std::vector<std::vector<std::string>>& rows) {
  std::string result;
  for (const auto& row : rows) {
    for (std::size_t column = 0; column < row.size(); ++column) {
      if (column > 0) result += ',';
      result += row[column];
    }
    result += '\n';
  }
  return result;
}

}  // namespace

CsvReading read_pytorch_csv(std::string_view text, const std::string& source, ChannelModel channels) {
  const detail::CsvText parsed = detail::parse_cells(text, source);
  const auto fail_at = [&](const RowError& error, std::string hint = {}) {
    const bool has_cell = error.row < parsed.rows.size() && error.index < parsed.rows[error.row].size();
    throw detail::cell_error(source, error.row + 1, has_cell ? parsed.columns[error.row][error.index] : 1,
                             has_cell ? to_string(parsed.rows[error.row][error.index]) : "", error.reason,
                             std::move(hint));
  };
  RowError error;
  const auto summary = detail::summarise(parsed.rows, error);
  if (!summary) fail_at(error);
  if (parsed.has_messages) {
    if (const auto wrong = detail::check_messages(parsed.rows, *summary)) fail_at(*wrong);
  }
  if (!detail::play(parsed.rows, *summary, parsed.has_messages, one_step, 0, error)) fail_at(error);
  if (parsed.has_messages && channels.queue != ChannelQueue::kNone) {
    if (const auto circle = detail::find_circle(parsed.rows, *summary, channels)) {
      fail_at(*circle, "where messages overtake each other it ends: opweave convert csv --channels free");
    }
  }

  PipelineSchedule schedule;
  schedule.name = source;
  schedule.stages = static_cast<std::uint32_t>(summary->row_of_stage.size());
  schedule.microbatches = summary->microbatches;
  schedule.shape = shape_of_rows(summary->row_of_stage, static_cast<std::uint32_t>(parsed.rows.size()));
  for (const auto& row : parsed.rows) {
    schedule.devices.emplace_back();
    for (const Cell& cell : row) {
      if (cell.kind == CellKind::kCompute) schedule.devices.back().push_back(cell.action);
    }
  }
  return {std::move(schedule), parsed.remarks};
}

PipelineSchedule parse_pytorch_csv(std::string_view text, const std::string& source, ChannelModel channels) {
  return read_pytorch_csv(text, source, channels).schedule;
}

ActionEnds earliest_ends(const PipelineSchedule& schedule, Duration forward, Duration input_gradient,
                         Duration weight_gradient, Duration transfer) {
  const CompleteRows complete(schedule);
  const auto length = [&](const Cell& cell) {
    Duration total;
    for (const detail::Deed& deed : detail::deeds_of(cell.action)) {
      total += deed.what == 'F' ? forward : deed.what == 'I' ? input_gradient : weight_gradient;
    }
    return total.value();
  };
  ActionEnds ends;
  for (const auto& row : complete.play(length, transfer.value())) {
    ends.emplace_back();
    for (const detail::CellSpan& span : row) ends.back().emplace_back(span.end);
  }
  return ends;
}

std::string to_pytorch_csv(const PipelineSchedule& schedule, CsvDialect dialect, const ActionEnds& ends) {
  const CompleteRows complete(schedule);
  if (!complete.summary.has_backward) {
    complete.refuse({0, 0, "0I0 is missing: PyTorch loads no schedule of forwards alone"});
  }
  const auto columns = complete.play(one_step, 0);
  std::vector<std::vector<std::string>> cells;
  if (dialect == CsvDialect::kComputeOnly) {
    for (std::size_t row = 0; row < complete.rows.size(); ++row) {
      cells.emplace_back(static_cast<std::size_t>(columns[row].back().end));
      for (std::size_t index = 0; index < complete.rows[row].size(); ++index) {
        cells[row][static_cast<std::size_t>(columns[row][index].start)] = to_string(complete.rows[row][index]);
      }
    }
    return lines(cells);
  }
  const ActionEnds known =
      ends.empty() ? earliest_ends(schedule, Duration(1), Duration(1), Duration(1), Duration(0)) : ends;
  const auto rows = detail::with_messages(complete.rows, complete.summary, complete.numbers(known));
  // Claims are checked: the placement is proven by code that knows nothing of how it was made.
  if (detail::check_messages(rows, complete.summary) || detail::find_circle(rows, complete.summary, kInOrder)) {
    throw InternalError("messages of schedule \"" + schedule.name + "\" are not in order");
  }
  for (const auto& row : rows) {
    cells.emplace_back();
    for (const Cell& cell : row) cells.back().push_back(to_string(cell));
  }
  return lines(cells);
}

}  // namespace opweave
