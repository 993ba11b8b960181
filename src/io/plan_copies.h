/// What exists once per replica in a plan, and what once per microbatch.
#pragma once

#include "opweave/graph.h"

namespace opweave::io {

[[nodiscard]] inline bool runs_per_replica(const Operator& op) { return op.phase == Phase::kOptimizer; }

[[nodiscard]] inline bool made_per_replica(const ComputationGraph& graph, const Tensor& tensor) {
  return tensor.producer && runs_per_replica(graph.at(*tensor.producer));
}

}  // namespace opweave::io
