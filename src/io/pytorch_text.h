/// The text of PyTorch's pipeline schedules, as people have it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/pytorch_rows.h"
#include "opweave/error.h"

namespace opweave::detail {

/// Cells of a text, and where they stand in it.
struct CsvText {
  Rows rows;
  std::vector<std::vector<std::size_t>> columns;  ///< of each cell, counted from 1 with empty cells
  bool has_messages = false;
  std::vector<std::string> remarks;  ///< how the text was understood where that is not obvious
};

/// Splits a text into cells: see read_pytorch_csv. \throws InputError for a cell that is no action
[[nodiscard]] CsvText parse_cells(std::string_view text, const std::string& source);

/// "schedule.csv: line 2, column 3: "2X0": reason".
[[nodiscard]] InputError cell_error(const std::string& source, std::size_t line, std::size_t column,
                                    const std::string& token, const std::string& reason, std::string hint = {});

}  // namespace opweave::detail
