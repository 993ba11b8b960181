/// Values of strategies as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "opweave/strategy_search.h"

namespace opweave::io {

[[nodiscard]] nlohmann::ordered_json to_json(const StepMemory& memory);
/// Strategy, time by cause, memory by kind.
[[nodiscard]] nlohmann::ordered_json to_json(const RankedStrategy& ranked);

}  // namespace opweave::io
