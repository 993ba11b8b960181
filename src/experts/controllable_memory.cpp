// V-Half and V-Min: a building block that repeats for every microbatch, chosen so that the lifetimes
// of activations in it are balanced over devices; its memory is the schedule's. Warm-up and
// cool-down are then squeezed under the same memory. Everything happens on a grid of unit slots, so
// the order depends on the sizes alone.
//
// A microbatch crosses the devices four times: legs 0 and 1 are its forward down and up the V,
// legs 2 and 3 its backward down and up. Kind 4 stands for weight gradients, which take whatever
// slot is free once their backward is done.
#include <algorithm>
#include <array>
#include <functional>

#include "experts/generators.h"

namespace opweave::detail {

namespace {

using Slot = std::int32_t;
constexpr std::size_t kLegs = 4;
constexpr std::size_t kWeight = 4;
constexpr Slot kPeriod = 6;  // a microbatch is six actions of a device: F, I and W of its two stages

bool goes_down(std::size_t kind) { return kind % 2 == 0; }
bool is_forward(std::size_t kind) { return kind < 2; }
bool is_backward(std::size_t kind) { return kind == 2 || kind == 3; }

/// Slots of one device by kind and microbatch (kind 4: by order).
using DeviceSlots = std::array<std::vector<Slot>, kLegs + 1>;

struct Item {
  Slot slot;
  std::uint32_t device;
  std::uint32_t kind;
  std::uint32_t index;
  auto operator<=>(const Item&) const = default;
};

std::vector<Item> sorted_items(const std::vector<DeviceSlots>& devices) {
  std::vector<Item> items;
  for (std::uint32_t device = 0; device < devices.size(); ++device) {
    for (std::uint32_t kind = 0; kind <= kWeight; ++kind) {
      for (std::uint32_t index = 0; index < devices[device][kind].size(); ++index) {
        items.push_back({devices[device][kind][index], device, kind, index});
      }
    }
  }
  std::sort(items.begin(), items.end());
  return items;
}

/// What a device does in each slot.
class SlotRow {
 public:
  static constexpr std::uint8_t kFree = 255;

  explicit SlotRow(const DeviceSlots& slots) {
    for (std::size_t kind = 0; kind <= kWeight; ++kind) {
      for (const Slot slot : slots[kind]) set(slot, static_cast<std::uint8_t>(kind));
    }
  }
  [[nodiscard]] Slot size() const { return static_cast<Slot>(kinds_.size()); }
  [[nodiscard]] std::uint8_t at(Slot slot) const { return kinds_[static_cast<std::size_t>(slot)]; }
  void set(Slot slot, std::uint8_t kind) {
    const auto index = static_cast<std::size_t>(slot);
    if (kinds_.size() <= index) kinds_.resize(index + 1, kFree);
    kinds_[index] = kind;
  }

 private:
  std::vector<std::uint8_t> kinds_;
};

/// Activations held during a slot and backwards whose weight gradient is still to come.
struct Held {
  int activations = 0;
  int pending = 0;
  bool operator==(const Held&) const = default;

  /// The state of the next slot, in which the device does `kind`. Where weight gradients are
  /// implied, a free slot runs one.
  [[nodiscard]] Held after(std::uint8_t kind, bool implied_weights) const {
    Held next = *this;
    if (kind == kWeight || (kind == SlotRow::kFree && implied_weights && pending > 0)) {
      --next.activations;
      --next.pending;
    } else if (kind != SlotRow::kFree) {
      if (is_forward(kind)) ++next.activations;
      if (is_backward(kind)) ++next.pending;
    }
    return next;
  }
};

/// Puts weight gradients into free slots as soon as their backward is done.
void add_weight_slots(DeviceSlots& slots) {
  const SlotRow row(slots);
  int pending = 0;
  for (Slot slot = 0; slot < row.size() || pending > 0; ++slot) {
    const std::uint8_t kind = slot < row.size() ? row.at(slot) : SlotRow::kFree;
    if (kind == SlotRow::kFree) {
      if (pending == 0) continue;
      slots[kWeight].push_back(slot);
      --pending;
    } else if (is_backward(kind)) {
      ++pending;
    }
  }
}

/// Runs everything in the same order as early as unit times allow.
void compact(std::vector<DeviceSlots>& devices) {
  std::vector<Slot> free_from(devices.size(), 0);
  std::vector<DeviceSlots> result = devices;
  // Items come in the order of their slots, so what they wait for is in `result` already.
  for (const Item& item : sorted_items(devices)) {
    Slot start = free_from[item.device];
    const auto wait_for = [&](std::size_t device, std::size_t kind) {
      start = std::max(start, result[device][kind][item.index] + 1);
    };
    if (item.kind < kLegs) {
      if (item.kind > 0) wait_for(item.device, item.kind - 1);
      if (goes_down(item.kind) && item.device > 0) wait_for(item.device - 1, item.kind);
      if (!goes_down(item.kind) && item.device + 1 < devices.size()) wait_for(item.device + 1, item.kind);
    }
    result[item.device][item.kind][item.index] = start;
    free_from[item.device] = start + 1;
  }
  devices = std::move(result);
}

/// Moves the items of warm-up and cool-down to earlier free slots without more memory than before.
class Squeeze {
 public:
  /// \param implied_weights  weight gradients are not among the items but run in free slots; only the
  ///                         cool-down is squeezed then
  Squeeze(std::vector<DeviceSlots>& devices, bool implied_weights)
      : devices_(devices), implied_weights_(implied_weights) {
    for (const DeviceSlots& slots : devices) {
      rows_.emplace_back(slots);
      held_.emplace_back();
      Held held;
      for (Slot slot = 0; slot < rows_.back().size(); ++slot) {
        held = held.after(rows_.back().at(slot), implied_weights);
        held_.back().push_back(held);
        limit_ = std::max(limit_, held.activations);
      }
    }
  }

  void run() {
    const auto last_microbatch = static_cast<std::uint32_t>(devices_[0][0].size() - 1);
    enum class Part { kWarmUp, kSteady, kCoolDown } part = Part::kWarmUp;
    for (const Item& item : sorted_items(devices_)) {
      // The block of the first microbatch ends with leg 3 on device 0; what starts before the last
      // microbatch enters there is steady.
      if (part == Part::kWarmUp && item.kind == 3 && item.device == 0) part = Part::kSteady;
      if (part == Part::kSteady) {
        if (item.kind == 0 && item.index == last_microbatch) part = Part::kCoolDown;
        continue;
      }
      if (part == Part::kWarmUp && implied_weights_) continue;
      move_earlier(item);
    }
  }

 private:
  [[nodiscard]] Slot earliest(const Item& item) const {
    Slot result = 0;
    const auto wait_for = [&](std::size_t device, std::size_t kind, std::size_t index) {
      result = std::max(result, devices_[device][kind][index] + 1);
    };
    if (item.index > 0) wait_for(item.device, item.kind, item.index - 1);
    if (item.kind == kWeight) return std::max(result, backward_slot(item) + 1);
    if (item.kind > 0) wait_for(item.device, item.kind - 1, item.index);
    if (goes_down(item.kind) && item.device > 0) wait_for(item.device - 1, item.kind, item.index);
    if (!goes_down(item.kind) && item.device + 1 < devices_.size()) {
      wait_for(item.device + 1, item.kind, item.index);
    }
    return result;
  }

  /// Slot of the backward whose weight gradient this is: they run in the order of the backwards.
  [[nodiscard]] Slot backward_slot(const Item& item) const {
    const DeviceSlots& slots = devices_[item.device];
    const auto count_up_to = [](const std::vector<Slot>& list, Slot slot) {
      return std::upper_bound(list.begin(), list.end(), slot) - list.begin();
    };
    Slot low = 0;
    for (Slot high = item.slot; low < high;) {
      const Slot middle = low + (high - low) / 2;
      const auto count = count_up_to(slots[2], middle) + count_up_to(slots[3], middle);
      if (count > static_cast<std::ptrdiff_t>(item.index)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  void move_earlier(const Item& item) {
    SlotRow& row = rows_[item.device];
    const auto kind = static_cast<std::uint8_t>(item.kind);
    for (Slot slot = earliest(item); slot < item.slot; ++slot) {
      if (row.at(slot) != SlotRow::kFree) continue;
      row.set(slot, kind);
      row.set(item.slot, SlotRow::kFree);
      if (fits(item.device, slot, item.slot)) {
        devices_[item.device][item.kind][item.index] = slot;
        return;
      }
      row.set(slot, SlotRow::kFree);
      row.set(item.slot, kind);
    }
  }

  /// Whether the device stays within the limit after a move from slot `to` to slot `from`; if so, the
  /// states are updated. Before `from` nothing changes, and past `to` it ends where states agree again.
  bool fits(std::uint32_t device, Slot from, Slot to) {
    std::vector<Held>& states = held_[device];
    scratch_.clear();
    Held held = from == 0 ? Held{} : states[static_cast<std::size_t>(from) - 1];
    for (Slot slot = from; slot < rows_[device].size(); ++slot) {
      held = held.after(rows_[device].at(slot), implied_weights_);
      if (held.activations > limit_) return false;
      if (slot > to && held == states[static_cast<std::size_t>(slot)]) break;
      scratch_.push_back(held);
    }
    std::copy(scratch_.begin(), scratch_.end(), states.begin() + from);
    return true;
  }

  std::vector<DeviceSlots>& devices_;
  bool implied_weights_;
  std::vector<SlotRow> rows_;
  std::vector<std::vector<Held>> held_;  // by device and slot
  int limit_ = 0;
  std::vector<Held> scratch_;
};

/// Slot of leg 0 to 3 of the first microbatch on each device.
using BuildingBlock = std::function<std::array<Slot, kLegs>(Slot device, Slot devices)>;

DeviceActions controllable_memory(PipelineSize size, const BuildingBlock& block) {
  std::vector<DeviceSlots> devices(size.devices);
  for (std::uint32_t device = 0; device < size.devices; ++device) {
    const auto first = block(static_cast<Slot>(device), static_cast<Slot>(size.devices));
    for (std::size_t leg = 0; leg < kLegs; ++leg) {
      for (std::uint32_t microbatch = 0; microbatch < size.microbatches; ++microbatch) {
        devices[device][leg].push_back(first[leg] + kPeriod * static_cast<Slot>(microbatch));
      }
    }
  }
  const auto add_weights = [&] {
    for (DeviceSlots& slots : devices) add_weight_slots(slots);
  };
  const auto remove_weights = [&] {
    for (DeviceSlots& slots : devices) slots[kWeight].clear();
  };
  // Once with weight gradients where the block has them, once with weight gradients giving way.
  add_weights();
  Squeeze(devices, false).run();
  compact(devices);
  remove_weights();
  Squeeze(devices, true).run();
  add_weights();
  compact(devices);
  remove_weights();

  DeviceActions result(size.devices);
  for (std::uint32_t device = 0; device < size.devices; ++device) {
    const SlotRow row(devices[device]);
    const std::uint32_t first = device;
    const std::uint32_t second = 2 * size.devices - 1 - device;
    const std::array<std::uint32_t, kLegs> stage_of_leg = {first, second, second, first};
    std::array<std::uint32_t, kLegs> done = {};
    std::array<std::uint32_t, kLegs> weights_done = {};
    for (Slot slot = 0; weights_done[2] < size.microbatches || weights_done[3] < size.microbatches; ++slot) {
      const std::uint8_t kind = slot < row.size() ? row.at(slot) : SlotRow::kFree;
      if (kind != SlotRow::kFree) {
        result[device].push_back(action(is_forward(kind) ? ActionKind::kForward : ActionKind::kInputGradient,
                                        stage_of_leg[kind], done[kind]++));
        continue;
      }
      for (const std::size_t leg : {std::size_t{2}, std::size_t{3}}) {
        if (weights_done[leg] == done[leg]) continue;
        result[device].push_back(action(ActionKind::kWeightGradient, stage_of_leg[leg], weights_done[leg]++));
        break;
      }
    }
  }
  return result;
}

}  // namespace

DeviceActions v_half(PipelineSize size) {
  return controllable_memory(size, [](Slot device, Slot devices) -> std::array<Slot, kLegs> {
    const Slot interval = devices % 2 == 0 ? 3 : 0;  // keeps legs out of each other's slots
    return {2 * device, 3 * devices - device - 2, 3 * devices + interval + 2 * device - 1,
            6 * devices + interval - device - 2};
  });
}

DeviceActions v_min(PipelineSize size) {
  return controllable_memory(size, [](Slot device, Slot devices) -> std::array<Slot, kLegs> {
    const Slot interval = devices % 3 == 0 ? 2 : 0;
    return {device, 2 * devices - device - 1, 2 * devices + interval + device, 4 * devices + interval - device - 1};
  });
}

}  // namespace opweave::detail
