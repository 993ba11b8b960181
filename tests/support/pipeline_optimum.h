/// Exact optima of small linear pipelines, by a search of its own.
#pragma once

#include <cstdint>
#include <optional>

namespace opweave::testing {

struct LinearPipeline {
  int devices = 1;
  int microbatches = 1;
  int activations = 1;  ///< held from the start of F to the end of W
  std::int64_t forward = 1;
  std::int64_t input_gradient = 1;
  std::int64_t weight_gradient = 1;
};

/// Least makespan below `limit`, no hop latency; nothing if there is none. Depth-first over what each
/// idle device starts at every moment at which something ends (or that it waits), with microbatches
/// in order on every stage, which loses nothing because they are alike; a state that was reached as
/// early before is not searched again.
[[nodiscard]] std::optional<std::int64_t> pipeline_optimum(const LinearPipeline& pipeline, std::int64_t limit);

}  // namespace opweave::testing
