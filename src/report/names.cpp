#include "report/names.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>

#include "io/code_of.h"
#include "io/message.h"

namespace opweave {
namespace {

/// Twice as wide as other characters on a terminal (Unicode TR11: wide and full-width).
bool is_wide(std::uint32_t code) {
  constexpr std::array<std::pair<std::uint32_t, std::uint32_t>, 12> kRanges = {{{0x1100, 0x115F},
                                                                                {0x2E80, 0x303E},
                                                                                {0x3041, 0xA4CF},
                                                                                {0xAC00, 0xD7A3},
                                                                                {0xF900, 0xFAFF},
                                                                                {0xFE30, 0xFE6F},
                                                                                {0xFF00, 0xFF60},
                                                                                {0xFFE0, 0xFFE6},
                                                                                {0x1F300, 0x1F64F},
                                                                                {0x1F900, 0x1F9FF},
                                                                                {0x20000, 0x2FFFD},
                                                                                {0x30000, 0x3FFFD}}};
  return std::ranges::any_of(kRanges, [&](const auto& range) { return code >= range.first && code <= range.second; });
}

/// Length of what all names have in front, up to and with a separator, such that something is left of each.
std::size_t common_part(const std::vector<std::string>& names) {
  std::size_t common = names.front().size();
  for (const std::string& name : names) {
    const auto [end, _] = std::ranges::mismatch(names.front(), name);
    common = std::min({common, static_cast<std::size_t>(end - names.front().begin()), name.size() - 1});
  }
  return names.front().substr(0, common).find_last_of("./:_- ") + 1;  // npos + 1 = 0
}

}  // namespace

std::string readable(std::string_view text) { return io::printable(text, std::numeric_limits<std::size_t>::max()); }

std::size_t width_of(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const std::size_t length = std::max<std::size_t>(1, io::utf8_sequence_length(text));
    width += is_wide(io::code_of(text.substr(0, length))) ? 2 : 1;
    text.remove_prefix(length);
  }
  return width;
}

std::string padded(std::string_view text, std::size_t width, bool to_the_right) {
  const std::string blanks(width - std::min(width, width_of(text)), ' ');
  return to_the_right ? blanks + std::string(text) : std::string(text) + blanks;
}

ShortNames short_names(const std::vector<std::string>& names, std::size_t room) {
  ShortNames result;
  for (const std::string& name : names) result.names.push_back(readable(name));
  if (names.size() < 2 || std::ranges::all_of(result.names, [&](const auto& n) { return width_of(n) <= room; })) {
    return result;
  }
  const std::size_t common = common_part(result.names);
  result.left_out = result.names.front().substr(0, common);
  for (std::string& name : result.names) name.erase(0, common);
  return result;
}

}  // namespace opweave
