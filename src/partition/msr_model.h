/// Instances of Tarnawski et al. as models of this folder.
#pragma once

#include <vector>

#include "opweave/msr.h"
#include "partition/cut_model.h"

namespace opweave::partition {

/// Vertices are color classes (nodes without one stand alone); kind 0 are the accelerators, kind 1 the CPUs. The
/// largest load of an assignment is `msr_max_load` of its placement, up to the order of additions.
struct MsrModel {
  CutModel model;
  std::vector<Vertex> vertex_of;  ///< by node

  /// Node by node, the device of its vertex.
  [[nodiscard]] MsrPlacement placement(const Assignment& assignment) const;
};

[[nodiscard]] MsrModel msr_model(const MsrInstance& instance);

}  // namespace opweave::partition
