#include "core/require_amount.h"

#include <fmt/format.h>

#include "opweave/error.h"
#include "opweave/quantity.h"

namespace opweave {

void require_amount(std::int64_t value, const std::string& where) {
  if (value < 0 || value > kMaxInputValue) {
    throw InputError(fmt::format("{} is {}, expected an integer of 0 to {}", where, value, kMaxInputValue));
  }
}

}  // namespace opweave
