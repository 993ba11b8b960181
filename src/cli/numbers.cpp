#include "cli/numbers.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <string>

#include "io/message.h"

namespace opweave::cli {
namespace {

/// The whole text as a number, or nothing. Unlike the conversions of streams it takes no sign for an unsigned one.
template <class Value>
std::optional<Value> parse(const std::string& text) {
  Value value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string refusal(const std::string& text, const std::string& expected) {
  return fmt::format("value is {}, expected {}", io::text_in_quotes(text), expected);
}

}  // namespace

CLI::Validator whole_between(std::uint64_t least, std::uint64_t most) {
  return CLI::Validator(
      [least, most](std::string& text) {
        const auto value = parse<std::uint64_t>(text);
        if (value && *value >= least && *value <= most) return std::string();
        return refusal(text, fmt::format("an integer of {} to {}", least, most));
      },
      least == 0 ? "NONNEGATIVE" : "POSITIVE");
}

CLI::Validator number_between(double least, double most) {
  const bool is_open = std::isinf(most);
  return CLI::Validator(
      [least, most, is_open](std::string& text) {
        const auto value = parse<double>(text);
        if (value && std::isfinite(*value) && *value >= least && *value <= most) return std::string();
        return refusal(text, is_open ? fmt::format("a number of at least {}", least)
                                     : fmt::format("a number of {} to {}", least, most));
      },
      is_open && least == 0 ? "NONNEGATIVE"
      : is_open             ? fmt::format("{} or more", least)
                            : fmt::format("{} to {}", least, most));
}

}  // namespace opweave::cli
