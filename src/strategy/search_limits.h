/// Where the space of strategies ends.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "opweave/strategy_search.h"

namespace opweave::strategy {

inline constexpr std::uint32_t kMostContext = 64;
inline constexpr std::uint32_t kMostMicroBatch = 32;
inline constexpr std::uint32_t kMostChunks = 12;
/// A rank of the context axis has at least so many tokens, or kernels do little but start.
inline constexpr std::int64_t kLeastTokensOfContext = 1024;

/// In ascending order. O(most)
[[nodiscard]] inline std::vector<std::uint32_t> divisors(std::uint64_t number, std::uint64_t most) {
  std::vector<std::uint32_t> result;
  for (std::uint64_t i = 1; i <= most && i <= number; ++i) {
    if (number % i == 0) result.push_back(static_cast<std::uint32_t>(i));
  }
  return result;
}

/// Why what is held is impossible by itself or for the model, in one line; empty where it is not.
[[nodiscard]] std::string why_not_held(const ModelDescription& model, const HeldDecisions& held);

template <class Value>
std::vector<Value> held_or(const std::optional<Value>& held, std::vector<Value> all) {
  if (held) return {*held};
  return all;
}

}  // namespace opweave::strategy
