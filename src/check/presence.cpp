#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "check/rules.h"

namespace opweave::checking {
namespace {

/// A copy of a tensor on a device where it is made or sent to.
struct Residence {
  std::size_t value = 0;
  TensorId tensor;
  DeviceId device;
  bool sent = false;  // else made there
  Duration from;
  Duration available;
  Duration until;
  std::size_t transfer = 0;
  bool used = false;
  bool repeated = false;  // an earlier residence of the same copy on the same device counts instead
};

class PresenceCheck {
 public:
  PresenceCheck(const Reading& reading, ViolationList& violations) : reading_(reading), violations_(violations) {}

  std::vector<Hold> check() {
    settle();
    find_repeats();
    for (const HostCopy& copy : reading_.host_copies()) {
      if (!copy.is_out) continue;
      for (const DeviceId device : copy.devices) {
        Residence* source = find(copy.value, device);
        if (source != nullptr) source->until = std::max(source->until, copy.end);
      }
    }
    for (const KnownTransfer& transfer : reading_.transfers()) {
      Residence* source = find(carried(transfer), transfer.source);
      if (source != nullptr && !source->sent) source->until = std::max(source->until, transfer.end);
    }
    for (const Run& run : reading_.runs()) {
      if (run.present) consume_inputs(run);
    }
    find_idle_transfers();
    check_order();
    collect_holds();
    return std::move(holds_);
  }

 private:
  /// The value that a transfer carries: as it was made first, or as it came back.
  [[nodiscard]] std::size_t carried(const KnownTransfer& transfer) const {
    return transfer.again ? reading_.come_back(transfer.value) : transfer.value;
  }

  void settle() {
    for (const Run& run : reading_.runs()) {
      if (!run.present) continue;
      for (const TensorId output : reading_.graph().at(run.op).outputs) {
        std::size_t value = reading_.value(output, run.copy);
        const bool is_wanted = !run.again || reading_.mode(value) == MemoryMode::kDrop;
        if (run.again) value = reading_.come_back(value);
        for (const DeviceId device : run.devices) {
          if (is_wanted) {
            residences_.push_back({value, output, device, false, run.start, run.end, run.end, 0, false, false});
          } else {
            // Made again beside what was dropped, and not read: it goes as soon as it is there.
            holds_.push_back({device, run.start, run.end, reading_.graph().at(output).size});
          }
        }
      }
    }
    for (const HostCopy& copy : reading_.host_copies()) {
      if (copy.is_out) continue;
      for (const DeviceId device : copy.devices) {
        const std::size_t value = reading_.come_back(copy.value);
        residences_.push_back({value, copy.tensor, device, false, copy.start, copy.end, copy.end, 0, false, false});
      }
    }
    for (std::size_t i = 0; i < reading_.transfers().size(); ++i) {
      const KnownTransfer& transfer = reading_.transfers()[i];
      if (!reading_.graph().at(transfer.tensor).producer) {
        violations_.add(Rule::kPresence, [&] {
          return fmt::format("tensor {} is sent to {}, but it is an input of the graph and present everywhere",
                             reading_.name(transfer.tensor, transfer.copy), reading_.name(transfer.destination));
        });
        continue;
      }
      residences_.push_back({carried(transfer), transfer.tensor, transfer.destination, true, transfer.start,
                             transfer.end, transfer.end, i, false, false});
    }
    std::sort(residences_.begin(), residences_.end(), [](const Residence& a, const Residence& b) {
      return std::tie(a.value, a.device, a.sent, a.from, a.transfer) <
             std::tie(b.value, b.device, b.sent, b.from, b.transfer);
    });
    first_.assign(reading_.come_back(reading_.value_count()) + 1, 0);
    for (const Residence& residence : residences_) ++first_[residence.value + 1];
    for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
  }

  void find_repeats() {
    for (std::size_t i = 1; i < residences_.size(); ++i) {
      Residence& residence = residences_[i];
      const Residence& before = residences_[i - 1];
      if (residence.value != before.value || residence.device != before.device) continue;
      residence.repeated = true;
      if (!residence.sent) continue;  // copied back twice, of which rule "modes" speaks
      const KnownTransfer& transfer = reading_.transfers()[residence.transfer];
      violations_.add(Rule::kPresence, [&] {
        return fmt::format("tensor {} is sent to {} at {} ns, but {}", reading_.name(transfer.tensor, transfer.copy),
                           reading_.name(residence.device), transfer.start.value(),
                           before.sent ? "it is already sent there at " + std::to_string(before.from.value()) + " ns"
                                       : std::string("it is made there"));
      });
    }
  }

  Residence* find(std::size_t value, DeviceId device) {
    const auto begin = residences_.begin() + static_cast<std::ptrdiff_t>(first_[value]);
    const auto end = residences_.begin() + static_cast<std::ptrdiff_t>(first_[value + 1]);
    const auto found =
        std::lower_bound(begin, end, device, [](const Residence& r, DeviceId wanted) { return r.device < wanted; });
    return found != end && found->device == device ? &*found : nullptr;
  }

  void consume_inputs(const Run& run) {
    for (const TensorId input : reading_.graph().at(run.op).inputs) {
      reading_.for_each_consumed_copy(run, input, [&](std::uint32_t copy) { consume(run, input, copy); });
    }
  }

  void consume(const Run& run, TensorId input, std::uint32_t copy) {
    std::size_t value = reading_.value(input, copy);
    const Run* maker = reading_.maker(input, copy);
    const bool reads_again = maker != nullptr && reading_.reads_again(run, value);
    // Of what does not come back at all, rule "modes" has spoken.
    const bool may_come =
        !reads_again || reading_.mode(value) == MemoryMode::kHost || reading_.again(*maker) != nullptr;
    if (reads_again) value = reading_.come_back(value);
    for (const DeviceId device : run.devices) {
      if (maker == nullptr) {
        graph_inputs_.push_back({value, input, device, run.start, run.end});
        continue;
      }
      Residence* residence = find(value, device);
      if (residence == nullptr) {
        // Of a producer that never runs, rule 1 has spoken.
        if (!maker->present || !may_come) continue;
        violations_.add(Rule::kPresence, [&] {
          return fmt::format("task {} on {} lacks its input {}, which {} makes on {} and nobody sends",  //
                             reading_.name(run), reading_.name(device), reading_.name(input, copy),
                             reading_.name(*maker), reading_.names(maker->devices));
        });
        continue;
      }
      residence->used = true;
      residence->until = std::max(residence->until, run.end);
      if (run.start < residence->available) {
        violations_.add(Rule::kPresence, [&] {
          return fmt::format("task {} on {} starts at {} ns, but its input {} {} at {} ns", reading_.name(run),
                             reading_.name(device), run.start.value(), reading_.name(input, copy),
                             residence->sent ? "arrives" : "is made", residence->available.value());
        });
      }
    }
  }

  void find_idle_transfers() {
    for (const Residence& residence : residences_) {
      if (!residence.sent || residence.used || residence.repeated) continue;
      const KnownTransfer& transfer = reading_.transfers()[residence.transfer];
      violations_.add(Rule::kPresence, [&] {
        return fmt::format("tensor {} is sent to {} at {} ns, but nothing consumes it there",
                           reading_.name(transfer.tensor, transfer.copy), reading_.name(residence.device),
                           transfer.start.value());
      });
    }
  }

  /// The copy of an operator that ends last.
  const Run* last_of(OperatorId op) const {
    const Run* last = nullptr;
    for (const Run& run : reading_.runs_of(op)) {
      if (run.present && (last == nullptr || run.end > last->end)) last = &run;
    }
    return last;
  }

  static const Run* later(const Run* a, const Run* b) {
    if (a == nullptr || b == nullptr) return a == nullptr ? b : a;
    return b->end > a->end ? b : a;
  }

  void require_before(const Run* earlier, const Run& run) {
    if (earlier == nullptr || !earlier->present || !run.present || earlier->end <= run.start) return;
    violations_.add(Rule::kPresence, [&] {
      return fmt::format("task {} starts at {} ns, but {}, which must come before it, ends at {} ns",
                         reading_.name(run), run.start.value(), reading_.name(*earlier), earlier->end.value());
    });
  }

  /// Control edges: those of the graph, and optimizer operators after the gradients that they apply.
  void check_order() {
    const std::vector<Operator>& operators = reading_.graph().operators();
    const Run* last_gradient = nullptr;
    std::vector<const Run*> last_gradient_of(reading_.graph().parameters().size(), nullptr);
    for (std::size_t i = 0; i < operators.size(); ++i) {
      if (operators[i].phase != Phase::kWeightGradient && operators[i].phase != Phase::kBackward) continue;
      const Run* last = last_of(OperatorId(i));
      last_gradient = later(last_gradient, last);
      for (const ParameterId parameter : operators[i].parameters) {
        last_gradient_of[parameter.index()] = later(last_gradient_of[parameter.index()], last);
      }
    }
    for (std::size_t i = 0; i < operators.size(); ++i) {
      const OperatorId op(i);
      for (const OperatorId earlier : operators[i].after) {
        const bool whole_iteration = reading_.per_replica(op) && !reading_.per_replica(earlier);
        const Run* last = whole_iteration ? last_of(earlier) : nullptr;
        for (const Run& run : reading_.runs_of(op)) {
          require_before(whole_iteration ? last : &reading_.run(earlier, run.copy), run);
        }
      }
      if (!reading_.per_replica(op)) continue;
      for (const Run& run : reading_.runs_of(op)) {
        if (operators[i].parameters.empty()) require_before(last_gradient, run);
        for (const ParameterId parameter : operators[i].parameters) {
          require_before(last_gradient_of[parameter.index()], run);
        }
      }
    }
  }

  void collect_holds() {
    for (const Residence& residence : residences_) {
      if (residence.repeated) continue;
      holds_.push_back({residence.device, residence.from, residence.until, reading_.graph().at(residence.tensor).size});
    }
    std::sort(graph_inputs_.begin(), graph_inputs_.end(), [](const Use& a, const Use& b) {
      return std::tie(a.value, a.device, a.start) < std::tie(b.value, b.device, b.start);
    });
    for (std::size_t i = 0; i < graph_inputs_.size();) {
      const Use& first = graph_inputs_[i];
      Duration until = first.end;
      for (;
           i < graph_inputs_.size() && graph_inputs_[i].value == first.value && graph_inputs_[i].device == first.device;
           ++i) {
        until = std::max(until, graph_inputs_[i].end);
      }
      holds_.push_back({first.device, first.start, until, reading_.graph().at(first.tensor).size});
    }
  }

  /// A run that reads an input of the graph.
  struct Use {
    std::size_t value = 0;
    TensorId tensor;
    DeviceId device;
    Duration start;
    Duration end;
  };

  const Reading& reading_;
  ViolationList& violations_;
  std::vector<Residence> residences_;  // by value, device
  std::vector<std::size_t> first_;     // of each value in residences_
  std::vector<Use> graph_inputs_;
  std::vector<Hold> holds_;
};

}  // namespace

std::vector<Hold> check_presence(const Reading& reading, ViolationList& violations) {
  return PresenceCheck(reading, violations).check();
}

}  // namespace opweave::checking
