/// Plans, bounds and results of searches as members of lines.
#pragma once

#include <nlohmann/json.hpp>

#include "opweave/planner.h"

namespace opweave::distribute {

using Json = nlohmann::ordered_json;

/// A plan without tasks, which states the settings.
[[nodiscard]] Plan settings_alone(const Problem& problem);
/// Of graph, cluster and settings.
[[nodiscard]] std::string hash_of(const Problem& problem);
[[nodiscard]] std::string plan_text(const Problem& problem, const Schedule& schedule, const std::string& method);
[[nodiscard]] Plan plan_from(const Problem& problem, const std::string& text);
[[nodiscard]] Json to_json(const LowerBound& bound);
[[nodiscard]] LowerBound bound_from(const Json& value);
[[nodiscard]] Json result_to_json(const Problem& problem, const PlanResult& result);
[[nodiscard]] PlanResult result_from(const Problem& problem, const Json& value);

}  // namespace opweave::distribute
