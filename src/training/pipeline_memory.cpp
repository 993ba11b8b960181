// How much memory a pipeline needs, in the unit that pipeline schedules are compared in.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "opweave/error.h"
#include "opweave/pipeline.h"

namespace opweave {
namespace {

bool is_backward(Phase phase) {
  return phase == Phase::kInputGradient || phase == Phase::kWeightGradient || phase == Phase::kBackward;
}

}  // namespace

Bytes activation_bytes(const ComputationGraph& graph) {
  Bytes kept;
  for (const Tensor& tensor : graph.tensors()) {
    if (!tensor.producer || graph.at(*tensor.producer).phase != Phase::kForward) continue;
    const bool for_backward = std::ranges::any_of(
        tensor.consumers, [&graph](OperatorId consumer) { return is_backward(graph.at(consumer).phase); });
    if (for_backward) kept += tensor.size;
  }
  return kept;
}

Bytes memory_for_activations(const Problem& problem, double activations) {
  const std::size_t devices = problem.cluster().device_count();
  // Several groups of a replica may read one parameter; it is still kept once per device.
  std::vector<std::set<ParameterId>> homes(devices);
  std::set<std::pair<std::uint32_t, ParameterId>> homeless;
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    const GroupId group(g);
    const auto allowed = problem.devices_of(group);
    for (const ParameterId parameter : problem.parameters_of(group)) {
      if (allowed.size() == 1) {
        homes[allowed.front().index()].insert(parameter);
      } else {
        homeless.insert({problem.task(problem.tasks_of(group).front()).replica, parameter});
      }
    }
  }
  Bytes most;
  for (const auto& parameters : homes) {
    Bytes sum;
    for (const ParameterId parameter : parameters) sum += problem.persistent_bytes(parameter);
    most = std::max(most, sum);
  }
  Bytes shared;
  for (const auto& [replica, parameter] : homeless) shared += problem.persistent_bytes(parameter);
  const auto count = static_cast<std::int64_t>(devices);
  most += Bytes((shared.value() + count - 1) / count);
  const auto of_all = static_cast<double>(activation_bytes(problem.graph()).value());
  const double kept = std::floor(activations * of_all / static_cast<double>(devices));
  if (!(kept <= static_cast<double>(kMaxInputValue - most.value()))) {
    throw InputError(
        fmt::format("{} activations of {:.0f} bytes and {} bytes of parameters are no capacity of a device, "
                    "expected at most {} bytes",
                    activations, of_all / static_cast<double>(devices), most.value(), kMaxInputValue));
  }
  return most + Bytes(static_cast<std::int64_t>(kept));
}

}  // namespace opweave
