/// What the bounds share: computed once per problem.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bounds/earliest.h"
#include "bounds/memory_pools.h"
#include "bounds/mode_rules.h"
#include "bounds/relaxation.h"
#include "opweave/budget.h"
#include "opweave/plan.h"

namespace opweave::bounds {

struct BoundContext {
  const Relaxation& relaxation;
  const MemoryPools& pools;
  const Ends& ends;
  const Budget& budget;
  Nanoseconds known = 0;             ///< the largest bound so far
  const ModeRules* modes = nullptr;  ///< values may leave their device for a while; for memory-ramp alone
};

/// "device \"gpu3\", stream \"compute\"", or the number of devices.
[[nodiscard]] std::string describe(const Problem& problem, const DeviceSet& devices, StreamId stream);

// One function per file. Each returns nothing where it has nothing to say.

/// Longest path, by the given heads and tails. `name` is "critical-path" or "memory-path".
[[nodiscard]] std::optional<LowerBound> path_bound(const Relaxation& relaxation, const Ends& ends, std::string name);
/// Work of each stream over all devices that have it.
[[nodiscard]] std::optional<LowerBound> load_bound(const BoundContext& context);
/// The same over unequal and partly allowed devices, each with a weight.
[[nodiscard]] std::optional<LowerBound> subset_load_bound(const BoundContext& context);
/// Whole groups on devices, with their time and the memory of their parameters.
[[nodiscard]] std::optional<LowerBound> packing_bound(const BoundContext& context);
/// Jackson's preemptive schedule of what certainly runs on a stream of a device.
[[nodiscard]] std::optional<LowerBound> one_machine_bound(const BoundContext& context);
/// Work over the devices that tasks are confined to, with the least heads and tails.
[[nodiscard]] std::optional<LowerBound> parallel_machine_bound(const BoundContext& context);
/// Work that memory keeps from being done near the ends of the plan.
[[nodiscard]] std::optional<LowerBound> memory_ramp_bound(const BoundContext& context);
/// The same where groups may choose their devices, but each is on one.
[[nodiscard]] std::optional<LowerBound> group_ramp_bound(const BoundContext& context);
/// Bytes x time that values occupy, against what the devices have.
[[nodiscard]] std::optional<LowerBound> memory_energy_bound(const BoundContext& context);
/// The best order of the work of one stream of one device.
[[nodiscard]] std::optional<LowerBound> device_order_bound(const BoundContext& context);
/// Unavoidable transfers over an endpoint or link that carries one at a time.
[[nodiscard]] std::optional<LowerBound> transfer_load_bound(const BoundContext& context);

}  // namespace opweave::bounds
