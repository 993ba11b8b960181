/// One of several choices for each item, so that all together take the least time and fit into a capacity.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace opweave::strategy {

struct Choice {
  double time = 0;
  double bytes = 0;
};
using Choices = std::vector<Choice>;

struct Selection {
  double least = std::numeric_limits<double>::infinity();  ///< no selection that fits takes less; infinite: none fits
  double time = std::numeric_limits<double>::infinity();   ///< of the selection that was found
  double bytes = 0;
  std::vector<std::uint32_t> chosen;  ///< by item, index of its choice; empty without a selection
};

/// The multiple-choice knapsack by branch and bound: the relaxation lets items mix neighbours on the convex hull of
/// their choices and takes what saves most time per byte first. Looks at `most_nodes` nodes at most, so `least` may
/// stay below `time`; one node is the relaxation with its rounded point. O(nodes x choices x log(items)).
[[nodiscard]] Selection select_choices(const std::vector<Choices>& items, double capacity, std::size_t most_nodes);

}  // namespace opweave::strategy
