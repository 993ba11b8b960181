/// The graph of a selection: every operator in its option, movements as operators (docs/layouts.md).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "opweave/graph.h"
#include "opweave/layouts.h"

namespace opweave {

/// Stream on which what a movement between gangs reads is taken and let go; nothing else holds it.
inline constexpr std::string_view kReleaseStream = "release";

struct DerivedGraph {
  ComputationGraph graph;                 ///< operators of the original, then movements, then helpers
  std::vector<LayoutMovement> movements;  ///< by operator behind those of the original; copy 0, no times
  std::vector<MovementHelper> helpers;    ///< by operator behind the movements
  std::vector<TensorId> tensor_of;        ///< of the original, by tensor; their number for what parameters became
};

/// \throws InputError as DerivedProblem::create
[[nodiscard]] DerivedGraph derive_layouts(const LayoutProblem& problem, const LayoutSelection& selection);

/// The devices with the stream for releases. \throws InputError where a device has one of that name
[[nodiscard]] Cluster with_release_stream(const Cluster& cluster);

/// Bytes of the parameter on each device: weights, gradients and optimizer state, in their parts.
[[nodiscard]] Bytes resident_bytes(const Parameter& parameter, const Training& training, const ParameterParts& parts);

}  // namespace opweave
