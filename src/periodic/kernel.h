/// The steady state of a pipeline: one unit of work, repeated every period (docs/periodic.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "periodic/repetition.h"

namespace opweave::periodic {

/// Starts of the nodes of a unit; every `period` after it, the same again. The least start of a node that repeats may
/// be any number.
struct Kernel {
  std::shared_ptr<const Unit> unit;
  Time period = 0;
  std::vector<Time> starts;  ///< by node of the unit's network

  /// Window of the period in which a node of repetition 0 starts: start = phase + period x window.
  [[nodiscard]] Time window(Node node) const;
  [[nodiscard]] Time phase(Node node) const { return starts[node] - period * window(node); }
};

/// Lower bound on the period of any kernel of the unit: no resource can do more than work all the time, and no memory
/// can be full more than all the time (each value is held at least for the longest chain from the start of its maker to
/// the end of its last user). O(nodes x values).
[[nodiscard]] Time least_period(const Unit& unit);

/// Bytes by which the repeated unit exceeds the memory of each pool, at the worst moment; at most 0 if it fits.
/// O(n log n).
[[nodiscard]] std::vector<std::int64_t> memory_excess(const Kernel& kernel);
[[nodiscard]] bool fits_in_memory(const Kernel& kernel);

/// Precedence holds, no two nodes share a resource at a time, and the memory suffices, whatever the number of
/// repetitions. O(n log n).
[[nodiscard]] bool is_valid(const Kernel& kernel);

/// A kernel of this period in which every resource takes its nodes in the cyclic order of `starts` modulo the period.
/// Where the order asks for it, nodes wait for a later window, those first that cost the least memory. The result may
/// exceed the memory; nothing if the order cannot be kept in any window (nodes that hold several resources), or
/// the period is below the load of a resource.
/// \param starts  by node of the unit's network.
[[nodiscard]] std::optional<Kernel> kernel_from_order(std::shared_ptr<const Unit> unit, std::span<const Time> starts,
                                                      Time period);

}  // namespace opweave::periodic
