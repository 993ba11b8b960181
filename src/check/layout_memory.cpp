// What is where, and for how long, in plans with options, by the stays of docs/layouts.md.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "check/layout_facts.h"
#include "check/rules.h"

namespace opweave::checking {
namespace {

/// On consecutive devices, since what many hold for the same time is sorted once. What one form takes is never more
/// than what a file may say.
struct MemoryChange {
  Duration time;
  std::int64_t bytes;
  std::uint32_t first;  ///< device
  std::uint32_t end;    ///< behind the last device
};

struct Stay {
  Duration from;
  Duration until;
};

/// From when until when something is on each of some devices.
class Stays {
 public:
  explicit Stays(std::size_t devices) : stays_(devices) {}

  void clear() {
    for (const DeviceId device : devices_) stays_[device.index()].reset();
    devices_.clear();
  }
  /// In any order.
  [[nodiscard]] const std::vector<DeviceId>& devices() const { return devices_; }
  /// Nothing where it is not.
  [[nodiscard]] std::optional<Stay>& on(DeviceId device) { return stays_[device.index()]; }
  void set(DeviceId device, const Stay& stay) {
    if (!on(device)) devices_.push_back(device);
    on(device) = stay;
  }

 private:
  std::vector<std::optional<Stay>> stays_;  // by device
  std::vector<DeviceId> devices_;
};

/// Memory over time, by the stays of docs/layouts.md.
class LayoutMemory {
 public:
  explicit LayoutMemory(const LayoutFacts& facts)
      : facts_(facts), use_(facts.cluster().device_count()), stays_(use_.size()) {
    for (const PlannedTransfer& transfer : facts.plan().plan.transfers) {
      if (exists(transfer.source) && exists(transfer.destination)) sent_.push_back(&transfer);
    }
    std::ranges::stable_sort(sent_, {}, sent_value);
    for (std::size_t p = 0; p < facts.graph().parameters().size(); ++p) hold_parameter(ParameterId(p));
    for (const PlannedTask& task : facts.plan().plan.tasks) {
      hold(task.devices, task.start, task.end, facts.option(task.op).workspace.value());
    }
    for (const FormReturn& back : facts.plan().returns) {
      if (back.kind == MovementKind::kRecompute) hold_repetition(back);
    }
    for (std::size_t t = 0; t < facts.graph().tensors().size(); ++t) {
      const TensorId tensor(t);
      const std::uint32_t copies = facts.is_made_once(tensor) ? 1 : facts.microbatches();
      for (std::size_t f = 0; f < facts.forms(tensor).size(); ++f) {
        for (std::uint32_t copy = 0; copy < copies; ++copy) {
          hold_form(tensor, f, copy, false);
          if (!facts.stays(tensor, f, copy)) hold_form(tensor, f, copy, true);
          hold_by_product(tensor, f, copy);
        }
      }
    }
    find_peaks();
  }

  [[nodiscard]] std::vector<MemoryUse> take() { return std::move(use_); }

 private:
  /// Another rule names devices that do not.
  [[nodiscard]] bool exists(DeviceId device) const { return device.index() < use_.size(); }

  static std::pair<TensorId, std::uint32_t> sent_value(const PlannedTransfer* transfer) {
    return {transfer->tensor, transfer->copy};
  }

  void hold(DeviceId device, Duration from, Duration until, Wide bytes) {
    if (from >= until || bytes == 0 || !exists(device)) return;
    const auto change = static_cast<std::int64_t>(bytes);
    const auto number = static_cast<std::uint32_t>(device.index());
    if (changes_.size() > open_ && changes_.back().end == number && changes_.back().time == until &&
        changes_[changes_.size() - 2].time == from) {
      changes_.back().end = changes_[changes_.size() - 2].end = number + 1;
      return;
    }
    changes_.push_back({from, change, number, number + 1});
    changes_.push_back({until, -change, number, number + 1});
  }
  void hold(std::span<const DeviceId> devices, Duration from, Duration until, Wide bytes) {
    open_ = changes_.size();
    for (const DeviceId device : devices) hold(device, from, until, bytes);
  }

  void hold_parameter(ParameterId parameter) {
    const ParameterUse& use = facts_.use(parameter);
    const Training& training = facts_.plan().plan.settings.training;
    const auto weights = facts_.graph().at(parameter).weights.value();
    const auto times = [&](double factor) {
      return Wide{static_cast<std::int64_t>(std::ceil(static_cast<double>(weights) * factor))};
    };
    const Wide bytes = rounded_up(weights, use.parts.weights) +
                       rounded_up(times(training.gradient_bytes_per_weight_byte), use.parts.gradients) +
                       rounded_up(times(training.optimizer_bytes_per_weight_byte), use.parts.optimizer);
    for (const DeviceId device : use.devices) use_[device.index()].persistent += bytes;
    for (const ParameterForm& form : facts_.forms(parameter)) {
      for (std::uint32_t copy = 0; form.is_per_microbatch && copy < facts_.microbatches(); ++copy) {
        const LayoutMovement* movement = facts_.movement(facts_.key(parameter, form, copy));
        if (movement == nullptr) continue;
        Stay stay{movement->start, movement->end};
        const bool is_gradient = form.moved == Moved::kGradient;
        const std::vector<OperatorId> own = is_gradient                            ? std::vector{*form.op}
                                            : form.moved == Moved::kForwardWeights ? use.forward
                                                                                   : use.backward;
        for (const OperatorId op : own) {
          const PlannedTask* run = facts_.run(op, copy);
          if (run == nullptr) continue;
          if (is_gradient) stay.from = run->start;
          if (!is_gradient) stay.until = std::max(stay.until, run->end);
        }
        if (form.moved == Moved::kForwardWeights) hold_again(parameter, form, copy, stay.until);
        hold(form.devices, stay.from, stay.until, form.bytes);
      }
    }
  }

  /// Weights that are gathered again: for what runs again if they were dropped, else while they are made. Those that
  /// were not stay for it.
  void hold_again(ParameterId parameter, const ParameterForm& form, std::uint32_t copy, Duration& until) {
    const LayoutMovement* again = facts_.again(facts_.key(parameter, form, copy));
    const bool is_dropped = facts_.is_dropped(parameter, copy);
    Duration last = again != nullptr ? again->end : Duration();
    for (const OperatorId op : facts_.use(parameter).forward) {
      const FormReturn* back = facts_.again(op, copy);
      if (back == nullptr) continue;
      if (is_dropped) last = std::max(last, back->end);
      if (!is_dropped) until = std::max(until, back->end);
    }
    if (again != nullptr) hold(form.devices, again->start, last, form.bytes);
  }

  void hold_repetition(const FormReturn& back) {
    if (back.op.index() >= facts_.graph().operators().size()) return;
    hold(back.devices, back.start, back.end, facts_.option(back.op).workspace.value());
  }

  /// What happens again beside what was dropped, and is not read: it is there while it is made.
  void hold_by_product(TensorId tensor, std::size_t number, std::uint32_t copy) {
    if (facts_.mode(tensor, number, copy) == MemoryMode::kDrop) return;
    const Form& form = facts_.forms(tensor)[number];
    const auto& maker = facts_.graph().at(tensor).producer;
    const auto bytes = facts_.bytes(tensor, form);
    if (form.from) {
      const LayoutMovement* again = facts_.again(form, copy);
      if (again != nullptr) hold(form.parties(), again->start, again->end, bytes);
    } else if (const FormReturn* again = maker ? facts_.again(*maker, copy) : nullptr) {
      hold(again->devices, again->start, again->end, bytes);
    }
  }

  /// Where a form begins to be, as it is made first or as it comes back.
  void find_beginnings(TensorId tensor, std::size_t number, std::uint32_t copy, bool is_back) {
    const Form& form = facts_.forms(tensor)[number];
    stays_.clear();
    const auto begin = [&](std::span<const DeviceId> devices, const auto* run) {
      if (run == nullptr) return;
      for (const DeviceId device : devices) stays_.set(device, {run->start, run->end});
    };
    const auto& maker = facts_.graph().at(tensor).producer;
    if (is_back && facts_.mode(tensor, number, copy) == MemoryMode::kHost) {
      begin(form.devices, facts_.host_copy(false, tensor, number, copy));
    } else if (form.from) {
      begin(form.parties(), is_back ? facts_.again(form, copy) : facts_.movement(form, copy));
    } else if (maker && is_back) {
      begin(form.devices, facts_.again(*maker, copy));
    } else if (maker) {
      begin(form.devices, facts_.run(*maker, copy));
    }
  }

  /// The transfers of a value in one form: of whole ones where they were made, as they came back or not.
  void find_transfers(TensorId tensor, const Form& form, std::uint32_t copy, bool is_back) {
    transfers_.clear();
    const bool is_whole = form.layout.kind == TensorLayout::Kind::kReplicated;
    if (sent_.empty() || !is_whole || !are_same(form.devices, facts_.forms(tensor)[0].devices)) return;
    for (const PlannedTransfer* transfer : std::ranges::equal_range(sent_, std::pair(tensor, copy), {}, sent_value)) {
      if (transfer->again == is_back) transfers_.push_back(transfer);
    }
  }

  /// A value in one form: from when it begins to be made, or to come back, until its last use on each device.
  void hold_form(TensorId tensor, std::size_t number, std::uint32_t copy, bool is_back) {
    const std::span<const Form> forms = facts_.forms(tensor);
    const Form& form = forms[number];
    find_beginnings(tensor, number, copy, is_back);
    const auto& maker = facts_.graph().at(tensor).producer;
    if (maker && stays_.devices().empty()) return;
    const bool returns = !facts_.stays(tensor, number, copy);
    find_transfers(tensor, form, copy, is_back);
    for (const PlannedTransfer* transfer : transfers_) {
      stays_.set(transfer->destination, {transfer->start, transfer->end});
    }
    const auto use = [&](std::span<const DeviceId> devices, const auto* run, bool is_behind) {
      if (run == nullptr || is_back != (is_behind && returns)) return;
      for (const DeviceId device : devices) {
        if (!stays_.on(device)) stays_.set(device, {run->start, run->end});
        Stay& stay = *stays_.on(device);
        if (!maker) stay.from = std::min(stay.from, run->start);
        stay.until = std::max(stay.until, run->end);
      }
    };
    for (const PlannedTransfer* transfer : transfers_) use({&transfer->source, 1}, transfer, is_back);
    use(form.devices, facts_.host_copy(true, tensor, number, copy), false);
    for (const Form& other : forms) {
      if (!other.from || *other.from != number) continue;
      use(form.devices, facts_.movement(other, copy), !other.is_forward);
      use(form.devices, facts_.again(other, copy), true);
    }
    for (const OperatorId reader : facts_.graph().at(tensor).consumers) {
      const std::vector<TensorId>& inputs = facts_.graph().at(reader).inputs;
      const auto position = static_cast<std::size_t>(std::ranges::find(inputs, tensor) - inputs.begin());
      if (facts_.read_form(reader, position) != number) continue;
      const bool reads_all = facts_.is_once(reader) && !facts_.is_made_once(tensor);
      const std::vector<DeviceId>& devices = facts_.option(reader).devices;
      use(devices, facts_.run(reader, reads_all ? 0 : copy), facts_.is_behind(reader));
      if (!facts_.is_once(reader)) use(devices, facts_.again(reader, copy), true);
    }
    const Wide bytes = facts_.bytes(tensor, form);
    open_ = changes_.size();
    for (const DeviceId device : stays_.devices()) {
      hold(device, stays_.on(device)->from, stays_.on(device)->until, bytes);
    }
  }

  void find_peaks() {
    // Half-open: what ends at a moment is gone before what starts then arrives.
    std::ranges::sort(changes_, [](const MemoryChange& a, const MemoryChange& b) {
      return a.time == b.time ? a.bytes < b.bytes : a.time < b.time;
    });
    std::vector<Wide> levels;
    for (MemoryUse& use : use_) levels.push_back(use.peak = use.persistent);
    for (const MemoryChange& change : changes_) {
      for (std::uint32_t d = change.first; d < change.end; ++d) {
        levels[d] += change.bytes;
        use_[d].peak = std::max(use_[d].peak, levels[d]);
      }
    }
  }

  const LayoutFacts& facts_;
  std::vector<MemoryUse> use_;                ///< by device
  std::vector<const PlannedTransfer*> sent_;  // by tensor and copy
  std::vector<MemoryChange> changes_;
  std::size_t open_ = 0;  // changes from here on are of what is held at hand, and may be joined
  Stays stays_;           // of the form at hand
  std::vector<const PlannedTransfer*> transfers_;  // likewise
};

}  // namespace

std::vector<MemoryUse> layout_memory(const LayoutFacts& facts) { return LayoutMemory(facts).take(); }

}  // namespace opweave::checking
