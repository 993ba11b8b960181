#include "bounds/placement_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

namespace opweave::bounds {
namespace {

class Builder {
 public:
  Builder(const Problem& problem, std::vector<OptionList>& lists, std::vector<std::uint32_t>& list_of_group,
          std::vector<std::string>& proofs)
      : problem_(problem), lists_(lists), list_of_group_(list_of_group), proofs_(proofs) {}

  void build() {
    const std::size_t replicas = problem_.settings().training.replicas;
    std::vector<std::uint32_t> seen(problem_.graph().operators().size() * replicas, 0);
    list_of_group_.reserve(problem_.group_count());
    for (std::size_t g = 0; g < problem_.group_count(); ++g) {
      const GroupId group(g);
      // All copies of an operator in a replica have the same modes, so one of them speaks for all.
      representatives_.clear();
      for (const TaskId task : problem_.tasks_of(group)) {
        const Task& t = problem_.task(task);
        std::uint32_t& last_group = seen[t.op.index() * replicas + t.replica];
        if (last_group == g + 1) continue;
        last_group = static_cast<std::uint32_t>(g + 1);
        representatives_.push_back(task);
      }
      const bool explicit_modes = std::any_of(representatives_.begin(), representatives_.end(),
                                              [&](TaskId task) { return !problem_.op(task).modes.empty(); });
      list_of_group_.push_back(without_sets_that_overflow(group, list_of(problem_.options(group)), explicit_modes));
    }
  }

 private:
  std::uint32_t intern(std::vector<DeviceSet> sets) {
    const auto [entry, is_new] = index_.try_emplace(std::move(sets), static_cast<std::uint32_t>(lists_.size()));
    if (is_new) {
      OptionList list{entry->first, {}, entry->first.front(), true};
      for (const DeviceSet& set : list.sets) {
        list.single_devices = list.single_devices && set.size() == 1;
        list.any.insert(list.any.end(), set.begin(), set.end());
        std::erase_if(list.every, [&](DeviceId device) { return !contains(set, device); });
      }
      std::sort(list.any.begin(), list.any.end());
      list.any.erase(std::unique(list.any.begin(), list.any.end()), list.any.end());
      lists_.push_back(std::move(list));
    }
    return entry->second;
  }

  /// Equal options of a Problem have one address, so that not every group looks at a thousand devices.
  std::uint32_t list_of(std::span<const Option> options) {
    const auto [entry, is_new] = by_address_.try_emplace(options.data(), 0);
    if (!is_new) return entry->second;
    std::vector<DeviceSet> sets;
    for (const Option& option : options) sets.emplace_back(option.devices.begin(), option.devices.end());
    std::sort(sets.begin(), sets.end());
    return entry->second = intern(std::move(sets));
  }

  [[nodiscard]] Bytes inputs_and_outputs(TaskId task) const {
    Bytes sum;
    for (const ValueId value : problem_.inputs(task)) sum += problem_.size(value);
    for (const ValueId value : problem_.outputs(task)) sum += problem_.size(value);
    return sum;
  }

  /// What the group needs on each device of a set: its parameters, and beside them the most
  /// demanding of its tasks. Tasks that may take no time hold nothing for any time.
  [[nodiscard]] Bytes need(const DeviceSet& set, bool explicit_modes) const {
    Bytes largest;
    for (const TaskId task : representatives_) {
      if (problem_.shortest(task) == Duration()) continue;
      const ModeIndex mode = explicit_modes ? *problem_.mode_on(task, set) : 0;
      largest = std::max(largest, inputs_and_outputs(task) + problem_.mode(task, mode).workspace);
    }
    return largest;
  }

  std::uint32_t without_sets_that_overflow(GroupId group, std::uint32_t list, bool explicit_modes) {
    Bytes persistent;
    for (const ParameterId parameter : problem_.parameters_of(group)) {
      persistent += problem_.persistent_bytes(parameter);
    }
    if (smallest_capacity_.size() <= list) smallest_capacity_.resize(lists_.size(), kUnknown);
    std::int64_t& smallest = smallest_capacity_[list];
    if (smallest == kUnknown) {
      smallest = kUnlimited;
      for (const DeviceId device : lists_[list].any) {
        if (const auto capacity = problem_.capacity(device)) smallest = std::min(smallest, capacity->value());
      }
    }
    if (smallest == kUnlimited) return list;
    Bytes most;
    std::vector<DeviceSet> fitting;
    for (const DeviceSet& set : lists_[list].sets) {
      // The need differs between sets only through the workspaces of explicit modes.
      if (explicit_modes || most == Bytes()) most = persistent + need(set, explicit_modes);
      if (most.value() <= smallest) {
        if (!explicit_modes) return list;
        fitting.push_back(set);
        continue;
      }
      const bool fits = std::all_of(set.begin(), set.end(), [&](DeviceId device) {
        const auto capacity = problem_.capacity(device);
        return !capacity || most <= *capacity;
      });
      if (fits) fitting.push_back(set);
    }
    if (fitting.size() == lists_[list].sets.size()) return list;
    if (fitting.empty()) {
      const std::string others =
          representatives_.size() > 1 ? fmt::format(" and the {} operators with it", representatives_.size() - 1) : "";
      proofs_.push_back(
          fmt::format("operator \"{}\"{} fits on no device that it may use: parameters, inputs, outputs and "
                      "workspace need {} bytes on one device",
                      problem_.op(representatives_.front()).name, others, most.value()));
      return list;
    }
    return intern(std::move(fitting));
  }

  static constexpr std::int64_t kUnknown = -1;
  static constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

  const Problem& problem_;
  std::vector<OptionList>& lists_;
  std::vector<std::uint32_t>& list_of_group_;
  std::vector<std::string>& proofs_;
  std::vector<TaskId> representatives_;
  std::vector<std::int64_t> smallest_capacity_;
  std::map<std::vector<DeviceSet>, std::uint32_t> index_;
  std::unordered_map<const Option*, std::uint32_t> by_address_;
};

}  // namespace

PlacementOptions::PlacementOptions(const Problem& problem) {
  Builder(problem, lists_, list_of_group_, proofs_).build();
}

bool contains(const DeviceSet& outer, const DeviceSet& inner) {
  return std::includes(outer.begin(), outer.end(), inner.begin(), inner.end());
}

bool contains(const DeviceSet& set, DeviceId device) { return std::binary_search(set.begin(), set.end(), device); }

bool disjoint(const DeviceSet& a, const DeviceSet& b) {
  for (auto i = a.begin(), j = b.begin(); i != a.end() && j != b.end();) {
    if (*i == *j) return false;
    *i < *j ? ++i : ++j;
  }
  return true;
}

}  // namespace opweave::bounds
