/// What the terminal behind standard output can show.
#pragma once

#include <cstddef>
#include <string>

namespace opweave::cli {

struct Terminal {
  std::size_t columns = 100;
  bool colour = false;   ///< escape sequences for colours
  bool unicode = false;  ///< characters beyond ASCII
};

/// Columns from the terminal, else from COLUMNS, else 100. `when` is "auto" (a terminal that is not "dumb", unless
/// NO_COLOR is set and not empty: no-color.org), "always" or "never". Unicode as the locale says.
[[nodiscard]] Terminal terminal(const std::string& when);

}  // namespace opweave::cli
