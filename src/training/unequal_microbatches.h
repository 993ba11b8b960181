/// Iterations whose microbatches differ.
#pragma once

#include "opweave/pipeline.h"

namespace opweave::detail {

/// The graph of one microbatch, written out for all of them with the scales of the specification. The rest of opweave
/// repeats one microbatch; so the result is one microbatch that holds them all, and every rule stays as it is.
/// \throws InputError unless there is a finite scale of 0 to 1000 for each microbatch, what is scaled stays within the
///   range of an amount, and the shape says which copy of the parameters each microbatch uses.
[[nodiscard]] ComputationGraph unequal_microbatches(const ComputationGraph& one, const PipelineSpec& spec);

}  // namespace opweave::detail
