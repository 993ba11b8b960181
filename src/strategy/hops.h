/// Messages from one stage to the next.
#pragma once

#include "strategy/layer_work.h"

namespace opweave::strategy {

/// Seconds in which a microbatch's hidden state goes from a stage to the next, one way.
struct HopTimes {
  double slowest = 0;
  double sum = 0;  ///< over all stages but the last
};
/// \pre at least two stages
[[nodiscard]] HopTimes hop_times(const Setting& setting);

/// What goes through one end of the hop behind a stage: bytes that it sends or receives, and messages one after the
/// other.
struct StageMessage {
  double bytes = 0;
  double messages = 1;
};
/// \pre the stage is not the last
[[nodiscard]] StageMessage message_behind(const Setting& setting, std::uint32_t stage);

}  // namespace opweave::strategy
