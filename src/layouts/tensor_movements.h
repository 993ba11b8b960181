/// Which movement makes a tensor present in a layout on a gang, and how long it takes.
#pragma once

#include <optional>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/layout_graph.h"

namespace opweave {

/// A tensor on a gang in a layout.
struct Holding {
  std::vector<DeviceId> devices;
  TensorLayout layout;
  auto operator<=>(const Holding&) const = default;
};

/// On one device every layout is R.
[[nodiscard]] Holding normal(std::vector<DeviceId> devices, TensorLayout layout);

/// What a reader does about a tensor that is held somewhere.
struct MovementStep {
  bool is_free = false;  ///< it is there, or comes by transfers like any whole value: nothing to derive
  LayoutMovementKind kind = LayoutMovementKind::kSend;
  Holding result;  ///< what there is after the movement; perhaps not yet what is wanted
  Duration duration;
};

/// The next movement on the way from what is held to what is wanted.
/// \throws InputError where no movement makes the layout, or no route joins the devices
[[nodiscard]] MovementStep next_step(const Cluster& cluster, const Tensor& tensor, const Holding& held,
                                     const Holding& wanted);

}  // namespace opweave
