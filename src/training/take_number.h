/// Numbers in the text of pipeline actions.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace opweave::detail {

/// Takes a number as std::to_string writes it (no sign, no leading zero) off the front of `text`.
inline std::optional<std::uint32_t> take_number(std::string_view& text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto length = static_cast<std::size_t>(end - text.data());
  if (error != std::errc{} || (length > 1 && text.front() == '0')) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

}  // namespace opweave::detail
