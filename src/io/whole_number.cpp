#include "io/whole_number.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>

namespace opweave::io {
namespace {

/// What follows "e", at most a million to either side: beyond any text there is no difference.
std::int64_t exponent(std::string_view text) {
  constexpr std::int64_t kFar = 1'000'000'000;
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value > kFar) value = kFar;
  return is_negative ? -value : value;
}

}  // namespace

std::optional<WideInteger> whole_number(std::string_view number) {
  const bool is_negative = number.starts_with('-');
  if (is_negative) number.remove_prefix(1);
  const std::size_t e = std::min(number.find_first_of("eE"), number.size());
  std::int64_t zeros = e == number.size() ? 0 : exponent(number.substr(e + 1));  // to append to the digits
  std::string digits(number.substr(0, e));
  if (const auto point = digits.find('.'); point != std::string::npos) {
    zeros -= static_cast<std::int64_t>(digits.size() - point - 1);
    digits.erase(point, 1);
  }
  digits.erase(0, digits.find_first_not_of('0'));
  if (digits.empty()) return 0;
  const std::size_t last = digits.find_last_not_of('0');
  zeros += static_cast<std::int64_t>(digits.size() - last - 1);
  digits.resize(last + 1);

  constexpr std::size_t kMostDigits = 20;  // of 2^64 - 1
  if (zeros < 0 || digits.size() + static_cast<std::size_t>(zeros) > kMostDigits) return std::nullopt;
  digits.append(static_cast<std::size_t>(zeros), '0');
  WideInteger value = 0;
  for (const char digit : digits) value = 10 * value + (digit - '0');
  if (value > WideInteger{UINT64_MAX}) return std::nullopt;
  return is_negative ? -value : value;
}

}  // namespace opweave::io
