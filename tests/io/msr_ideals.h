/// The best ordered placement of an msr instance, by dynamic programming over the ideals of its graph
/// (Tarnawski et al. 2020, section 5). A reference for small instances: the number of ideals may explode.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "opweave/msr.h"

namespace opweave::testing {

/// Blocks of nodes that share a device, and what each node adds to loads.
class OrderedPlacer {
 public:
  explicit OrderedPlacer(const MsrInstance& instance) : instance_(instance), block_of_(instance.nodes.size()) {
    merge_color_classes();
    find_precedence();
    merge_circles();
    merge_trivial_blocks();
    number_blocks();
    find_ideals();
  }

  /// Nothing if there are more than kMostIdeals ideals, or if no placement fits.
  std::optional<MsrPlacement> best() {
    if (ideals_.size() > kMostIdeals) return std::nullopt;
    fill_table();
    return trace_back();
  }

 private:
  using Ideal = std::vector<bool>;
  static constexpr std::size_t kMostIdeals = 60'000;
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  void relabel(std::uint32_t from, std::uint32_t to) { std::replace(block_of_.begin(), block_of_.end(), from, to); }

  void merge_color_classes() {
    std::map<std::int64_t, std::uint32_t> first;
    for (std::uint32_t i = 0; i < block_of_.size(); ++i) {
      const auto& color = instance_.nodes[i].color_class;
      block_of_[i] = color ? first.emplace(*color, i).first->second : i;
    }
  }

  /// Pairs of nodes whose blocks must be in this order: forward edges, and mirrored backward edges at blocks
  /// that have no forward node.
  void find_precedence() {
    std::set<std::uint32_t> with_forward;
    for (std::uint32_t i = 0; i < block_of_.size(); ++i) {
      if (!instance_.nodes[i].is_backward) with_forward.insert(block_of_[i]);
    }
    for (std::uint32_t a = 0; a < block_of_.size(); ++a) {
      for (const std::uint32_t b : instance_.successors[a]) {
        if (!instance_.nodes[b].is_backward) {
          precedence_.emplace_back(a, b);
        } else if (instance_.nodes[a].is_backward &&
                   !(with_forward.contains(block_of_[a]) && with_forward.contains(block_of_[b]))) {
          precedence_.emplace_back(b, a);
        }
      }
    }
  }

  /// Blocks that precede each other become one.
  void merge_circles() {
    std::map<std::uint32_t, std::set<std::uint32_t>> after;
    for (const auto& [a, b] : precedence_) after[block_of_[a]].insert(block_of_[b]);
    std::map<std::uint32_t, std::set<std::uint32_t>> reach;
    for (const std::uint32_t start : std::set<std::uint32_t>(block_of_.begin(), block_of_.end())) {
      std::vector<std::uint32_t> stack{start};
      while (!stack.empty()) {
        const std::uint32_t block = stack.back();
        stack.pop_back();
        for (const std::uint32_t next : after[block]) {
          if (reach[start].insert(next).second) stack.push_back(next);
        }
      }
    }
    for (const auto& [a, reached] : reach) {
      for (const std::uint32_t b : reached) {
        if (a < b && reach[b].contains(a)) relabel(b, a);
      }
    }
  }

  /// As the published program does: a forward block without work and with one neighbour joins it.
  void merge_trivial_blocks() {
    while (merge_one_trivial_block()) {
    }
  }

  bool merge_one_trivial_block() {
    std::map<std::uint32_t, double> work;
    std::set<std::uint32_t> touches_backward;
    std::map<std::uint32_t, std::set<std::uint32_t>> neighbours;
    for (std::uint32_t a = 0; a < block_of_.size(); ++a) {
      work[block_of_[a]] += instance_.nodes[a].accelerator_ms + instance_.nodes[a].cpu_ms;
      for (const std::uint32_t b : instance_.successors[a]) {
        if (instance_.nodes[a].is_backward || instance_.nodes[b].is_backward) {
          touches_backward.insert({block_of_[a], block_of_[b]});
        } else if (block_of_[a] != block_of_[b]) {
          neighbours[block_of_[a]].insert(block_of_[b]);
          neighbours[block_of_[b]].insert(block_of_[a]);
        }
      }
    }
    for (const auto& [block, sum] : work) {
      if (sum < 1e-6 && !touches_backward.contains(block) && neighbours[block].size() == 1) {
        relabel(block, *neighbours[block].begin());
        return true;
      }
    }
    return false;
  }

  void number_blocks() {
    const std::set<std::uint32_t> labels(block_of_.begin(), block_of_.end());
    for (std::uint32_t& label : block_of_) {
      label = static_cast<std::uint32_t>(std::distance(labels.begin(), labels.find(label)));
    }
    members_.resize(labels.size());
    before_.resize(labels.size());
    for (std::uint32_t i = 0; i < block_of_.size(); ++i) members_[block_of_[i]].push_back(i);
    for (const auto& [a, b] : precedence_) {
      if (block_of_[a] != block_of_[b]) before_[block_of_[b]].insert(block_of_[a]);
    }
    readers_.resize(block_of_.size());
    for (std::uint32_t a = 0; a < block_of_.size(); ++a) {
      for (const std::uint32_t b : instance_.successors[a]) readers_[b].push_back(a);
    }
  }

  /// Sets of blocks closed under predecessors, smaller ones first.
  void find_ideals() {
    std::map<Ideal, std::uint32_t> number{{Ideal(members_.size()), 0}};
    ideals_.emplace_back(members_.size());
    for (std::uint32_t i = 0; i < ideals_.size() && ideals_.size() <= kMostIdeals; ++i) {
      larger_.emplace_back();
      for (std::uint32_t block = 0; block < members_.size(); ++block) {
        const auto is_in = [&](std::uint32_t other) { return ideals_[i][other]; };
        if (is_in(block) || !std::all_of(before_[block].begin(), before_[block].end(), is_in)) continue;
        Ideal grown = ideals_[i];
        grown[block] = true;
        const auto [place, is_new] = number.emplace(grown, static_cast<std::uint32_t>(ideals_.size()));
        if (is_new) ideals_.push_back(std::move(grown));
        larger_[i].emplace_back(block, place->second);
      }
    }
  }

  struct Step {
    double value = kInfinity;
    std::uint32_t from = 0;
    bool is_accelerator = false;
  };
  [[nodiscard]] Step& step(std::size_t cpus, std::size_t accelerators, std::size_t ideal) {
    return table_[(cpus * (instance_.accelerators + 1) + accelerators) * ideals_.size() + ideal];
  }

  void fill_table() {
    table_.resize((instance_.cpus + 1) * (instance_.accelerators + 1) * ideals_.size());
    step(0, 0, 0).value = 0;
    visited_.assign(ideals_.size(), ideals_.size());
    inside_.assign(block_of_.size(), false);
    read_inside_.assign(block_of_.size(), 0);
    for (std::uint32_t from = 0; from < ideals_.size(); ++from) extend(from, from);
  }

  /// Visits every ideal above `from` that contains `current` once, keeping the sums of their difference.
  void extend(std::uint32_t from, std::uint32_t current) {
    for (const auto& [block, next] : larger_[current]) {
      if (visited_[next] == from) continue;
      visited_[next] = from;
      for (const std::uint32_t node : members_[block]) add(node, true);
      offer(from, next);
      extend(from, next);
      for (const std::uint32_t node : members_[block]) add(node, false);
    }
  }

  /// Whether the output of a node crosses the border of the difference.
  [[nodiscard]] bool crosses(std::uint32_t node) const {
    return inside_[node] ? read_inside_[node] < instance_.successors[node].size() : read_inside_[node] > 0;
  }

  void add(std::uint32_t node, bool enters) {
    const double sign = enters ? 1 : -1;
    accelerator_ms_ += sign * instance_.nodes[node].accelerator_ms;
    cpu_ms_ += sign * instance_.nodes[node].cpu_ms;
    memory_ += sign * instance_.nodes[node].size_bytes;
    if (!instance_.nodes[node].accelerator_supported) unsupported_ += enters ? 1 : -1;
    const auto change = [&](std::uint32_t source, auto&& apply) {
      const bool crossed = crosses(source);
      apply();
      transfer_ms_ +=
          (static_cast<double>(crosses(source)) - static_cast<double>(crossed)) * instance_.nodes[source].output_ms;
    };
    change(node, [&] { inside_[node] = enters; });
    for (const std::uint32_t source : readers_[node]) {
      change(source, [&] { read_inside_[source] += enters ? 1 : -1; });
    }
  }

  void offer(std::uint32_t from, std::uint32_t to) {
    const bool fits = unsupported_ == 0 && memory_ <= instance_.accelerator_memory_bytes;
    for (std::size_t cpus = 0; cpus <= instance_.cpus; ++cpus) {
      for (std::size_t accelerators = 0; accelerators <= instance_.accelerators; ++accelerators) {
        const double base = step(cpus, accelerators, from).value;
        if (base == kInfinity) continue;
        const auto improve = [&](Step& target, double load, bool is_accelerator) {
          if (std::max(base, load) < target.value) target = {std::max(base, load), from, is_accelerator};
        };
        if (fits && accelerators < instance_.accelerators) {
          improve(step(cpus, accelerators + 1, to), accelerator_ms_ + transfer_ms_, true);
        }
        if (cpus < instance_.cpus) improve(step(cpus + 1, accelerators, to), cpu_ms_, false);
      }
    }
  }

  std::optional<MsrPlacement> trace_back() {
    std::size_t cpus = 0;
    std::size_t accelerators = 0;
    auto ideal = static_cast<std::uint32_t>(ideals_.size() - 1);  // the largest comes last
    for (std::size_t c = 0; c <= instance_.cpus; ++c) {
      for (std::size_t a = 0; a <= instance_.accelerators; ++a) {
        if (step(c, a, ideal).value < step(cpus, accelerators, ideal).value)
          std::tie(cpus, accelerators) = std::pair(c, a);
      }
    }
    if (step(cpus, accelerators, ideal).value == kInfinity) return std::nullopt;
    MsrPlacement placement(block_of_.size());
    while (ideal != 0) {
      const Step taken = step(cpus, accelerators, ideal);
      const auto device =
          static_cast<std::uint32_t>(taken.is_accelerator ? --accelerators : instance_.accelerators + --cpus);
      for (std::uint32_t i = 0; i < placement.size(); ++i) {
        if (ideals_[ideal][block_of_[i]] && !ideals_[taken.from][block_of_[i]]) placement[i] = device;
      }
      ideal = taken.from;
    }
    return placement;
  }

  const MsrInstance& instance_;
  std::vector<std::uint32_t> block_of_;  // by node
  std::vector<std::pair<std::uint32_t, std::uint32_t>> precedence_;
  std::vector<std::vector<std::uint32_t>> members_;  // by block
  std::vector<std::set<std::uint32_t>> before_;      // by block
  std::vector<std::vector<std::uint32_t>> readers_;  // by node: whose outputs it reads
  std::vector<Ideal> ideals_;
  std::vector<std::vector<std::pair<std::uint32_t, std::uint32_t>>> larger_;  // by ideal: block added, ideal
  std::vector<Step> table_;
  std::vector<std::size_t> visited_;
  // Of the difference of two ideals.
  std::vector<bool> inside_;
  std::vector<std::size_t> read_inside_;
  double accelerator_ms_ = 0;
  double cpu_ms_ = 0;
  double memory_ = 0;
  double transfer_ms_ = 0;
  int unsupported_ = 0;
};

/// The placement with the least load in which the devices can be lined up so that all forward edges go one way.
inline std::optional<MsrPlacement> best_ordered_placement(const MsrInstance& instance) {
  return OrderedPlacer(instance).best();
}

}  // namespace opweave::testing
