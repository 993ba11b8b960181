/// Ways through a pipeline of unlike stages whose schedule sets weight gradients apart: no order of its passes takes
/// less than any of them (docs/strategies.md, "A mesh per component").
#pragma once

#include "strategy/stages.h"

namespace opweave::strategy {

/// Is a strategy valued by the longest way: a zero-bubble schedule over two meshes?
[[nodiscard]] bool is_valued_by_ways(const Strategy& strategy);

/// Passes of one microbatch on the stages around a stage, without what these make again.
struct PassesAround {
  PassSeconds before;  ///< on all stages before it
  PassSeconds behind;
};
/// Seconds of the longest way that has all microbatches on one stage.
[[nodiscard]] double longest_way(const PassSeconds& own, const PassesAround& around, double microbatches);
/// The longest over all stages.
[[nodiscard]] double longest_way(const std::vector<StageTime>& stages, double microbatches);

/// Forward pass, gradients of inputs, gradients of weights.
[[nodiscard]] PassSeconds passes_in(const LayerTime& time);
[[nodiscard]] PassSeconds operator+(const PassSeconds& a, const PassSeconds& b);
[[nodiscard]] PassSeconds operator-(const PassSeconds& a, const PassSeconds& b);

/// No layout of layers that take `all` together on `stages` stages has a longest way shorter than this.
/// `forward_share`: the least share of its time that any of the layers spends in its forward pass; `before`: forward
/// passes before them.
[[nodiscard]] double least_longest_way(double all, double forward_share, double before, double stages,
                                       double microbatches);

}  // namespace opweave::strategy
