/// Names as people read them: whole, and without letters that a terminal would take for commands.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace opweave {

/// The text with control characters, line breaks, characters that reorder it and bytes that are not UTF-8 escaped:
/// "a\\u001b[31m". Nothing is cut.
[[nodiscard]] std::string readable(std::string_view text);

/// Columns that a text takes on a terminal, where some characters take two.
[[nodiscard]] std::size_t width_of(std::string_view text);

/// The text with blanks around it: in front if it goes to the right, else behind.
[[nodiscard]] std::string padded(std::string_view text, std::size_t width, bool to_the_right = false);

/// Names for a picture, readable and never cut in the middle.
struct ShortNames {
  std::string left_out;            ///< what stands in front of each of `names`; to be said once
  std::vector<std::string> names;  ///< in the order of the given ones
};
/// Whole names if each of them fits into so many columns; else without what all of them begin with, up to a separator
/// ("cluster-a.node-").
[[nodiscard]] ShortNames short_names(const std::vector<std::string>& names, std::size_t room);

}  // namespace opweave
