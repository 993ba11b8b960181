/// Integers among the numbers of JSON, told from how they are written.
#pragma once

#include <optional>
#include <string_view>

namespace opweave::io {

__extension__ using WideInteger = __int128;

/// The exact value of a JSON number ("12", "12.0", "1e3", "-0.5e1") if it is an integer of at most 64 bits beside its
/// sign; nothing for any other ("9007199254740990.5", "1e-400", "1e400"). A double would not do: it rounds fractions
/// away. \pre `number` obeys the grammar of JSON.
[[nodiscard]] std::optional<WideInteger> whole_number(std::string_view number);

}  // namespace opweave::io
