#include "io/pytorch_text.h"

#include <algorithm>
#include <set>

#include "io/foreign_files.h"
#include "io/message.h"
#include "training/take_number.h"

namespace opweave::detail {

namespace {

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// A cell without the blanks and the quotes around it.
std::string_view bare(std::string_view cell) {
  cell = trimmed(cell);
  if (cell.size() >= 2 && cell.front() == '"' && cell.back() == '"') cell = trimmed(cell.substr(1, cell.size() - 2));
  return cell;
}

/// Rows of cells; empty cells at the end of a row and empty rows at the end of the text are left out.
std::vector<std::vector<std::string_view>> split(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<std::vector<std::string_view>> rows;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::vector<std::string_view>& row = rows.emplace_back();
    while (true) {
      const std::size_t comma = std::min(line.find(','), line.size());
      row.push_back(bare(line.substr(0, comma)));
      if (comma == line.size()) break;
      line.remove_prefix(comma + 1);
    }
    while (!row.empty() && row.back().empty()) row.pop_back();
  }
  while (!rows.empty() && rows.back().empty()) rows.pop_back();
  return rows;
}

/// "2", "BW" and "0" of "2BW0".
struct Letters {
  std::uint32_t stage = 0;
  std::string_view letters;
  std::uint32_t microbatch = 0;
};

std::optional<Letters> letters_of(std::string_view token) {
  Letters result;
  const auto stage = take_number(token);
  if (!stage) return std::nullopt;
  const std::size_t length = std::min(token.find_first_of("0123456789"), token.size());
  result.letters = token.substr(0, length);
  token.remove_prefix(length);
  const auto microbatch = take_number(token);
  if (!microbatch || !token.empty()) return std::nullopt;
  result.stage = *stage;
  result.microbatch = *microbatch;
  return result;
}

/// Whether B stands for the gradient of inputs alone, as in older versions of PyTorch: where the whole backward has the
/// letters BW, or where every B has a W of its own (which would update the weights a second time).
bool has_older_letters(const std::vector<std::vector<std::string_view>>& rows) {
  bool has_whole = false;
  std::set<std::pair<std::uint32_t, std::uint32_t>> backward;
  std::set<std::pair<std::uint32_t, std::uint32_t>> weight;
  for (const auto& row : rows) {
    for (const std::string_view token : row) {
      const auto cell = letters_of(token);
      if (!cell) continue;
      if (cell->letters == "I") return false;
      has_whole = has_whole || cell->letters == "BW";
      if (cell->letters == "B") backward.emplace(cell->stage, cell->microbatch);
      if (cell->letters == "W") weight.emplace(cell->stage, cell->microbatch);
    }
  }
  return has_whole || (!backward.empty() && std::ranges::includes(weight, backward));
}

/// A cell of the older letters in those of today.
std::string translated(std::string_view token) {
  const auto cell = letters_of(token);
  if (!cell || (cell->letters != "B" && cell->letters != "BW")) return std::string(token);
  return std::to_string(cell->stage) + (cell->letters == "B" ? "I" : "B") + std::to_string(cell->microbatch);
}

}  // namespace

InputError cell_error(const std::string& source, std::size_t line, std::size_t column, const std::string& token,
                      const std::string& reason, std::string hint) {
  return io::error_in(source,
                      "line " + std::to_string(line) + ", column " + std::to_string(column) + ": " +
                          io::text_in_quotes(token) + ": " + reason,
                      std::move(hint));
}

CsvText parse_cells(std::string_view text, const std::string& source) {
  CsvText result;
  const auto rows = split(text);
  const bool is_older = has_older_letters(rows);
  if (is_older) result.remarks.emplace_back("older letters of PyTorch: B is read as I, BW as B");
  std::optional<std::pair<std::size_t, std::size_t>> empty_cell;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    result.rows.emplace_back();
    result.columns.emplace_back();
    for (std::size_t column = 0; column < rows[row].size(); ++column) {
      const std::string_view token = rows[row][column];
      if (token.empty()) {
        if (!empty_cell) empty_cell = {row + 1, column + 1};
        continue;
      }
      const auto cell = cell_from_string(is_older ? translated(token) : std::string(token));
      if (!cell) {
        if (row == 0 && column == 0) io::refuse_foreign(text, source, "a pipeline schedule (CSV)");
        const bool is_joined = !token.starts_with('(') && token.find_first_of(";\t ") != std::string_view::npos;
        throw cell_error(source, row + 1, column + 1, std::string(token),
                         "no action, expected one like 2F0, 2I0, 2W0, 2B0, (0F7;7B3)OVERLAP_F_B, 2SEND_F0 or "
                         "2REDUCE_GRAD",
                         is_joined ? "cells are separated by commas" : "");
      }
      result.has_messages = result.has_messages || cell->kind != CellKind::kCompute;
      result.rows.back().push_back(*cell);
      result.columns.back().push_back(column + 1);
    }
  }
  if (result.has_messages && empty_cell) {
    throw cell_error(source, empty_cell->first, empty_cell->second, "", "empty cell in a schedule with communication");
  }
  return result;
}

}  // namespace opweave::detail
