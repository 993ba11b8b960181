/// Texts of errors: one line, no control characters, values of bounded length.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "opweave/error.h"

namespace opweave::io {

/// `text` with control characters, line separators and bytes that are not UTF-8 escaped, cut to about
/// `limit` bytes (a cut ends in "...").
[[nodiscard]] std::string printable(std::string_view text, std::size_t limit = 400);

/// printable(text) in double quotes, for names and other values of the user.
[[nodiscard]] std::string text_in_quotes(std::string_view text, std::size_t limit = 60);

/// Length in bytes of the well-formed UTF-8 sequence that `text` begins with; 0 if there is none.
[[nodiscard]] std::size_t utf8_sequence_length(std::string_view text);

/// Number of characters of `text`; a byte that is not UTF-8 counts as one.
[[nodiscard]] std::size_t utf8_length(std::string_view text);

/// Candidate that `word` is probably a slip of; empty if none is close.
[[nodiscard]] std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

/// `did you mean "duration_ns"?`, or empty.
[[nodiscard]] std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

/// The error "<source>: <message>".
[[nodiscard]] InputError error_in(std::string_view source, std::string_view message, std::string hint = {});

/// Runs `build`; an InputError from it is thrown on with the source in front.
template <class Build>
auto naming_source(std::string_view source, Build&& build) {
  try {
    return build();
  } catch (const InputError& error) {
    throw error_in(source, error.what(), error.hint());
  }
}

}  // namespace opweave::io
