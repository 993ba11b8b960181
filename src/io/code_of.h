/// Numbers of characters.
#pragma once

#include <cstdint>
#include <string_view>

namespace opweave::io {

/// Number of a character: of a well-formed UTF-8 sequence, or of a single byte that is none.
[[nodiscard]] std::uint32_t code_of(std::string_view sequence);

}  // namespace opweave::io
