/// Quantities as people read them. Files carry exact integers instead.
#pragma once

#include <string>
#include <vector>

#include "opweave/quantity.h"

namespace opweave {

/// "250 ns", "18.42 us", "3551.80 ms", "120.50 s".
[[nodiscard]] std::string human(Duration duration);
/// "512 B", "41.2 GiB".
[[nodiscard]] std::string human(Bytes bytes);
/// "2.8%"; the argument is a ratio.
[[nodiscard]] std::string percent(double ratio);
[[nodiscard]] std::string percent(Duration part, Duration whole);

/// Lines of text in columns: the first row is the heading, columns whose cells (below the heading) all
/// begin with a digit, '-' or '+' are aligned to the right. Cells are as wide as it takes, and readable.
[[nodiscard]] std::string table(std::vector<std::vector<std::string>> rows);

}  // namespace opweave
