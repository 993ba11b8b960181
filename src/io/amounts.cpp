#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>

#include "io/message.h"
#include "opweave/io.h"

namespace opweave {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

constexpr Unit kByteUnits[] = {{"", 1},
                               {"B", 1},
                               {"kB", 1'000},
                               {"MB", 1'000'000},
                               {"GB", 1'000'000'000},
                               {"TB", 1'000'000'000'000},
                               {"KiB", std::int64_t{1} << 10},
                               {"MiB", std::int64_t{1} << 20},
                               {"GiB", std::int64_t{1} << 30},
                               {"TiB", std::int64_t{1} << 40}};
constexpr Unit kTimeUnits[] = {{"", 1}, {"ns", 1}, {"us", 1'000}, {"ms", 1'000'000}, {"s", 1'000'000'000}};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

/// Bytes are also meant by "gib" and "GIB", but not by "Gb", which is a gigabit elsewhere.
bool is_unit(std::string_view unit, std::string_view name) {
  if (unit == name || !name.ends_with('B')) return unit == name;
  const auto is_in = [&](char (*letter)(char)) { return std::ranges::equal(unit, name, {}, {}, letter); };
  return is_in(lower) || is_in(upper);
}

/// A decimal number and a unit, rounded down to a whole amount; nothing if it is anything else or above
/// what an input may be.
std::optional<std::int64_t> parse_amount(std::string_view text, std::span<const Unit> units) {
  constexpr std::size_t kMaxDigits = 18;  // fits in 63 bits
  std::int64_t digits = 0;
  std::int64_t scale = 1;  // power of ten by which `digits` is too large
  std::size_t position = 0;
  std::size_t digit_count = 0;
  bool after_point = false;
  for (; position < text.size(); ++position) {
    const char c = text[position];
    if (c == '.' && !after_point && digit_count > 0) {
      after_point = true;
    } else if (c >= '0' && c <= '9') {
      if (++digit_count > kMaxDigits) return std::nullopt;
      digits = digits * 10 + (c - '0');
      if (after_point) scale *= 10;
    } else {
      break;
    }
  }
  if (digit_count == 0 || text[position - 1] == '.') return std::nullopt;
  std::string_view unit = text.substr(position);
  if (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  if (unit.empty() && position != text.size()) return std::nullopt;
  for (const Unit& known : units) {
    if (!is_unit(unit, known.name)) continue;
    __extension__ using Wide = __int128;
    const Wide amount = Wide{digits} * known.factor / scale;
    if (amount > kMaxInputValue) return std::nullopt;
    return static_cast<std::int64_t>(amount);
  }
  return std::nullopt;
}

}  // namespace

Bytes parse_bytes(std::string_view text) {
  // A part of a byte is no room for anything.
  if (const auto bytes = parse_amount(text, kByteUnits)) return Bytes(*bytes);
  throw InputError(
      fmt::format("size is {}, expected a number, for example \"1000\", \"512MiB\" or \"1.5 GB\" "
                  "(units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, also in lower or upper case), of at most {} bytes",
                  io::text_in_quotes(text), kMaxInputValue));
}

Duration parse_duration(std::string_view text) {
  if (const auto nanoseconds = parse_amount(text, kTimeUnits)) return Duration(*nanoseconds);
  throw InputError(
      fmt::format("time is {}, expected a number, for example \"1000\", \"3.4s\" or \"250 ms\" (units ns, us, ms, s), "
                  "of at most {} ns",
                  io::text_in_quotes(text), kMaxInputValue));
}

}  // namespace opweave
