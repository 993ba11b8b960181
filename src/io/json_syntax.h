/// Where and why a text is not JSON. Slow and exact, for texts that the fast parser has refused.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace opweave::io {

/// Deepest nesting accepted; our formats need 6.
inline constexpr std::size_t kMaxJsonDepth = 32;

/// "/operators/3": '~' and '/' of a key as RFC 6901 wants them.
[[nodiscard]] std::string escape_pointer(std::string_view key);

/// "line 3, column 17" of the character that holds byte `offset`, counted from 1; columns count characters.
[[nodiscard]] std::string line_and_column(std::string_view text, std::size_t offset);

/// \throws InputError always: the first defect found in `text`, or `fallback` if it looks sound from here.
[[noreturn]] void throw_json_syntax_error(std::string_view text, const std::string& source, std::string_view fallback);

}  // namespace opweave::io
