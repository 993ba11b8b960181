/// What options that are numbers accept, for CLI::Option::check: the error names value and expectation.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>

namespace opweave::cli {

inline constexpr double kGiB = 1U << 30U;

[[nodiscard]] CLI::Validator whole_between(std::uint64_t least, std::uint64_t most);
/// Bounds are given where there are both; infinity stands for none.
[[nodiscard]] CLI::Validator number_between(double least, double most);

/// An integer that fits into `Value`.
template <class Value>
[[nodiscard]] CLI::Validator whole(std::uint64_t least = 0) {
  return whole_between(least, static_cast<std::uint64_t>(std::numeric_limits<Value>::max()));
}
[[nodiscard]] inline CLI::Validator number(double least = 0) {
  return number_between(least, std::numeric_limits<double>::infinity());
}

}  // namespace opweave::cli
