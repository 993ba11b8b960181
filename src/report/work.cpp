#include "report/work.h"

#include <algorithm>
#include <map>

namespace opweave {

Work work_of(const Problem& problem) {
  Work work;
  std::map<std::string, double> by_dtype;
  for (const Operator& op : problem.graph().operators()) {
    (op.durations.empty() && op.modes.empty() ? work.from_peak_rates : work.given) += 1;
    if (op.phase != Phase::kOptimizer) by_dtype[op.dtype] += op.flops.value_or(0);
  }
  for (const auto& [_, flops] : by_dtype) work.flops += flops;
  work.flops *= problem.settings().training.microbatches;
  if (work.flops == 0) return work;
  const auto more = [](const auto& a, const auto& b) { return a.second < b.second; };
  work.dtype = std::ranges::max_element(by_dtype, more)->first;
  double peak = 0;
  const auto& types = problem.cluster().types();
  for (const Device& device : problem.cluster().devices()) {
    const auto type = std::ranges::find(types, device.type, &DeviceType::name);
    if (type == types.end() || !type->peak_flops_per_s.contains(work.dtype)) return work;
    peak += type->peak_flops_per_s.at(work.dtype);
  }
  work.peak_flops_per_s = peak;
  return work;
}

}  // namespace opweave
