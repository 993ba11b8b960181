/// How a work limit is spent so that more of it never gives a worse plan.
#pragma once

#include <cstdint>
#include <vector>

namespace opweave {

/// Parts of `work`, each twice as large as the one before, as many as fit. A search that cools down over its work
/// ends elsewhere with more of it, perhaps at a worse plan; a sequence of searches of these sizes, each from the best
/// that is known, only gets longer. The price: the last part is a quarter to a half of the work.
[[nodiscard]] inline std::vector<std::uint64_t> doubling_parts(std::uint64_t work) {
  constexpr std::uint64_t kFirst = 100;  // a search takes as long to begin as some ten evaluations
  std::vector<std::uint64_t> parts;
  for (std::uint64_t part = kFirst; part <= work; part *= 2) {
    parts.push_back(part);
    work -= part;
  }
  return parts;
}

}  // namespace opweave
