#include "report/strategy_words.h"

#include <fmt/format.h>

#include "report/format.h"
#include "report/names.h"

namespace opweave {
namespace {

/// `what` stands behind the memory that is needed.
std::string against(const StrategyValue& value, const Machines& machines, const std::string& what) {
  const bool uses_host = value.host > Bytes(0);
  const auto of_host = [&](Bytes bytes) { return uses_host ? fmt::format(" and {} of its host", human(bytes)) : ""; };
  return fmt::format("{} per device{}{}, a device has {}{}", human(value.memory.total()), of_host(value.host), what,
                     human(machines.device.memory), of_host(machines.device.host_memory));
}

}  // namespace

std::string component_mesh_text(const ComponentMesh& mesh) {
  return fmt::format("tp {} cp {} pp {} dp {}", mesh.tensor, mesh.context, mesh.pipeline, mesh.data);
}

std::string memory_against(const StrategyValue& value, const Machines& machines) {
  return against(value, machines, "");
}

std::string why_none_fits(const RankedStrategy& least, const Machines& machines) {
  const Strategy& s = least.strategy;
  const std::string mesh =
      s.component ? fmt::format("; {}: {}", readable(s.component->name), component_mesh_text(*s.component)) : "";
  return "no strategy fits: the least memory is " +
         against(least.value, machines,
                 fmt::format(" (tp {}, pp {}, cp {}, ep {}, dp {}{})", s.tensor, s.pipeline, s.context, s.expert,
                             s.data, mesh));
}

}  // namespace opweave
