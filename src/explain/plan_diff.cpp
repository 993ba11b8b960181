#include "opweave/plan_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

namespace opweave {
namespace {

/// A task as both plans name it.
struct Key {
  std::string op;
  std::uint32_t copy = 0;
  auto operator<=>(const Key&) const = default;
};
struct Place {
  std::vector<std::string> devices;
  Duration start;
};
using Places = std::map<Key, Place>;

Places places(const PlanAlone& file) {
  Places result;
  for (const PlannedTask& task : file.plan.tasks) {
    Place place{{}, task.start};
    for (const DeviceId device : task.devices) place.devices.push_back(file.cluster.at(device).name);
    result.emplace(Key{file.graph.at(task.op).name, task.copy}, std::move(place));
  }
  return result;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : "+") + name;
  return text;
}

/// Pairs (i, j), i < j, with values[i] > values[j]. O(n log n).
std::uint64_t inversions(std::vector<std::size_t>& values) {
  if (values.size() < 2) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::vector<std::size_t> left(values.begin(), middle), right(middle, values.end());
  std::uint64_t count = inversions(left) + inversions(right);
  std::size_t l = 0, r = 0;
  for (std::size_t& value : values) {
    if (r == right.size() || (l < left.size() && left[l] <= right[r])) {
      value = left[l++];
    } else {
      value = right[r++];
      count += left.size() - l;
    }
  }
  return count;
}

/// \param starts  of the tasks that stayed, in the first plan and in the second
OrderChange order_change(const std::string& device, std::vector<std::pair<Duration, Duration>> starts) {
  std::ranges::stable_sort(starts);
  std::vector<std::size_t> by_second(starts.size());
  for (std::size_t i = 0; i < by_second.size(); ++i) by_second[i] = i;
  std::ranges::stable_sort(by_second,
                           [&](std::size_t x, std::size_t y) { return starts[x].second < starts[y].second; });
  const auto pairs = static_cast<double>(starts.size()) * static_cast<double>(starts.size() - 1) / 2;
  const std::uint64_t swapped = inversions(by_second);
  return {device, starts.size(), swapped, pairs > 0 ? static_cast<double>(swapped) / pairs : 0};
}

std::int64_t shift(const ShiftedTask& task) { return std::abs((task.second - task.first).value()); }

}  // namespace

PlanDiff diff_plans(const PlanAlone& first, const PlanAlone& second) {
  const Provenance& of_first = first.plan.provenance;
  const Provenance& of_second = second.plan.provenance;
  PlanDiff diff;
  diff.is_same_problem = of_first.graph_hash == of_second.graph_hash && of_first.cluster_hash == of_second.cluster_hash;
  diff.is_same_settings = first.plan.settings == second.plan.settings;

  const Places before = places(first), after = places(second);
  std::map<std::pair<std::string, std::string>, std::pair<std::size_t, std::set<std::string>>> moved;
  std::map<std::string, std::vector<std::pair<Duration, Duration>>> stayed;  // starts in both, by device
  for (const auto& [key, place] : before) {
    const auto other = after.find(key);
    if (other == after.end()) {
      ++diff.only_first;
      continue;
    }
    ++diff.in_both;
    if (other->second.start != place.start) {
      diff.shifted.push_back({fmt::format("{}#{}", key.op, key.copy), place.start, other->second.start});
    }
    if (place.devices != other->second.devices) {
      auto& [count, operators] = moved[{joined(place.devices), joined(other->second.devices)}];
      ++count;
      operators.insert(key.op);
    } else {
      for (const std::string& device : place.devices) stayed[device].emplace_back(place.start, other->second.start);
    }
  }
  diff.only_second = after.size() - diff.in_both;
  for (const auto& [way, what] : moved) {
    diff.moved.push_back({way.first, way.second, what.first, {what.second.begin(), what.second.end()}});
  }
  std::ranges::stable_sort(diff.moved, std::ranges::greater(), &MovedTasks::tasks);
  for (const auto& [device, starts] : stayed) diff.orders.push_back(order_change(device, starts));
  std::ranges::stable_sort(diff.shifted, std::ranges::greater(), shift);
  return diff;
}

}  // namespace opweave
