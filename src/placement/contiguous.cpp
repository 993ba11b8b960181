#include "placement/contiguous.h"

#include <algorithm>

#include "placement/placement_bundles.h"
#include "placement/placement_state.h"

namespace opweave {
namespace {

/// Device of each bundle when the list is cut into consecutive parts of least largest weight on a device.
std::vector<std::uint32_t> devices_of(const std::vector<PlacementBundle>& bundles, Fold fold, std::uint32_t rounds,
                                      std::uint32_t devices) {
  StageRounds parts;
  parts.devices = std::min(devices, static_cast<std::uint32_t>(bundles.size()));
  parts.downwards.clear();
  for (std::uint32_t round = 0; round < rounds; ++round) {
    parts.downwards.push_back(fold == Fold::kZigzag && round % 2 == 1);
  }
  std::vector<std::int64_t> weights;
  for (const PlacementBundle& bundle : bundles) weights.push_back(bundle.weight);
  std::vector<std::uint32_t> result = cut_by_weight(weights, parts);
  for (std::uint32_t& part : result) part = parts.device_of(part);
  return result;
}

}  // namespace

std::optional<std::vector<ModeIndex>> contiguous_placement(const Problem& problem, Fold fold, std::uint32_t rounds,
                                                           PartWeight weight, Shift shift) {
  PlacementState state(problem);
  const auto bundles = bundles_by_replica(problem, weight);
  const std::size_t shares = shift == Shift::kApart ? bundles.size() : 1;
  if (problem.cluster().device_count() % shares != 0) return std::nullopt;
  const std::size_t devices = problem.cluster().device_count() / shares;
  for (std::size_t replica = 0; replica < bundles.size(); ++replica) {
    if (bundles[replica].empty()) continue;
    if (rounds > 1 && bundles[replica].size() < rounds * devices) return std::nullopt;
    const auto wanted = devices_of(bundles[replica], fold, rounds, static_cast<std::uint32_t>(devices));
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      std::size_t device = wanted[i];
      if (shift == Shift::kApart) device += replica * devices;
      if (shift == Shift::kRotated) device = (device + replica * devices / bundles.size()) % devices;
      if (shift == Shift::kReversed && replica % 2 == 1) device = devices - 1 - device;
      if (!place_bundle(problem, state, bundles[replica][i], DeviceId(device))) return std::nullopt;
    }
  }
  return state.modes();
}

}  // namespace opweave
