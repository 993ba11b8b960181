#include <fmt/format.h>

#include <array>
#include <utility>

#include "io/message.h"
#include "opweave/io.h"

namespace opweave {
namespace {

constexpr std::array<std::pair<std::string_view, std::int64_t>, 10> kUnits = {{{"", 1},
                                                                               {"B", 1},
                                                                               {"kB", 1'000},
                                                                               {"MB", 1'000'000},
                                                                               {"GB", 1'000'000'000},
                                                                               {"TB", 1'000'000'000'000},
                                                                               {"KiB", std::int64_t{1} << 10},
                                                                               {"MiB", std::int64_t{1} << 20},
                                                                               {"GiB", std::int64_t{1} << 30},
                                                                               {"TiB", std::int64_t{1} << 40}}};

std::int64_t factor_of(std::string_view unit) {
  for (const auto& [name, factor] : kUnits) {
    if (unit == name) return factor;
  }
  return 0;
}

}  // namespace

Bytes parse_bytes(std::string_view text) {
  const auto fail = [&] {
    throw InputError(
        fmt::format("size is {}, expected a number, for example \"1000\", \"512MiB\" or \"1.5 GB\" "
                    "(units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), of at most {} bytes",
                    io::quoted(text), kMaxInputValue));
  };
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
      if (++digit_count > kMaxDigits) fail();
      digits = digits * 10 + (c - '0');
      if (after_point) scale *= 10;
    } else {
      break;
    }
  }
  if (digit_count == 0 || text[position - 1] == '.') fail();
  std::string_view unit = text.substr(position);
  if (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  const std::int64_t factor = factor_of(unit);
  if (factor == 0 || (unit.empty() && position != text.size())) fail();
  __extension__ using Wide = __int128;
  const Wide bytes = Wide{digits} * factor / scale;  // a part of a byte is no room for anything
  if (bytes > kMaxInputValue) fail();
  return Bytes(static_cast<std::int64_t>(bytes));
}

}  // namespace opweave
