// Schedules in the CSV form of torch.distributed.pipelining: a row per rank, an action per cell.
#include <algorithm>

#include "io/pytorch_messages.h"
#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave {

namespace {

using detail::Cell;
using detail::CellKind;
using detail::RowError;
using detail::RowSummary;

struct ParsedRows {
  detail::Rows rows;
  std::vector<std::vector<std::size_t>> columns;  ///< of each cell, counted from 1 with empty cells
  bool has_messages = false;
};

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

[[noreturn]] void fail(const std::string& source, std::size_t line, std::size_t column, const std::string& token,
                       const std::string& reason) {
  throw InputError(source + ": line " + std::to_string(line) + ", column " + std::to_string(column) + ": \"" + token +
                   "\": " + reason);
}

ParsedRows parse_cells(std::string_view text, const std::string& source) {
  ParsedRows result;
  std::optional<std::pair<std::size_t, std::size_t>> empty_cell;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    result.rows.emplace_back();
    result.columns.emplace_back();
    const std::size_t row = result.rows.size();
    for (std::size_t column = 1;; ++column) {
      const std::size_t comma = std::min(line.find(','), line.size());
      const std::string_view token = trimmed(line.substr(0, comma));
      if (token.empty()) {
        if (!empty_cell) empty_cell = {row, column};
      } else {
        const auto cell = detail::cell_from_string(token);
        if (!cell) {
          fail(source, row, column, std::string(token),
               "no action, expected one like 2F0, 2I0, 2W0, 2B0, (0F7;7B3)OVERLAP_F_B, 2SEND_F0 or 2REDUCE_GRAD");
        }
        result.has_messages = result.has_messages || cell->kind != CellKind::kCompute;
        result.rows.back().push_back(*cell);
        result.columns.back().push_back(column);
      }
      if (comma == line.size()) break;
      line.remove_prefix(comma + 1);
    }
  }
  if (result.has_messages && empty_cell) {
    fail(source, empty_cell->first, empty_cell->second, "", "empty cell in a schedule with communication");
  }
  return result;
}

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

[[noreturn]] void refuse(const PipelineSchedule& schedule, const detail::Rows& rows, const RowError& error) {
  std::string where = "schedule \"" + schedule.name + "\": ";
  if (error.row < rows.size() && error.index < rows[error.row].size()) {
    where += "row " + std::to_string(error.row) + ", action " + std::to_string(error.index) + " \"" +
             to_string(rows[error.row][error.index]) + "\": ";
  }
  throw InputError(where + error.reason);
}

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

PipelineSchedule parse_pytorch_csv(std::string_view text, const std::string& source) {
  const ParsedRows parsed = parse_cells(text, source);
  const auto fail_at = [&](const RowError& error) {
    const bool has_cell = error.row < parsed.rows.size() && error.index < parsed.rows[error.row].size();
    fail(source, error.row + 1, has_cell ? parsed.columns[error.row][error.index] : 1,
         has_cell ? to_string(parsed.rows[error.row][error.index]) : "", error.reason);
  };
  RowError error;
  const auto summary = detail::summarise(parsed.rows, error);
  if (!summary) fail_at(error);
  if (parsed.has_messages) {
    if (const auto wrong = detail::check_messages(parsed.rows, *summary)) fail_at(*wrong);
  }
  if (!detail::steps(parsed.rows, *summary, parsed.has_messages, error)) fail_at(error);

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
  return schedule;
}

std::string to_pytorch_csv(const PipelineSchedule& schedule, CsvDialect dialect) {
  detail::Rows rows;
  for (const auto& actions : schedule.devices) {
    rows.emplace_back();
    for (const PipelineAction& action : actions) rows.back().push_back({CellKind::kCompute, action});
  }
  RowError error;
  const auto summary = detail::summarise(rows, error);
  if (!summary) refuse(schedule, rows, error);
  const auto columns = detail::steps(rows, *summary, false, error);
  if (!columns) refuse(schedule, rows, error);

  std::vector<std::vector<std::string>> cells;
  if (dialect == CsvDialect::kComputeOnly) {
    for (std::size_t row = 0; row < rows.size(); ++row) {
      cells.emplace_back((*columns)[row].back() + 1);
      for (std::size_t index = 0; index < rows[row].size(); ++index) {
        cells[row][(*columns)[row][index]] = to_string(rows[row][index]);
      }
    }
    return lines(cells);
  }
  const auto complete = detail::with_messages(rows, *summary);
  if (const auto wrong = detail::check_messages(complete, *summary)) refuse(schedule, complete, *wrong);
  if (!detail::steps(complete, *summary, true, error)) refuse(schedule, complete, error);
  for (const auto& row : complete) {
    cells.emplace_back();
    for (const Cell& cell : row) cells.back().push_back(to_string(cell));
  }
  return lines(cells);
}

}  // namespace opweave
