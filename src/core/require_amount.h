/// Amounts that come from outside.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>

#include "opweave/quantity.h"

namespace opweave {

/// \throws InputError unless 0 <= value <= kMaxInputValue; `where` begins the message
void require_amount(std::int64_t value, const std::string& where);
/// The same where texts cost too much: `where()` makes it when it is needed.
template <std::invocable Where>
void require_amount(std::int64_t value, const Where& where) {
  if (value < 0 || value > kMaxInputValue) require_amount(value, where());
}

}  // namespace opweave
