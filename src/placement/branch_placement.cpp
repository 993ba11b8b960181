#include "placement/branch_placement.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "placement/branches.h"
#include "placement/placement_state.h"
#include "placement/placement_units.h"

namespace opweave {
namespace {

/// The wanted devices of one replica's units.
class Layout {
 public:
  Layout(const std::vector<PlacementUnit>& units, std::vector<Branch> branches, std::size_t devices)
      : units_(units), branches_(std::move(branches)), load_(devices, 0), device_of_(units.size(), 0) {}

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
      for (const std::size_t unit : branches_[b].units) weights.push_back(units_[unit].weight);
      StageRounds parts;
      parts.devices = static_cast<std::uint32_t>(count[b]);
      const auto part = cut_by_weight(weights, parts);
      for (std::size_t i = 0; i < part.size(); ++i) place(branches_[b].units[i], first + part[i]);
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
      return heaviest_unit(branches_[a]) > heaviest_unit(branches_[b]);
    });
    for (const std::size_t b : order) {
      const std::size_t most_rounds = branches_[b].units.size() / load_.size();
      if (most_rounds == 0) {
        for (const std::size_t unit : branches_[b].units) place(unit, least_loaded());
      } else {
        spread(branches_[b], std::min<std::size_t>(rounds, most_rounds), downwards[b]);
      }
    }
    return device_of_;
  }

 private:
  [[nodiscard]] std::int64_t weight(const Branch& branch) const {
    return std::accumulate(branch.units.begin(), branch.units.end(), std::int64_t{0},
                           [&](std::int64_t sum, std::size_t unit) { return sum + units_[unit].weight; });
  }
  [[nodiscard]] std::int64_t heaviest_unit(const Branch& branch) const {
    std::int64_t most = 0;
    for (const std::size_t unit : branch.units) most = std::max(most, units_[unit].weight);
    return most;
  }
  [[nodiscard]] std::size_t least_loaded() const {
    return static_cast<std::size_t>(std::min_element(load_.begin(), load_.end()) - load_.begin());
  }
  void place(std::size_t unit, std::size_t device) {
    device_of_[unit] = device;
    load_[device] += units_[unit].weight;
  }
  void place_together(const Branch& branch) {
    const std::size_t device = least_loaded();
    for (const std::size_t unit : branch.units) place(unit, device);
  }

  /// Devices that a branch needs if none takes more than `limit`; 0 for one that fills less than half a device.
  [[nodiscard]] std::size_t parts(const Branch& branch, std::int64_t limit) const {
    if (2 * weight(branch) <= limit) return 0;
    std::size_t count = 1;
    std::int64_t filled = 0;
    for (const std::size_t unit : branch.units) {
      if (filled > 0 && filled + units_[unit].weight > limit) {
        ++count;
        filled = 0;
      }
      filled += units_[unit].weight;
    }
    return heaviest_unit(branch) > limit ? load_.size() + 1 : count;
  }

  void give_spare_devices(std::vector<std::size_t>& count) const {
    std::size_t spare = load_.size() - std::accumulate(count.begin(), count.end(), std::size_t{0});
    for (; spare > 0; --spare) {
      std::optional<std::size_t> neediest;
      const auto need = [&](std::size_t b) {
        return static_cast<double>(weight(branches_[b])) / static_cast<double>(std::max<std::size_t>(count[b], 1));
      };
      for (std::size_t b = 0; b < branches_.size(); ++b) {
        const bool can_take = count[b] > 0 && count[b] < branches_[b].units.size();
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
  /// turn. A unit goes where its middle falls.
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
    for (const std::size_t unit : branch.units) {
      const double middle = before + static_cast<double>(units_[unit].weight) / 2;
      while (middle > end && part + 1 < rounds * devices) end += share[device_of_part(++part)] * scale;
      place(unit, device_of_part(part));
      before += static_cast<double>(units_[unit].weight);
    }
  }

  const std::vector<PlacementUnit>& units_;
  std::vector<Branch> branches_;
  std::vector<std::int64_t> load_;  // by device
  std::vector<std::size_t> device_of_;
};

}  // namespace

std::optional<std::vector<ModeIndex>> branch_placement(const Problem& problem, BranchLayout layout,
                                                       std::uint32_t rounds) {
  const std::size_t devices = problem.cluster().device_count();
  PlacementState state(problem);
  const auto units = units_by_replica(problem, PartWeight::kWork);
  for (std::size_t replica = 0; replica < units.size(); ++replica) {
    std::vector<Branch> branches = branches_of(problem, units[replica]);
    // One chain has no branches; where most of them are single units there is no chain to cut.
    if (branches.size() < 2 || 2 * branches.size() > units[replica].size()) return std::nullopt;
    // More rounds are worth it only if some branch has that many units.
    const bool is_long =
        std::ranges::any_of(branches, [&](const Branch& branch) { return branch.units.size() >= rounds * devices; });
    if (rounds > 1 && !is_long) return std::nullopt;
    Layout wanted(units[replica], std::move(branches), devices);
    const std::vector<std::size_t> device_of = layout == BranchLayout::kApart ? wanted.apart() : wanted.spread(rounds);
    for (std::size_t unit = 0; unit < device_of.size(); ++unit) {
      const std::size_t device = replica % 2 == 1 ? devices - 1 - device_of[unit] : device_of[unit];
      if (!place_unit(problem, state, units[replica][unit], DeviceId(device))) return std::nullopt;
    }
  }
  return state.modes();
}

}  // namespace opweave
