#include "placement/branch_placement.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "placement/branches.h"
#include "placement/placement_bundles.h"
#include "placement/placement_state.h"

namespace opweave {
namespace {

/// The wanted devices of one replica's bundles.
class Layout {
 public:
  Layout(const std::vector<PlacementBundle>& bundles, std::vector<Branch> branches, std::size_t devices)
      : bundles_(bundles), branches_(std::move(branches)), load_(devices, 0), device_of_(bundles.size(), 0) {}

  std::vector<std::size_t> apart() {
    const std::size_t devices = load_.size();
    std::int64_t low = 1;
    std::int64_t high = 1;
    for (const Branch& branch : branches_) high += weight(branch);
    while (low < high) {
      const std::int64_t middle = low + (high - low) / 2;
      std::size_t needed = 0;
      for (const Branch& branch : branches_) needed += parts(branch, middle);
      if (needed <= devices) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    std::vector<std::size_t> count;
    for (const Branch& branch : branches_) count.push_back(parts(branch, high));
    give_spare_devices(count);
    std::size_t first = 0;
    for (std::size_t b = 0; b < branches_.size(); ++b) {
      if (count[b] == 0) continue;
      std::vector<std::int64_t> weights;
      for (const std::size_t bundle : branches_[b].bundles) weights.push_back(bundles_[bundle].weight);
      StageRounds parts;
      parts.devices = static_cast<std::uint32_t>(count[b]);
      const auto part = cut_by_weight(weights, parts);
      for (std::size_t i = 0; i < part.size(); ++i) place(branches_[b].bundles[i], first + part[i]);
      first += count[b];
    }
    for (std::size_t b = 0; b < branches_.size(); ++b) {
      if (count[b] == 0) place_together(branches_[b]);
    }
    return device_of_;
  }

  std::vector<std::size_t> spread(std::uint32_t rounds) {
    const std::vector<bool> downwards = directions();
    // Coarse branches first: the fine ones then level what is left uneven.
    std::vector<std::size_t> order(branches_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return heaviest_bundle(branches_[a]) > heaviest_bundle(branches_[b]);
    });
    for (const std::size_t b : order) {
      const std::size_t most_rounds = branches_[b].bundles.size() / load_.size();
      if (most_rounds == 0) {
        for (const std::size_t bundle : branches_[b].bundles) place(bundle, least_loaded());
      } else {
        spread(branches_[b], std::min<std::size_t>(rounds, most_rounds), downwards[b]);
      }
    }
    return device_of_;
  }

 private:
  [[nodiscard]] std::int64_t weight(const Branch& branch) const {
    return std::accumulate(branch.bundles.begin(), branch.bundles.end(), std::int64_t{0},
                           [&](std::int64_t sum, std::size_t bundle) { return sum + bundles_[bundle].weight; });
  }
  [[nodiscard]] std::int64_t heaviest_bundle(const Branch& branch) const {
    std::int64_t most = 0;
    for (const std::size_t bundle : branch.bundles) most = std::max(most, bundles_[bundle].weight);
    return most;
  }
  [[nodiscard]] std::size_t least_loaded() const {
    return static_cast<std::size_t>(std::min_element(load_.begin(), load_.end()) - load_.begin());
  }
  void place(std::size_t bundle, std::size_t device) {
    device_of_[bundle] = device;
    load_[device] += bundles_[bundle].weight;
  }
  void place_together(const Branch& branch) {
    const std::size_t device = least_loaded();
    for (const std::size_t bundle : branch.bundles) place(bundle, device);
  }

  /// Devices that a branch needs if none takes more than `limit`; 0 for one that fills less than half a device.
  [[nodiscard]] std::size_t parts(const Branch& branch, std::int64_t limit) const {
    if (2 * weight(branch) <= limit) return 0;
    std::size_t count = 1;
    std::int64_t filled = 0;
    for (const std::size_t bundle : branch.bundles) {
      if (filled > 0 && filled + bundles_[bundle].weight > limit) {
        ++count;
        filled = 0;
      }
      filled += bundles_[bundle].weight;
    }
    return heaviest_bundle(branch) > limit ? load_.size() + 1 : count;
  }

  void give_spare_devices(std::vector<std::size_t>& count) const {
    std::size_t spare = load_.size() - std::accumulate(count.begin(), count.end(), std::size_t{0});
    for (; spare > 0; --spare) {
      std::optional<std::size_t> neediest;
      const auto need = [&](std::size_t b) {
        return static_cast<double>(weight(branches_[b])) / static_cast<double>(std::max<std::size_t>(count[b], 1));
      };
      for (std::size_t b = 0; b < branches_.size(); ++b) {
        const bool can_take = count[b] > 0 && count[b] < branches_[b].bundles.size();
        if (can_take && (!neediest || need(b) > need(*neediest))) neediest = b;
      }
      if (!neediest) return;
      ++count[*neediest];
    }
  }

  /// A branch begins where the one before it ends; of those that run at the same time every second one goes the other
  /// way, so that the first layers, which keep their activations longest, do not all meet on one device.
  [[nodiscard]] std::vector<bool> directions() const {
    std::vector<std::size_t> order(branches_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return weight(branches_[a]) > weight(branches_[b]); });
    std::map<std::size_t, std::size_t> at_depth;
    std::vector<bool> downwards(branches_.size());
    for (const std::size_t b : order) downwards[b] = (branches_[b].depth + at_depth[branches_[b].depth]++) % 2 == 1;
    return downwards;
  }

  /// Each device takes of the branch what it lacks to the mean, in equal parts per round; rounds go up and down in
  /// turn. A bundle goes where its middle falls.
  void spread(const Branch& branch, std::size_t rounds, bool downwards) {
    const std::size_t devices = load_.size();
    const std::int64_t total = std::accumulate(load_.begin(), load_.end(), weight(branch));
    const double mean = static_cast<double>(total) / static_cast<double>(devices);
    std::vector<double> share;
    for (const std::int64_t load : load_) share.push_back(std::max(0.0, mean - static_cast<double>(load)));
    const double all = std::accumulate(share.begin(), share.end(), 0.0);
    const double scale = all > 0 ? static_cast<double>(weight(branch)) / all / static_cast<double>(rounds) : 0;
    const auto device_of_part = [&](std::size_t part) {
      const bool is_down = downwards != ((part / devices) % 2 == 1);
      return is_down ? devices - 1 - part % devices : part % devices;
    };
    std::size_t part = 0;
    double end = share[device_of_part(0)] * scale;
    double before = 0;
    for (const std::size_t bundle : branch.bundles) {
      const double middle = before + static_cast<double>(bundles_[bundle].weight) / 2;
      while (middle > end && part + 1 < rounds * devices) end += share[device_of_part(++part)] * scale;
      place(bundle, device_of_part(part));
      before += static_cast<double>(bundles_[bundle].weight);
    }
  }

  const std::vector<PlacementBundle>& bundles_;
  std::vector<Branch> branches_;
  std::vector<std::int64_t> load_;  // by device
  std::vector<std::size_t> device_of_;
};

}  // namespace

std::optional<std::vector<ModeIndex>> branch_placement(const Problem& problem, BranchLayout layout,
                                                       std::uint32_t rounds) {
  const std::size_t devices = problem.cluster().device_count();
  PlacementState state(problem);
  const auto bundles = bundles_by_replica(problem, PartWeight::kWork);
  for (std::size_t replica = 0; replica < bundles.size(); ++replica) {
    std::vector<Branch> branches = branches_of(problem, bundles[replica]);
    // One chain has no branches; where most of them are single bundles there is no chain to cut.
    if (branches.size() < 2 || 2 * branches.size() > bundles[replica].size()) return std::nullopt;
    // More rounds are worth it only if some branch has that many bundles.
    const bool is_long =
        std::ranges::any_of(branches, [&](const Branch& branch) { return branch.bundles.size() >= rounds * devices; });
    if (rounds > 1 && !is_long) return std::nullopt;
    Layout wanted(bundles[replica], std::move(branches), devices);
    const std::vector<std::size_t> device_of = layout == BranchLayout::kApart ? wanted.apart() : wanted.spread(rounds);
    for (std::size_t bundle = 0; bundle < device_of.size(); ++bundle) {
      const std::size_t device = replica % 2 == 1 ? devices - 1 - device_of[bundle] : device_of[bundle];
      if (!place_bundle(problem, state, bundles[replica][bundle], DeviceId(device))) return std::nullopt;
    }
  }
  return state.modes();
}

}  // namespace opweave
