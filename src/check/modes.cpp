#include <fmt/format.h>

#include <algorithm>

#include "check/rules.h"

namespace opweave::checking {
namespace {

/// latency + ceil(bytes / bandwidth) of the slowest of the devices; nothing if one of them has no host.
std::optional<Wide> copy_lasts(const Reading& reading, const HostCopy& copy) {
  const Wide bytes = reading.graph().at(copy.tensor).size.value();
  Wide longest = 0;
  for (const DeviceId device : copy.devices) {
    const std::string& type = reading.cluster().at(device).type;
    const auto found = std::ranges::find(reading.cluster().types(), type, &DeviceType::name);
    if (found == reading.cluster().types().end() || !found->host_link) return std::nullopt;
    Wide lasts = found->host_link->latency.value();
    if (const auto bandwidth = found->host_link->bandwidth_bytes_per_s) {
      lasts += (bytes * 1'000'000'000 + *bandwidth - 1) / *bandwidth;
    }
    longest = std::max(longest, lasts);
  }
  return longest;
}

class ModesCheck {
 public:
  ModesCheck(const Reading& reading, ViolationList& violations)
      : reading_(reading),
        violations_(violations),
        is_dropped_(reading.unit_count(), false),
        unit_end_(reading.unit_count()),
        out_(reading.value_count(), nullptr),
        in_(reading.value_count(), nullptr) {}

  void check() {
    const Plan& plan = reading_.plan();
    if (plan.modes.empty() && plan.movements.empty()) return;
    if (plan.settings.blocks != Blocks::kNone) {
      violations_.add(Rule::kModes,
                      [] { return std::string("plan has memory modes and blocks, expected one of them"); });
    }
    for (const PlannedMode& mode : plan.modes) {
      if (mode.tensor.index() < reading_.graph().tensors().size() && mode.copy < reading_.copies(mode.tensor)) {
        check_mode(mode);
      }
    }
    check_units();
    check_readers();
    check_updates();
    for (const HostCopy& copy : reading_.host_copies()) check_copy(copy);
    check_copies_are_there();
  }

 private:
  void check_mode(const PlannedMode& planned) {
    const MemoryModes allowed = reading_.graph().memory_modes(planned.tensor, reading_.plan().settings.memory_modes);
    if (!allowed.allows(planned.mode)) {
      violations_.add(Rule::kModes, [&] {
        return fmt::format("tensor {} has mode \"{}\", which it may not have",
                           reading_.name(planned.tensor, planned.copy), to_string(planned.mode));
      });
      return;
    }
    if (planned.mode == MemoryMode::kDrop) {
      is_dropped_[reading_.unit(*reading_.maker(planned.tensor, planned.copy))] = true;
    }
  }

  /// A unit runs again as a whole, or not at all; each task where and after it ran.
  void check_units() {
    for (std::size_t i = 0; i < reading_.graph().operators().size(); ++i) {
      const Operator& op = reading_.graph().operators()[i];
      for (const Run& run : reading_.runs_of(OperatorId(i))) {
        const Run* again = reading_.again(run);
        const bool expected = op.phase == Phase::kForward && is_dropped_[reading_.unit(run)];
        if (expected != (again != nullptr)) {
          violations_.add(Rule::kModes, [&] {
            return fmt::format("task {} {}", reading_.name(run),
                               expected ? "does not run again, but a value of its unit is dropped"
                                        : "runs again, but no value of its unit is dropped");
          });
        }
        if (again == nullptr || !expected) continue;
        check_again(run, *again);
      }
    }
  }

  void check_again(const Run& run, const Run& again) {
    Duration& end = unit_end_[reading_.unit(run)];
    end = std::max(end, again.end);
    if (!run.present) return;
    if (!std::ranges::equal(run.devices, again.devices)) {
      violations_.add(Rule::kRecompute, [&] {
        return fmt::format("task {} runs again on {}, expected {}", reading_.name(run), reading_.names(again.devices),
                           reading_.names(run.devices));
      });
    }
    if (again.start < run.end) {
      violations_.add(Rule::kRecompute, [&] {
        return fmt::format("task {} starts again at {} ns, but first ends at {} ns", reading_.name(run),
                           again.start.value(), run.end.value());
      });
    }
    for (const OperatorId earlier : reading_.graph().at(run.op).after) {
      if (reading_.graph().at(earlier).phase != Phase::kForward) continue;
      const Run& before = reading_.run(earlier, run.copy);
      const Run* before_again = reading_.again(before);
      if (before_again == nullptr || reading_.unit(before) != reading_.unit(run)) continue;
      require_after(Rule::kRecompute, again, *before_again);
    }
  }

  void require_after(Rule rule, const Run& run, const Run& earlier) {
    if (run.start >= earlier.end) return;
    violations_.add(rule, [&] {
      return fmt::format("task {}{} starts at {} ns, but {} again ends at {} ns", reading_.name(run),
                         run.again ? " again" : "", run.start.value(), reading_.name(earlier), earlier.end.value());
    });
  }

  /// What is dropped is back when all of its unit has run again.
  void check_readers() {
    for (const Run& run : reading_.runs()) {
      if (!run.present) continue;
      for (const TensorId input : reading_.graph().at(run.op).inputs) {
        reading_.for_each_consumed_copy(run, input, [&](std::uint32_t copy) {
          const std::size_t value = reading_.value(input, copy);
          if (reading_.mode(value) != MemoryMode::kDrop || !reading_.reads_again(run, value)) return;
          const Run* maker = reading_.maker(input, copy);
          if (maker == nullptr || reading_.graph().at(maker->op).phase != Phase::kForward) return;
          const std::size_t unit = reading_.unit(*maker);
          if (run.again && reading_.unit(run) == unit) return;
          if (run.start >= unit_end_[unit]) return;
          violations_.add(Rule::kRecompute, [&] {
            return fmt::format("task {}{} starts at {} ns, but the unit that makes its input {} again ends at {} ns",
                               reading_.name(run), run.again ? " again" : "", run.start.value(),
                               reading_.name(input, copy), unit_end_[unit].value());
          });
        });
      }
    }
  }

  /// What runs again reads its parameters as they were.
  void check_updates() {
    std::vector<const Run*> last_reader(reading_.graph().parameters().size(), nullptr);
    const Run* last = nullptr;
    const auto keep_later = [](const Run*& kept, const Run& other) {
      if (kept == nullptr || kept->end < other.end) kept = &other;
    };
    for (const Run& again : reading_.runs_again()) {
      keep_later(last, again);
      for (const ParameterId parameter : reading_.graph().at(again.op).parameters) {
        keep_later(last_reader[parameter.index()], again);
      }
    }
    if (last == nullptr) return;
    for (const Run& run : reading_.runs()) {
      if (!run.present || !reading_.per_replica(run.op)) continue;
      const std::vector<ParameterId>& parameters = reading_.graph().at(run.op).parameters;
      if (parameters.empty()) require_after(Rule::kRecompute, run, *last);
      for (const ParameterId parameter : parameters) {
        const Run* reader = last_reader[parameter.index()];
        if (reader != nullptr) require_after(Rule::kRecompute, run, *reader);
      }
    }
  }

  [[nodiscard]] std::string describe(const HostCopy& copy) const {
    return fmt::format("copy of {} {}", reading_.name(copy.tensor, copy.copy), copy.is_out ? "out" : "in");
  }

  void check_copy(const HostCopy& copy) {
    const HostCopy*& known = (copy.is_out ? out_ : in_)[copy.value];
    if (reading_.mode(copy.value) != MemoryMode::kHost || known != nullptr) {
      violations_.add(Rule::kModes, [&] {
        return fmt::format("{} at {} ns, but {}", describe(copy), copy.start.value(),
                           known != nullptr ? "it is copied twice" : "its mode is not \"host\"");
      });
      return;
    }
    known = &copy;
    const Run* maker = reading_.maker(copy.tensor, copy.copy);
    if (maker == nullptr || !maker->present) return;
    if (!std::ranges::equal(maker->devices, copy.devices)) {
      violations_.add(Rule::kCopy, [&] {
        return fmt::format("{} is on {}, expected {}", describe(copy), reading_.names(copy.devices),
                           reading_.names(maker->devices));
      });
    }
    if (copy.is_out && copy.start < maker->end) {
      violations_.add(Rule::kCopy, [&] {
        return fmt::format("{} starts at {} ns, but {} makes it at {} ns", describe(copy), copy.start.value(),
                           reading_.name(*maker), maker->end.value());
      });
    }
    const std::optional<Wide> expected = copy_lasts(reading_, copy);
    const Wide lasts = Wide{copy.end.value()} - copy.start.value();
    if (expected && lasts == *expected) return;
    violations_.add(Rule::kCopy, [&] {
      return expected ? fmt::format("{} lasts {} ns, expected {} ns", describe(copy), lasts, *expected)
                      : fmt::format("{}: {} has no host", describe(copy), reading_.names(copy.devices));
    });
  }

  void check_copies_are_there() {
    for (const PlannedMode& planned : reading_.plan().modes) {
      if (planned.mode != MemoryMode::kHost || planned.tensor.index() >= reading_.graph().tensors().size() ||
          planned.copy >= reading_.copies(planned.tensor)) {
        continue;
      }
      const std::size_t value = reading_.value(planned.tensor, planned.copy);
      if (out_[value] == nullptr || in_[value] == nullptr) {
        violations_.add(Rule::kModes, [&] {
          return fmt::format("tensor {} has mode \"host\", but is not copied {}",
                             reading_.name(planned.tensor, planned.copy), out_[value] == nullptr ? "out" : "in");
        });
        continue;
      }
      if (in_[value]->start >= out_[value]->end) continue;
      violations_.add(Rule::kCopy, [&] {
        return fmt::format("{} starts at {} ns, but it is out at {} ns", describe(*in_[value]),
                           in_[value]->start.value(), out_[value]->end.value());
      });
    }
  }

  const Reading& reading_;
  ViolationList& violations_;
  std::vector<bool> is_dropped_;      // by unit
  std::vector<Duration> unit_end_;    // by unit: when all of it has run again
  std::vector<const HostCopy*> out_;  // by value
  std::vector<const HostCopy*> in_;   // by value
};

}  // namespace

void check_modes(const Reading& reading, ViolationList& violations) { ModesCheck(reading, violations).check(); }

std::vector<Wide> check_host_memory(const Reading& reading, ViolationList& violations) {
  struct Change {
    DeviceId device;
    Duration time;
    std::int64_t bytes;
    auto operator<=>(const Change&) const = default;
  };
  // A value is on a host from the start of its copy out to the end of its copy in.
  std::vector<Change> changes;
  for (const HostCopy& copy : reading.host_copies()) {
    const std::int64_t bytes = reading.graph().at(copy.tensor).size.value();
    for (const DeviceId device : copy.devices) {
      changes.push_back({device, copy.is_out ? copy.start : copy.end, copy.is_out ? bytes : -bytes});
    }
  }
  std::sort(changes.begin(), changes.end());
  std::vector<Wide> peaks(reading.cluster().device_count(), 0);
  std::vector<Wide> levels(peaks.size(), 0);
  for (const Change& change : changes) {
    Wide& level = levels[change.device.index()];
    level += change.bytes;
    peaks[change.device.index()] = std::max(peaks[change.device.index()], level);
  }
  for (std::size_t d = 0; d < peaks.size(); ++d) {
    const std::optional<Bytes> capacity = reading.cluster().devices()[d].host_memory;
    if (!capacity || peaks[d] <= capacity->value()) continue;
    violations.add(Rule::kHostMemory, [&] {
      return fmt::format("host of device {} holds {} bytes, expected at most {}", reading.name(DeviceId(d)), peaks[d],
                         capacity->value());
    });
  }
  return peaks;
}

}  // namespace opweave::checking
