#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <unordered_map>

#include "core/problem_data.h"
#include "opweave/cost.h"
#include "opweave/error.h"

namespace opweave::detail {
namespace {

/// Mask of the operator's streams; streams that no device has are an error.
std::uint32_t stream_mask(const ProblemData& data, const Operator& op) {
  std::uint32_t mask = 0;
  for (const std::string& name : op.streams) {
    const std::optional<StreamId> found = data.cluster.find_stream(name);
    if (!found) {
      throw InputError(fmt::format("operator \"{}\" runs on stream \"{}\", which no device has", op.name, name));
    }
    mask |= 1U << found->index();
  }
  return mask;
}

void require_streams(const ProblemData& data, const Operator& op, std::uint32_t streams, DeviceId device) {
  const std::uint32_t missing = streams & ~data.cluster.stream_mask(device);
  if (missing == 0) return;
  throw InputError(fmt::format("operator \"{}\" needs stream \"{}\", which device \"{}\" does not have", op.name,
                               data.cluster.stream_names()[static_cast<std::size_t>(__builtin_ctz(missing))],
                               data.cluster.at(device).name));
}

class ModeBuilder {
 public:
  explicit ModeBuilder(ProblemData& data) : data_(data) {}

  void build() {
    const std::vector<DeviceType>& types = data_.cluster.types();
    std::unordered_map<std::string_view, std::uint32_t> slot_of;
    for (const DeviceType& type : types) slot_of.emplace(type.name, slot_of.size());
    for (const Device& device : data_.cluster.devices()) {
      const auto slot = slot_of.find(device.type);
      data_.type_slot.push_back(slot == slot_of.end() ? static_cast<std::uint32_t>(types.size()) : slot->second);
      used_slots_.insert(data_.type_slot.back());
    }
    const std::uint32_t replicas = data_.settings.training.replicas;
    const double durations =
        static_cast<double>(data_.graph.operators().size()) * static_cast<double>(types.size() + 1);
    constexpr double kMostDurations = 1e8;
    if (durations > kMostDurations) {
      throw InputError(fmt::format("{} operators on {} types of devices have {:.3g} durations, expected at most {:.0g}",
                                   data_.graph.operators().size(), types.size(), durations, kMostDurations));
    }
    data_.tables.reserve(data_.graph.operators().size() * replicas);
    for (const Operator& op : data_.graph.operators()) {
      data_.operator_streams.push_back(stream_mask(data_, op));
      if (op.devices.size() > 1 && op.devices.size() != replicas) {
        throw InputError(fmt::format("operator \"{}\" lists devices for {} replicas, but there are {}", op.name,
                                     op.devices.size(), replicas));
      }
      const bool replicas_differ = op.devices.size() > 1;
      for (std::uint32_t replica = 0; replica < replicas; ++replica) {
        if (replica > 0 && !replicas_differ) {
          data_.tables.push_back(data_.tables.back());
        } else {
          data_.tables.push_back(op.modes.empty() ? uniform(op, replica) : explicit_modes(op));
        }
      }
    }
  }

 private:
  /// By a table that is made where the first device is named: gangs of a large graph name millions.
  DeviceId find_device(const Operator& op, const std::string& name) {
    if (device_of_.empty()) {
      for (std::size_t d = 0; d < data_.cluster.device_count(); ++d) {
        device_of_.emplace(data_.cluster.at(DeviceId(d)).name, d);
      }
    }
    const auto found = device_of_.find(name);
    if (found == device_of_.end()) {
      throw InputError(
          fmt::format("operator \"{}\" names device \"{}\", which the cluster does not have", op.name, name));
    }
    return found->second;
  }

  ModeTable uniform(const Operator& op, std::uint32_t replica) {
    const std::uint32_t streams = data_.operator_streams.back();
    const std::vector<DeviceType>& types = data_.cluster.types();
    std::vector<std::optional<Duration>> by_slot;
    for (const DeviceType& type : types) by_slot.push_back(operator_duration(op, &type));
    by_slot.push_back(operator_duration(op, nullptr));

    std::uint32_t device_set = kNoIndex;
    if (op.devices.empty()) {
      for (const std::uint32_t slot : used_slots_) require_no_overflow(op, by_slot, slot);
      device_set = anywhere(streams, by_slot);
      if (device_set == kNoIndex) {
        throw InputError(fmt::format(
            "operator \"{}\" can run on no device: none has its streams and a known duration for it", op.name));
      }
    } else {
      std::vector<DeviceId> devices;
      const std::vector<std::string>& names = op.devices.size() == 1 ? op.devices[0] : op.devices[replica];
      if (names.empty()) throw InputError(fmt::format("operator \"{}\" has an empty list of devices", op.name));
      for (const std::string& name : names) {
        const DeviceId device = find_device(op, name);
        require_streams(data_, op, streams, device);
        require_no_overflow(op, by_slot, data_.type_slot[device.index()]);
        if (!by_slot[data_.type_slot[device.index()]]) {
          throw InputError(
              fmt::format("operator \"{}\" has no duration, measured or from rates, on device \"{}\"", op.name, name));
        }
        devices.push_back(device);
      }
      std::sort(devices.begin(), devices.end());
      if (std::adjacent_find(devices.begin(), devices.end()) != devices.end()) {
        throw InputError(fmt::format("operator \"{}\" lists one device twice", op.name));
      }
      device_set = index_of(std::move(devices));
    }

    ModeTable table;
    table.workspace = op.workspace;
    table.device_set = device_set;
    table.single_count = table.count = static_cast<std::uint32_t>(data_.device_sets[device_set].size());
    table.first_duration = data_.durations.size();
    std::optional<Duration> shortest;
    for (const std::uint32_t slot : slots_of_set_[device_set]) {
      shortest = std::min(shortest.value_or(*by_slot[slot]), *by_slot[slot]);
    }
    table.shortest = *shortest;
    for (const auto& duration : by_slot) data_.durations.push_back(duration.value_or(Duration()));
    return table;
  }

  /// An operator that would run for months is a slip, and no reason to look for another device.
  void require_no_overflow(const Operator& op, const std::vector<std::optional<Duration>>& by_slot,
                           std::uint32_t slot) const {
    if (by_slot[slot] || slot == data_.cluster.types().size()) return;
    const DeviceType& type = data_.cluster.types()[slot];
    const std::optional<double> nanoseconds = roofline_ns(op, type);
    if (!nanoseconds) return;
    throw InputError(fmt::format(
        "operator \"{}\" ({:.3g} flops, {:.3g} bytes accessed) would take {:.3g} ns on device "
        "type \"{}\", expected at most {}",
        op.name, op.flops.value_or(0), op.bytes_accessed.value_or(0), *nanoseconds, type.name, kMaxInputValue));
  }

  /// All devices that have the streams and a duration; kNoIndex if there are none. Operators with the same streams, and
  /// durations for the same types, share the answer: not every operator looks at every device.
  std::uint32_t anywhere(std::uint32_t streams, const std::vector<std::optional<Duration>>& by_slot) {
    std::vector<bool> is_known(by_slot.size());
    for (std::size_t slot = 0; slot < by_slot.size(); ++slot) is_known[slot] = by_slot[slot].has_value();
    const auto [entry, is_new] = anywhere_.try_emplace({streams, std::move(is_known)}, kNoIndex);
    if (!is_new) return entry->second;
    std::vector<DeviceId> devices;
    for (std::size_t d = 0; d < data_.cluster.device_count(); ++d) {
      if ((streams & ~data_.cluster.stream_mask(DeviceId(d))) == 0 && by_slot[data_.type_slot[d]])
        devices.emplace_back(d);
    }
    if (!devices.empty()) entry->second = index_of(std::move(devices));
    return entry->second;
  }

  std::uint32_t index_of(std::vector<DeviceId> devices) {
    const auto [entry, is_new] =
        set_index_.try_emplace(std::move(devices), static_cast<std::uint32_t>(data_.device_sets.size()));
    if (is_new) {
      data_.device_sets.push_back(entry->first);
      std::set<std::uint32_t> slots;
      for (const DeviceId device : entry->first) slots.insert(data_.type_slot[device.index()]);
      slots_of_set_.emplace_back(slots.begin(), slots.end());
    }
    return entry->second;
  }

  ModeTable explicit_modes(const Operator& op) {
    ModeTable table;
    table.first_mode = data_.explicit_modes.size();
    table.count = static_cast<std::uint32_t>(op.modes.size());
    table.shortest = op.modes.front().duration;
    for (const ModeSpec& spec : op.modes) {
      const std::size_t first = data_.mode_devices.size();
      for (const std::string& name : spec.devices) {
        data_.mode_devices.push_back(find_device(op, name));
        require_streams(data_, op, data_.operator_streams.back(), data_.mode_devices.back());
      }
      std::ranges::sort(std::span(data_.mode_devices).subspan(first));
      table.single_count += spec.devices.size() == 1 ? 1U : 0U;
      table.shortest = std::min(table.shortest, spec.duration);
      data_.explicit_modes.push_back(
          {first, static_cast<std::uint32_t>(spec.devices.size()), spec.duration, spec.workspace});
    }
    const auto devices = [&](const ExplicitMode& mode) {
      return std::span(data_.mode_devices).subspan(mode.first_device, mode.device_count);
    };
    std::ranges::sort(std::span(data_.explicit_modes).subspan(table.first_mode),
                      [&](const ExplicitMode& a, const ExplicitMode& b) {
                        const bool is_gang = a.device_count > 1;
                        if (is_gang != (b.device_count > 1)) return !is_gang;
                        return std::ranges::lexicographical_compare(devices(a), devices(b));
                      });
    return table;
  }

  ProblemData& data_;
  std::unordered_map<std::string_view, DeviceId> device_of_;
  std::set<std::uint32_t> used_slots_;  ///< types of all devices
  std::map<std::vector<DeviceId>, std::uint32_t> set_index_;
  std::vector<std::vector<std::uint32_t>> slots_of_set_;  ///< types of the devices, by device set
  std::map<std::pair<std::uint32_t, std::vector<bool>>, std::uint32_t> anywhere_;  ///< by streams and known durations
};

}  // namespace

void build_modes(ProblemData& data) { ModeBuilder(data).build(); }

}  // namespace opweave::detail
