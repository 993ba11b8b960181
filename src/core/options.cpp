#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

#include "core/problem_data.h"
#include "opweave/error.h"

namespace opweave::detail {
namespace {

using DeviceSet = std::vector<DeviceId>;  ///< ascending

/// A variant is one operator in one replica: all its tasks have the same modes.
class OptionBuilder {
 public:
  explicit OptionBuilder(ProblemData& data)
      : data_(data), operators_(data.graph.operators()), replicas_(data.settings.training.replicas) {}

  void build() {
    std::vector<std::uint32_t> list_of_variant(data_.tables.size(), kNoIndex);  // for tasks that are alone
    std::vector<std::uint32_t> variants;
    for (std::size_t g = 0; g < data_.group_tasks.size(); ++g) {
      const Task& first = data_.tasks[data_.group_tasks[g].front().index()];
      if (!is_bound_to_others(data_.graph.at(first.op))) {
        std::uint32_t& list = list_of_variant[variant(first)];
        variants.assign(1, variant(first));
        if (list == kNoIndex) list = list_of(variants);
        data_.group_option_list.push_back(list);
        continue;
      }
      variants.clear();
      for (const TaskId task : data_.group_tasks[g]) variants.push_back(variant(data_.tasks[task.index()]));
      std::sort(variants.begin(), variants.end());
      variants.erase(std::unique(variants.begin(), variants.end()), variants.end());
      data_.group_option_list.push_back(list_of(variants));
    }
  }

 private:
  [[nodiscard]] std::uint32_t variant(const Task& task) const {
    return static_cast<std::uint32_t>(task.op.index() * replicas_ + task.replica);
  }

  [[nodiscard]] std::span<const DeviceId> devices_of(const ExplicitMode& mode) const {
    return std::span(data_.mode_devices).subspan(mode.first_device, mode.device_count);
  }

  /// Explicit modes of a variant on single devices, or gangs.
  [[nodiscard]] std::span<const ExplicitMode> explicit_modes(std::uint32_t v, bool gangs) const {
    const ModeTable& table = data_.tables[v];
    return std::span(data_.explicit_modes)
        .subspan(table.first_mode + (gangs ? table.single_count : 0),
                 gangs ? table.count - table.single_count : table.single_count);
  }

  /// Device sets of variants without explicit modes, each once.
  [[nodiscard]] std::vector<std::uint32_t> device_sets_of(const std::vector<std::uint32_t>& variants) const {
    std::vector<std::uint32_t> sets;
    for (const std::uint32_t v : variants) {
      if (data_.tables[v].device_set != kNoIndex) sets.push_back(data_.tables[v].device_set);
    }
    std::sort(sets.begin(), sets.end());
    sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
    return sets;
  }

  /// Devices on which every given variant has a mode of one device.
  [[nodiscard]] DeviceSet common_devices(const std::vector<std::uint32_t>& variants) const {
    std::optional<DeviceSet> common;
    const auto keep = [&](const DeviceSet& list) {
      if (!common) {
        common = list;
        return;
      }
      DeviceSet both;
      std::set_intersection(common->begin(), common->end(), list.begin(), list.end(), std::back_inserter(both));
      common = std::move(both);
    };
    for (const std::uint32_t set : device_sets_of(variants)) keep(data_.device_sets[set]);
    DeviceSet list;
    for (const std::uint32_t v : variants) {
      if (data_.tables[v].device_set != kNoIndex) continue;
      list.clear();
      for (const ExplicitMode& mode : explicit_modes(v, false)) list.push_back(devices_of(mode).front());
      keep(list);
    }
    return common.value_or(DeviceSet());
  }

  /// Gangs that every given variant has a mode with; ascending.
  [[nodiscard]] std::vector<std::span<const DeviceId>> common_gangs(const std::vector<std::uint32_t>& variants) const {
    const auto gangs_of = [&](std::uint32_t v) {
      std::vector<std::span<const DeviceId>> gangs;
      for (const ExplicitMode& mode : explicit_modes(v, true)) gangs.push_back(devices_of(mode));
      return gangs;
    };
    if (!device_sets_of(variants).empty()) return {};
    std::vector<std::span<const DeviceId>> common = gangs_of(variants.front());
    for (const std::uint32_t v : variants) {
      const auto gangs = gangs_of(v);
      std::vector<std::span<const DeviceId>> both;
      std::set_intersection(common.begin(), common.end(), gangs.begin(), gangs.end(), std::back_inserter(both),
                            Before());
      common = std::move(both);
    }
    return common;
  }

  /// The list of what these variants have in common: a new one, or one of the same content.
  std::uint32_t interned(const std::vector<std::uint32_t>& variants) {
    DeviceSet devices = common_devices(variants);
    const std::vector<std::span<const DeviceId>> gangs = common_gangs(variants);
    if (devices.empty() && gangs.empty()) {
      const Operator& first = operators_[variants.front() / replicas_];
      const std::string via = first.colocation.empty() ? "shared parameters" : "colocation and shared parameters";
      throw InputError(
          fmt::format("operator \"{}\" and {} others must run together ({}), but no device is allowed "
                      "for all of them",
                      first.name, variants.size() - 1, via));
    }
    std::vector<DeviceSet> content;
    for (const std::span<const DeviceId> gang : gangs) content.emplace_back(gang.begin(), gang.end());
    const auto [entry, is_new] = list_index_.try_emplace(std::pair(devices, std::move(content)),
                                                         static_cast<std::uint32_t>(data_.option_lists.size()));
    if (!is_new) return entry->second;
    data_.common_devices.push_back(std::move(devices));
    std::vector<Option>& list = data_.option_lists.emplace_back();
    const std::span<const DeviceId> singles(data_.common_devices.back());
    for (std::size_t i = 0; i < singles.size(); ++i) list.push_back({singles.subspan(i, 1)});
    for (const std::span<const DeviceId> gang : gangs) list.push_back({gang});
    return entry->second;
  }

  /// Most groups can use what a single operator can, so that answer is remembered: not every group looks at every
  /// device, or at how the devices of its only mode are told from others.
  std::uint32_t list_of(const std::vector<std::uint32_t>& variants) {
    if (const ModeTable& table = data_.tables[variants.front()];
        variants.size() == 1 && table.device_set == kNoIndex && table.count == 1) {
      const auto [entry, is_new] =
          list_of_only_mode_.try_emplace(devices_of(data_.explicit_modes[table.first_mode]), kNoIndex);
      if (is_new) entry->second = interned(variants);
      return entry->second;
    }
    const std::uint32_t device_set = data_.tables[variants.front()].device_set;
    const bool is_shared = std::all_of(variants.begin(), variants.end(),
                                       [&](std::uint32_t v) { return data_.tables[v].device_set == device_set; });
    if (device_set == kNoIndex || !is_shared) return interned(variants);
    list_of_device_set_.resize(data_.device_sets.size(), kNoIndex);
    std::uint32_t& list = list_of_device_set_[device_set];
    if (list == kNoIndex) list = interned(variants);
    return list;
  }

  ProblemData& data_;
  const std::vector<Operator>& operators_;
  const std::uint32_t replicas_;
  std::map<std::pair<DeviceSet, std::vector<DeviceSet>>, std::uint32_t> list_index_;
  std::vector<std::uint32_t> list_of_device_set_;  ///< by index of a device set
  struct Before {
    bool operator()(std::span<const DeviceId> a, std::span<const DeviceId> b) const {
      return std::ranges::lexicographical_compare(a, b);
    }
  };
  struct Hash {
    std::size_t operator()(std::span<const DeviceId> devices) const {
      std::size_t value = devices.size();
      for (const DeviceId device : devices) value = (value ^ device.index()) * 0x9E3779B97F4A7C15U;
      return value ^ (value >> 32U);
    }
  };
  struct Same {
    bool operator()(std::span<const DeviceId> a, std::span<const DeviceId> b) const { return std::ranges::equal(a, b); }
  };
  std::unordered_map<std::span<const DeviceId>, std::uint32_t, Hash, Same> list_of_only_mode_;  ///< by its devices
};

}  // namespace

void build_options(ProblemData& data) { OptionBuilder(data).build(); }

}  // namespace opweave::detail
