#include "layouts/tensor_movements.h"

#include <fmt/format.h>

#include <algorithm>

#include "cost/movement.h"
#include "opweave/error.h"

namespace opweave {
namespace {

using Kind = TensorLayout::Kind;
using Pairs = std::vector<std::pair<DeviceId, DeviceId>>;

Rate rate_of(const Cluster& cluster, const Tensor& tensor, const Pairs& pairs) {
  if (const std::optional<Rate> rate = slowest_rate(cluster, pairs)) return *rate;
  throw InputError(fmt::format("tensor \"{}\" has to move between devices that no route joins", tensor.name));
}

/// Between layouts of one gang.
MovementStep within(const Cluster& cluster, const Tensor& tensor, const Holding& held, const Holding& wanted) {
  MovementStep step;
  step.result = wanted;
  const auto count = static_cast<std::int64_t>(held.devices.size());
  const auto ring = [&] { return rate_of(cluster, tensor, ring_pairs(held.devices)); };
  if (held.layout.kind == Kind::kPartial) {
    const bool is_sum_split = wanted.layout.kind == Kind::kSharded;
    step.kind = is_sum_split ? LayoutMovementKind::kReduceScatter : LayoutMovementKind::kAllReduce;
    step.duration =
        is_sum_split ? gather_time(ring(), count, tensor.size) : all_reduce_time(ring(), count, tensor.size);
  } else if (wanted.layout.kind == Kind::kReplicated) {
    step.kind = LayoutMovementKind::kAllGather;
    step.duration = gather_time(ring(), count, tensor.size);
  } else {
    step.kind = LayoutMovementKind::kAllToAll;
    const Rate rate = rate_of(cluster, tensor, all_pairs(held.devices, held.devices));
    step.duration = all_to_all_time(rate, count, tensor.size);
  }
  return step;
}

/// From a gang to another one that wants parts.
MovementStep between(const Cluster& cluster, const Tensor& tensor, const Holding& held, const Holding& wanted) {
  MovementStep step;
  step.result = wanted;
  const Bytes wanted_bytes = bytes_per_device(tensor.size, wanted.layout, wanted.devices.size());
  const std::size_t from = held.devices.size();
  const std::size_t to = wanted.devices.size();
  const bool is_replicated = held.layout.kind == Kind::kReplicated;
  if (is_replicated || (held.layout == wanted.layout && from == to)) {
    // Each device that wants a part gets it from one that has it; those that have it already need none.
    Pairs pairs;
    std::int64_t rounds = 0;
    for (std::size_t i = 0; i < to; ++i) {
      const DeviceId device = wanted.devices[i];
      if (is_replicated && std::ranges::binary_search(held.devices, device)) continue;
      const DeviceId source = held.devices[is_replicated ? pairs.size() % from : i];
      if (source != device) pairs.emplace_back(source, device);
    }
    rounds = static_cast<std::int64_t>((pairs.size() + from - 1) / from);
    step.kind = LayoutMovementKind::kSend;
    step.duration = stepwise_time(rate_of(cluster, tensor, pairs), rounds, wanted_bytes, rounds, 1);
    return step;
  }
  // Every device of one gang has something for every device of the other.
  const auto most = static_cast<std::int64_t>(std::max(from, to));
  const bool gathers = wanted.layout.kind == Kind::kReplicated;
  step.kind = gathers ? LayoutMovementKind::kAllGather : LayoutMovementKind::kAllToAll;
  const Rate rate = rate_of(cluster, tensor, all_pairs(held.devices, wanted.devices));
  step.duration = stepwise_time(rate, most, wanted_bytes, most, static_cast<std::int64_t>(from));
  return step;
}

}  // namespace

Holding normal(std::vector<DeviceId> devices, TensorLayout layout) {
  if (devices.size() == 1) layout = {};
  return {std::move(devices), layout};
}

MovementStep next_step(const Cluster& cluster, const Tensor& tensor, const Holding& held, const Holding& wanted) {
  MovementStep free;
  free.is_free = true;
  if (held == wanted) return free;
  if (wanted.layout.kind == Kind::kPartial) {
    throw InputError(
        fmt::format("tensor \"{}\" is wanted in layout P, but made in {} or elsewhere: no movement makes "
                    "partial sums",
                    tensor.name, to_string(held.layout)));
  }
  if (held.layout.kind == Kind::kPartial) {
    // Sums leave their gang as sums: in the parts that are wanted where these fit, else whole.
    const bool fits = wanted.layout.kind == Kind::kSharded && wanted.devices.size() == held.devices.size();
    return within(cluster, tensor, held, {held.devices, fits ? wanted.layout : TensorLayout{}});
  }
  const bool is_there = std::ranges::includes(held.devices, wanted.devices);
  if (held.layout.kind == Kind::kReplicated && (is_there || wanted.layout.kind == Kind::kReplicated)) return free;
  if (held.devices == wanted.devices) return within(cluster, tensor, held, wanted);
  return between(cluster, tensor, held, wanted);
}

}  // namespace opweave
