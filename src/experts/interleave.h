/// The inside of an overlapped pair: two chains of operators on the streams of one device.
#pragma once

#include <cstdint>
#include <vector>

#include "opweave/quantity.h"

namespace opweave::detail {

/// One operator of a pair.
struct PairOperator {
  std::uint32_t streams = 1;  ///< mask
  Duration duration;
  auto operator<=>(const PairOperator&) const = default;
};

/// A weight gradient: part of the backward for which nothing in the pair waits.
struct DeferredOperator {
  PairOperator op;
  std::uint32_t released_by = 0;  ///< starts after this many operators of `backward`
  auto operator<=>(const DeferredOperator&) const = default;
};

/// What a pair consists of. Each chain runs in its order; `deferred` runs in its order, each operator after its
/// release.
struct PairWork {
  std::vector<PairOperator> forward;
  std::vector<PairOperator> backward;
  std::vector<DeferredOperator> deferred;
  auto operator<=>(const PairWork&) const = default;
};

/// Starts of all operators, and the end of the last.
struct Interleaving {
  std::vector<Duration> forward;
  std::vector<Duration> backward;
  std::vector<Duration> deferred;
  Duration duration;
};

/// A short schedule of the pair, by beam search over the orders in which operators start. Deterministic; O(operators).
[[nodiscard]] Interleaving interleave(const PairWork& work);

}  // namespace opweave::detail
