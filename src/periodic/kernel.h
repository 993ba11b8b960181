/// The steady state of a pipeline: one body of work, repeated every period (docs/periodic.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "periodic/repetition.h"

namespace opweave::periodic {

/// Starts of the nodes of a body; every `period` after it, the same again. The least start of a node that repeats may
/// be any number.
struct Kernel {
  std::shared_ptr<const LoopBody> body;
  Time period = 0;
  std::vector<Time> starts;  ///< by node of the body's network

  /// Lap of the period in which a node of repetition 0 starts: start = phase + period x lap.
  [[nodiscard]] Time lap(Node node) const;
  [[nodiscard]] Time phase(Node node) const { return starts[node] - period * lap(node); }
};

/// Lower bound on the period of any kernel of the body: no resource can do more than work all the time, and no memory
/// can be full more than all the time (each value is held at least for the longest chain from the start of its maker to
/// the end of its last user). O(nodes x values).
[[nodiscard]] Time least_period(const LoopBody& body);

/// Bytes by which the repeated body exceeds the memory of each pool, at the worst moment; at most 0 if it fits.
/// O(n log n).
[[nodiscard]] std::vector<std::int64_t> memory_excess(const Kernel& kernel);
[[nodiscard]] bool fits_in_memory(const Kernel& kernel);

/// Precedence holds, no two nodes share a resource at a time, and the memory suffices, whatever the number of
/// repetitions. O(n log n).
[[nodiscard]] bool is_valid(const Kernel& kernel);

/// A kernel of this period in which every resource takes its nodes in the cyclic order of `starts` modulo the period.
/// Where the order asks for it, nodes wait for a later lap, those first that cost the least memory. The result may
/// exceed the memory; nothing if the order cannot be kept in any lap (nodes that hold several resources), or
/// the period is below the load of a resource.
/// \param starts  by node of the body's network.
[[nodiscard]] std::optional<Kernel> kernel_from_order(std::shared_ptr<const LoopBody> body,
                                                      std::span<const Time> starts, Time period);

}  // namespace opweave::periodic
