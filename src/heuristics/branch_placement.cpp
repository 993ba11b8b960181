#include "heuristics/branch_placement.h"

#include <algorithm>
#include <numeric>

#include "heuristics/placement_state.h"
#include "heuristics/placement_units.h"
#include "opweave/pipeline.h"

namespace opweave {
namespace {

/// Indices of units, in the order of the chain.
using Branch = std::vector<std::size_t>;

bool is_forward(const Problem& problem, TaskId task) {
  const Phase phase = problem.op(task).phase;
  return phase == Phase::kForward || phase == Phase::kNone;
}

/// At most one neighbour counts: a unit with several is where branches meet.
struct Neighbour {
  std::optional<std::size_t> only;
  bool several = false;

  void add(std::size_t unit) {
    if (only && *only != unit) several = true;
    only = unit;
  }
  [[nodiscard]] std::optional<std::size_t> get() const { return several ? std::nullopt : only; }
};

std::vector<Branch> branches_of(const Problem& problem, const std::vector<PlacementUnit>& units) {
  std::vector<std::optional<std::size_t>> unit_of(problem.group_count());
  for (std::size_t u = 0; u < units.size(); ++u) {
    for (const GroupId group : units[u].groups) unit_of[group.index()] = u;
  }
  std::vector<Neighbour> before(units.size());
  std::vector<Neighbour> after(units.size());
  for (std::size_t u = 0; u < units.size(); ++u) {
    for (const GroupId group : units[u].groups) {
      for (const TaskId task : problem.tasks_of(group)) {
        if (!is_forward(problem, task)) continue;
        for (const TaskId p : problem.predecessors(task)) {
          const auto from = unit_of[problem.group_of(p).index()];
          if (!from || *from == u || !is_forward(problem, p)) continue;
          before[u].add(*from);
          after[*from].add(u);
        }
      }
    }
  }
  const auto continues = [&](std::size_t from, std::size_t to) {
    return after[from].get() == to && before[to].get() == from;
  };
  std::vector<Branch> branches;
  std::vector<bool> seen(units.size(), false);
  const auto follow = [&](std::size_t unit) {
    branches.emplace_back();
    for (std::optional<std::size_t> next = unit; next && !seen[*next];) {
      seen[*next] = true;
      branches.back().push_back(*next);
      const auto following = after[*next].get();
      next = following && continues(*next, *following) ? following : std::nullopt;
    }
  };
  for (std::size_t u = 0; u < units.size(); ++u) {
    const auto previous = before[u].get();
    if (!seen[u] && !(previous && continues(*previous, u))) follow(u);
  }
  // Units that wait for each other in a circle (groups, not tasks, may do that).
  for (std::size_t u = 0; u < units.size(); ++u) {
    if (!seen[u]) follow(u);
  }
  return branches;
}

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
      std::vector<Duration> weights;
      for (const std::size_t unit : branches_[b]) weights.emplace_back(units_[unit].weight);
      const auto part = stages_of_equal_time(weights, static_cast<std::uint32_t>(count[b]));
      for (std::size_t i = 0; i < part.size(); ++i) place(branches_[b][i], first + part[i]);
      first += count[b];
    }
    for (std::size_t b = 0; b < branches_.size(); ++b) {
      if (count[b] == 0) place_together(branches_[b]);
    }
    return device_of_;
  }

  std::vector<std::size_t> spread() {
    // Coarse branches first: the fine ones then level what is left uneven.
    std::vector<std::size_t> order(branches_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return heaviest_unit(branches_[a]) > heaviest_unit(branches_[b]);
    });
    for (const std::size_t b : order) {
      if (branches_[b].size() < load_.size()) {
        for (const std::size_t unit : branches_[b]) place(unit, least_loaded());
      } else {
        spread(branches_[b], b % 2 == 1);
      }
    }
    return device_of_;
  }

 private:
  [[nodiscard]] std::int64_t weight(const Branch& branch) const {
    return std::accumulate(branch.begin(), branch.end(), std::int64_t{0},
                           [&](std::int64_t sum, std::size_t unit) { return sum + units_[unit].weight; });
  }
  [[nodiscard]] std::int64_t heaviest_unit(const Branch& branch) const {
    std::int64_t most = 0;
    for (const std::size_t unit : branch) most = std::max(most, units_[unit].weight);
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
    for (const std::size_t unit : branch) place(unit, device);
  }

  /// Devices that a branch needs if none takes more than `limit`; 0 for one that fills less than half a device.
  [[nodiscard]] std::size_t parts(const Branch& branch, std::int64_t limit) const {
    if (2 * weight(branch) <= limit) return 0;
    std::size_t count = 1;
    std::int64_t filled = 0;
    for (const std::size_t unit : branch) {
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
        const bool can_take = count[b] > 0 && count[b] < branches_[b].size();
        if (can_take && (!neediest || need(b) > need(*neediest))) neediest = b;
      }
      if (!neediest) return;
      ++count[*neediest];
    }
  }

  /// Each device takes of the branch what it lacks to the mean; a unit goes where its middle falls.
  void spread(const Branch& branch, bool downwards) {
    const std::int64_t total = std::accumulate(load_.begin(), load_.end(), weight(branch));
    const double mean = static_cast<double>(total) / static_cast<double>(load_.size());
    std::vector<double> share;
    for (const std::int64_t load : load_) share.push_back(std::max(0.0, mean - static_cast<double>(load)));
    if (downwards) std::reverse(share.begin(), share.end());
    const double all = std::accumulate(share.begin(), share.end(), 0.0);
    const double scale = all > 0 ? static_cast<double>(weight(branch)) / all : 0;
    std::size_t position = 0;
    double end = share[0] * scale;
    double before = 0;
    for (const std::size_t unit : branch) {
      const double middle = before + static_cast<double>(units_[unit].weight) / 2;
      while (middle > end && position + 1 < share.size()) end += share[++position] * scale;
      place(unit, downwards ? share.size() - 1 - position : position);
      before += static_cast<double>(units_[unit].weight);
    }
  }

  const std::vector<PlacementUnit>& units_;
  std::vector<Branch> branches_;
  std::vector<std::int64_t> load_;  // by device
  std::vector<std::size_t> device_of_;
};

}  // namespace

std::optional<std::vector<ModeIndex>> branch_placement(const Problem& problem, BranchLayout layout) {
  const std::size_t devices = problem.cluster().device_count();
  PlacementState state(problem);
  const auto units = units_by_replica(problem, PartWeight::kWork);
  for (std::size_t replica = 0; replica < units.size(); ++replica) {
    std::vector<Branch> branches = branches_of(problem, units[replica]);
    // One chain has no branches; where most of them are single units there is no chain to cut.
    if (branches.size() < 2 || 2 * branches.size() > units[replica].size()) return std::nullopt;
    Layout wanted(units[replica], std::move(branches), devices);
    const std::vector<std::size_t> device_of = layout == BranchLayout::kApart ? wanted.apart() : wanted.spread();
    for (std::size_t unit = 0; unit < device_of.size(); ++unit) {
      const std::size_t device = replica % 2 == 1 ? devices - 1 - device_of[unit] : device_of[unit];
      if (!place_unit(problem, state, units[replica][unit], DeviceId(device))) return std::nullopt;
    }
  }
  return state.modes();
}

}  // namespace opweave
