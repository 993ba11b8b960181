#include "core/units.h"

#include <map>
#include <string_view>
#include <utility>

namespace opweave {

std::vector<std::uint32_t> units_of(const ComputationGraph& graph) {
  std::map<std::pair<bool, std::string_view>, std::uint32_t> named;  // by unit, or else by layer
  std::uint32_t count = 0;
  std::vector<std::uint32_t> result;
  for (const Operator& op : graph.operators()) {
    if (op.unit.empty() && op.layer.empty()) {
      result.push_back(count++);
      continue;
    }
    const auto [entry, is_new] = named.try_emplace({op.unit.empty(), op.unit.empty() ? op.layer : op.unit}, count);
    if (is_new) ++count;
    result.push_back(entry->second);
  }
  return result;
}

}  // namespace opweave
