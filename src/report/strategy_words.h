/// What is said of strategies in one line, by the command line and in Python alike.
#pragma once

#include <string>

#include "opweave/strategy_search.h"

namespace opweave {

/// "tp 2 cp 1 pp 1 dp 4"
[[nodiscard]] std::string component_mesh_text(const ComponentMesh& mesh);

/// "90.1 GiB per device, a device has 74.5 GiB"; with what lies on the host where anything does.
[[nodiscard]] std::string memory_against(const StrategyValue& value, const Machines& machines);

/// Where no strategy fits: the leanest, and what there is. \param least  of StrategySearchResult
[[nodiscard]] std::string why_none_fits(const RankedStrategy& least, const Machines& machines);

}  // namespace opweave
