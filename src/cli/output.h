/// Where results, messages and files go.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace opweave::cli {

/// Writes all of `text` to standard output. A reader that has gone away (a closed pipe) is no error.
/// \throws InputError with the system's reason, e.g. when the disk is full.
void print(std::string_view text);

/// "<kind>: <message>" as one line on standard error; line breaks in the message become spaces,
/// other control characters are escaped.
void complain(std::string_view kind, std::string_view message);

/// Writes to the file, or to standard output if `path` is empty.
/// \throws InputError naming the file and the reason.
void deliver(const std::filesystem::path& path, std::string_view text);

/// Standard error is a terminal, so somebody watches.
[[nodiscard]] bool somebody_watches();

/// Rows of a long table that are shown without --all.
inline constexpr std::size_t kMostRows = 12;

}  // namespace opweave::cli
