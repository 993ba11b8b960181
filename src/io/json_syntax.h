/// What the fast parser does not say: where and why a text is not JSON, and how its numbers are written (slow and
/// exact); and what need not be parsed for.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace opweave::io {

/// Deepest nesting accepted; our formats need 6.
inline constexpr std::size_t kMaxJsonDepth = 32;

/// "/operators/3": '~' and '/' of a key as RFC 6901 wants them.
[[nodiscard]] std::string escape_pointer(std::string_view key);

/// "line 3, column 17" of the character that holds byte `offset`, counted from 1; columns count characters.
[[nodiscard]] std::string line_and_column(std::string_view text, std::size_t offset);

/// \throws InputError always: the first defect found in `text`, or `fallback` if it looks sound from here.
[[noreturn]] void throw_json_syntax_error(std::string_view text, const std::string& source, std::string_view fallback);

/// Numbers of a JSON text, as they are written and by JSON pointer, that look like an integer only as a double
/// (9007199254740990.5, 1e-400) or are beyond those that a double tells apart (1e17).
[[nodiscard]] std::unordered_map<std::string, std::string> rounded_numbers(std::string_view text);

/// The first number that the outermost object has under a key that is written without escapes, as it is written. Reads
/// no further than to there. Nothing where there is none; of a text that is not JSON, anything.
[[nodiscard]] std::optional<std::string_view> outermost_number(std::string_view text, std::string_view key);

}  // namespace opweave::io
