// What runs again and what is copied to hosts, in plans with options: that it is there, where, when and for how long.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "check/layout_facts.h"

namespace opweave::checking {
namespace {

class Returns {
 public:
  Returns(const LayoutFacts& facts, ViolationList& violations) : facts_(facts), violations_(violations) {}

  void check() {
    for (std::size_t i = 0; i < facts_.graph().operators().size(); ++i) {
      for (std::uint32_t copy = 0; copy < facts_.copies(OperatorId(i)); ++copy) check_run(OperatorId(i), copy);
    }
    for (std::size_t t = 0; t < facts_.graph().tensors().size(); ++t) {
      const auto& maker = facts_.graph().tensors()[t].producer;
      if (!maker || facts_.graph().at(*maker).phase != Phase::kForward) continue;
      for (std::size_t f = 0; f < facts_.forms(TensorId(t)).size(); ++f) {
        for (std::uint32_t copy = 0; copy < facts_.microbatches(); ++copy) check_value(TensorId(t), f, copy);
      }
    }
    for (std::size_t p = 0; p < facts_.graph().parameters().size(); ++p) {
      for (const ParameterForm& form : facts_.forms(ParameterId(p))) {
        for (std::uint32_t copy = 0; copy < facts_.microbatches(); ++copy) {
          const bool is_gather = form.moved == Moved::kForwardWeights;
          const MovementKey key = facts_.key(ParameterId(p), form, copy);
          check_movement(facts_.movement(key), facts_.again(key), is_gather && facts_.is_dropped(form.unit, copy),
                         [&] { return facts_.name(key); });
        }
      }
    }
    for (const FormReturn& back : facts_.plan().returns) {
      if (back.kind != MovementKind::kRecompute) require_host_mode(back);
    }
  }

 private:
  template <class Message>
  void require(bool is_so, Rule rule, Message message) {
    if (!is_so) violations_.add(rule, message);
  }

  /// A unit runs again as a whole, or not at all; each task where and after it ran.
  void check_run(OperatorId op, std::uint32_t copy) {
    const bool is_forward = facts_.graph().at(op).phase == Phase::kForward;
    const bool is_expected = is_forward && facts_.is_dropped(facts_.unit(op), copy);
    const FormReturn* again = facts_.again(op, copy);
    require(is_expected == (again != nullptr), Rule::kModes, [&] {
      return fmt::format("task {} {}", facts_.name(op, copy),
                         is_expected ? "does not run again, but a value of its unit is dropped"
                                     : "runs again, but no value of its unit is dropped");
    });
    const PlannedTask* first = facts_.run(op, copy);
    if (again == nullptr || first == nullptr || !is_expected) return;
    const LayoutOption& option = facts_.option(op);
    require(again->devices == option.devices, Rule::kRecompute, [&] {
      return fmt::format("task {} runs again on {}, expected {}", facts_.name(op, copy), facts_.names(again->devices),
                         facts_.names(option.devices));
    });
    require(again->start >= first->end, Rule::kRecompute, [&] {
      return fmt::format("task {} starts again at {} ns, but first ends at {} ns", facts_.name(op, copy),
                         again->start.value(), first->end.value());
    });
    const Wide lasts = Wide{again->end.value()} - again->start.value();
    require(lasts == option.duration.value(), Rule::kOnce, [&] {
      return fmt::format("task {} again lasts {} ns, expected {} ns", facts_.name(op, copy), lasts,
                         option.duration.value());
    });
  }

  void check_value(TensorId tensor, std::size_t number, std::uint32_t copy) {
    const Form& form = facts_.forms(tensor)[number];
    if (form.from) {
      check_movement(facts_.movement(form, copy), facts_.again(form, copy),
                     form.is_forward && facts_.is_dropped(form.unit, copy),
                     [&] { return facts_.name(facts_.key(tensor, form, copy)); });
    }
    if (facts_.mode(tensor, number, copy) != MemoryMode::kHost) return;
    const FormReturn* out = facts_.host_copy(true, tensor, number, copy);
    const FormReturn* in = facts_.host_copy(false, tensor, number, copy);
    if (out == nullptr || in == nullptr) {
      ValueForm value{Moved::kTensor, tensor, {}, {}, form.layout, copy};
      if (form.from) value.target.assign(form.devices.begin(), form.devices.end());
      violations_.add(Rule::kModes, [&] {
        return fmt::format("{} has mode \"host\", but is not copied {}", facts_.name(value),
                           out == nullptr ? "out" : "in");
      });
    }
    if (out != nullptr) check_copy(*out, tensor, form);
    if (in != nullptr) check_copy(*in, tensor, form);
    if (out == nullptr || in == nullptr) return;
    require(in->start >= out->end, Rule::kCopy, [&] {
      return fmt::format("{} starts at {} ns, but it is out at {} ns", facts_.name(*in), in->start.value(),
                         out->end.value());
    });
    std::optional<Duration> made;
    if (form.from) {
      const LayoutMovement* movement = facts_.movement(form, copy);
      if (movement != nullptr) made = movement->end;
    } else if (const PlannedTask* run = facts_.run(*facts_.graph().at(tensor).producer, copy)) {
      made = run->end;
    }
    require(!made || out->start >= *made, Rule::kCopy, [&] {
      return fmt::format("{} starts at {} ns, but it is made at {} ns", facts_.name(*out), out->start.value(),
                         made->value());
    });
  }

  /// A movement happens again with its unit. How long and on which devices, the rule "movement" says.
  template <class Name>
  void check_movement(const LayoutMovement* first, const LayoutMovement* again, bool is_expected, const Name& name) {
    require(is_expected == (again != nullptr), Rule::kModes, [&] {
      return fmt::format("{} {}", name(),
                         is_expected ? "does not happen again, but a value of its unit is dropped"
                                     : "happens again, but no value of its unit is dropped");
    });
    if (again == nullptr || first == nullptr) return;
    require(again->start >= first->end, Rule::kRecompute, [&] {
      return fmt::format("{} starts again at {} ns, but first ends at {} ns", name(), again->start.value(),
                         first->end.value());
    });
  }

  void check_copy(const FormReturn& copy, TensorId tensor, const Form& form) {
    require(are_same(copy.devices, form.devices), Rule::kCopy, [&] {
      return fmt::format("{} is on {}, expected {}", facts_.name(copy), facts_.names(copy.devices),
                         facts_.names(form.devices));
    });
    const Wide bytes = facts_.bytes(tensor, form);
    std::optional<Wide> expected = 0;
    for (const DeviceId device : copy.devices) {
      const std::string& type = facts_.cluster().at(device).type;
      const auto found = std::ranges::find(facts_.cluster().types(), type, &DeviceType::name);
      if (found == facts_.cluster().types().end() || !found->host_link) {
        expected.reset();
        break;
      }
      Wide lasts = found->host_link->latency.value();
      if (const auto bandwidth = found->host_link->bandwidth_bytes_per_s) {
        lasts += rounded_up(bytes * 1'000'000'000, *bandwidth);
      }
      expected = std::max(*expected, lasts);
    }
    const Wide lasts = Wide{copy.end.value()} - copy.start.value();
    require(expected && lasts == *expected, Rule::kCopy, [&] {
      return expected ? fmt::format("{} lasts {} ns, expected {} ns", facts_.name(copy), lasts, *expected)
                      : fmt::format("{}: {} has no host", facts_.name(copy), facts_.names(copy.devices));
    });
  }

  void require_host_mode(const FormReturn& copy) {
    const auto form = facts_.form_of(copy.value);
    if (!form) return;
    require(facts_.mode(copy.value.tensor, *form, copy.value.copy) == MemoryMode::kHost, Rule::kModes, [&] {
      return fmt::format("{} at {} ns, but its mode is not \"host\"", facts_.name(copy), copy.start.value());
    });
  }

  const LayoutFacts& facts_;
  ViolationList& violations_;
};

/// A value is on a host from the start of its copy out to the end of its copy in.
std::vector<Wide> host_peaks_of(const LayoutFacts& facts) {
  struct HostChange {
    DeviceId device;
    Duration time;
    std::int64_t bytes;
    auto operator<=>(const HostChange&) const = default;
  };
  std::vector<HostChange> changes;
  for (const FormReturn& copy : facts.plan().returns) {
    const auto form = copy.kind == MovementKind::kRecompute ? std::nullopt : facts.form_of(copy.value);
    if (!form) continue;
    const bool is_out = copy.kind == MovementKind::kCopyOut;
    const auto bytes = static_cast<std::int64_t>(facts.bytes(copy.value.tensor, facts.forms(copy.value.tensor)[*form]));
    for (const DeviceId device : copy.devices) {
      if (device.index() >= facts.cluster().device_count()) continue;
      changes.push_back({device, is_out ? copy.start : copy.end, is_out ? bytes : -bytes});
    }
  }
  std::sort(changes.begin(), changes.end());
  std::vector<Wide> peaks(facts.cluster().device_count(), 0);
  std::vector<Wide> levels(peaks.size(), 0);
  for (const HostChange& change : changes) {
    Wide& level = levels[change.device.index()];
    level += change.bytes;
    peaks[change.device.index()] = std::max(peaks[change.device.index()], level);
  }
  return peaks;
}

}  // namespace

std::vector<Wide> check_layout_returns(const LayoutFacts& facts, ViolationList& violations) {
  Returns(facts, violations).check();
  std::vector<Wide> peaks = host_peaks_of(facts);
  for (std::size_t d = 0; d < peaks.size(); ++d) {
    const std::optional<Bytes> capacity = facts.cluster().devices()[d].host_memory;
    if (!capacity || peaks[d] <= capacity->value()) continue;
    violations.add(Rule::kHostMemory, [&] {
      return fmt::format("host of device {} holds {} bytes, expected at most {}", facts.name(DeviceId(d)), peaks[d],
                         capacity->value());
    });
  }
  return peaks;
}

}  // namespace opweave::checking
