/// Amounts that come from outside.
#pragma once

#include <cstdint>
#include <string>

namespace opweave {

/// \throws InputError unless 0 <= value <= kMaxInputValue; `where` begins the message
void require_amount(std::int64_t value, const std::string& where);

}  // namespace opweave
