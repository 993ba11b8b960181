/// Parts of questions about strategies, as members of lines.
#pragma once

#include <nlohmann/json.hpp>

#include "opweave/calibration.h"
#include "opweave/strategy_search.h"

namespace opweave::distribute {

using Json = nlohmann::ordered_json;

[[nodiscard]] Json to_json(const Machines& machines);
[[nodiscard]] Machines machines_from(const Json& value);
[[nodiscard]] Json to_json(const TrainingRun& run);
[[nodiscard]] TrainingRun run_from(const Json& value);
[[nodiscard]] Json to_json(const ModelDescription& model);
[[nodiscard]] ModelDescription model_from(const Json& value);
[[nodiscard]] Json to_json(const HeldDecisions& held);
[[nodiscard]] HeldDecisions held_from(const Json& value);

[[nodiscard]] Json to_json(const FittedProfile& profile);
[[nodiscard]] FittedProfile profile_from(const Json& value);

}  // namespace opweave::distribute
