#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "check/layout_facts.h"
#include "check/occupation.h"

namespace opweave::checking {
namespace {

/// Something that holds streams of devices.
struct Holder {
  const std::vector<std::string>* streams;
  const std::vector<DeviceId>* devices;
  Duration start;
  Duration end;
  std::string name;
};

std::vector<Holder> holders_of(const LayoutFacts& facts, const std::vector<std::string>& movement_streams) {
  std::vector<Holder> result;
  for (const PlannedTask& task : facts.plan().plan.tasks) {
    result.push_back({&facts.graph().at(task.op).streams, &task.devices, task.start, task.end,
                      "task " + facts.name(task.op, task.copy)});
  }
  for (const LayoutMovement& movement : facts.plan().movements) {
    result.push_back({&movement_streams, &movement.devices, movement.start, movement.end, facts.name(movement.key)});
  }
  return result;
}

struct Change {
  DeviceId device;
  Duration time;
  Wide bytes;
};

/// Memory over time, by the stays of docs/layouts.md.
class LayoutMemory {
 public:
  explicit LayoutMemory(const LayoutFacts& facts)
      : facts_(facts), persistent_(facts.cluster().device_count(), 0), peaks_(persistent_) {
    for (const PlannedTransfer& transfer : facts.plan().plan.transfers) {
      sent_[{transfer.tensor, transfer.copy}].push_back(&transfer);
    }
    for (std::size_t p = 0; p < facts.graph().parameters().size(); ++p) hold_parameter(ParameterId(p));
    for (const PlannedTask& task : facts.plan().plan.tasks) {
      hold(task.devices, task.start, task.end, facts.option(task.op).workspace.value());
    }
    for (std::size_t t = 0; t < facts.graph().tensors().size(); ++t) {
      const TensorId tensor(t);
      const std::uint32_t copies = facts.is_made_once(tensor) ? 1 : facts.microbatches();
      for (std::size_t f = 0; f < facts.forms(tensor).size(); ++f) {
        for (std::uint32_t copy = 0; copy < copies; ++copy) hold_form(tensor, f, copy);
      }
    }
    find_peaks();
  }

  [[nodiscard]] const std::vector<Wide>& persistent() const { return persistent_; }
  [[nodiscard]] const std::vector<Wide>& peaks() const { return peaks_; }

 private:
  struct Stay {
    Duration from;
    Duration until;
  };

  void hold(const std::vector<DeviceId>& devices, Duration from, Duration until, Wide bytes) {
    if (from >= until || bytes == 0) return;
    for (const DeviceId device : devices) {
      changes_.push_back({device, from, bytes});
      changes_.push_back({device, until, -bytes});
    }
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
    for (const DeviceId device : use.devices) persistent_[device.index()] += bytes;
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
        hold(form.devices, stay.from, stay.until, form.bytes);
      }
    }
  }

  /// A value in one form: from when it begins to be made until its last use on each device.
  void hold_form(TensorId tensor, std::size_t number, std::uint32_t copy) {
    const std::vector<Form>& forms = facts_.forms(tensor);
    const Form& form = forms[number];
    std::map<DeviceId, Stay> stays;
    const auto& maker = facts_.graph().at(tensor).producer;
    if (form.from) {
      const LayoutMovement* movement = facts_.movement(facts_.key(tensor, form, copy));
      if (movement == nullptr) return;
      for (const DeviceId device : form.parties) stays[device] = {movement->start, movement->end};
    } else if (maker) {
      const PlannedTask* run = facts_.run(*maker, copy);
      if (run == nullptr) return;
      for (const DeviceId device : form.devices) stays[device] = {run->start, run->end};
    }
    const bool is_sent = form.layout.kind == TensorLayout::Kind::kReplicated && form.devices == forms[0].devices;
    const auto found = sent_.find({tensor, copy});
    const std::vector<const PlannedTransfer*> transfers =
        is_sent && found != sent_.end() ? found->second : std::vector<const PlannedTransfer*>();
    for (const PlannedTransfer* transfer : transfers) stays[transfer->destination] = {transfer->start, transfer->end};
    const auto use = [&](DeviceId device, Duration start, Duration end) {
      const auto [place, is_new] = stays.try_emplace(device, Stay{start, end});
      if (!is_new && !maker) place->second.from = std::min(place->second.from, start);
      place->second.until = std::max(place->second.until, end);
    };
    for (const PlannedTransfer* transfer : transfers) use(transfer->source, transfer->start, transfer->end);
    for (const Form& other : forms) {
      if (!other.from || *other.from != number) continue;
      const LayoutMovement* movement = facts_.movement(facts_.key(tensor, other, copy));
      if (movement == nullptr) continue;
      for (const DeviceId device : form.devices) use(device, movement->start, movement->end);
    }
    for (const OperatorId reader : facts_.graph().at(tensor).consumers) {
      const std::vector<TensorId>& inputs = facts_.graph().at(reader).inputs;
      const auto position = static_cast<std::size_t>(std::ranges::find(inputs, tensor) - inputs.begin());
      if (facts_.read_form(reader, position) != number) continue;
      const bool reads_all = facts_.is_once(reader) && !facts_.is_made_once(tensor);
      const PlannedTask* run = facts_.run(reader, reads_all ? 0 : copy);
      if (run == nullptr) continue;
      for (const DeviceId device : facts_.option(reader).devices) use(device, run->start, run->end);
    }
    const Wide whole = facts_.graph().at(tensor).size.value();
    const bool is_part = form.layout.kind == TensorLayout::Kind::kSharded;
    const Wide bytes = is_part ? rounded_up(whole, static_cast<std::int64_t>(form.devices.size())) : whole;
    for (const auto& [device, stay] : stays) hold({device}, stay.from, stay.until, bytes);
  }

  void find_peaks() {
    // Half-open: what ends at a moment is gone before what starts then arrives.
    std::ranges::sort(changes_, [](const Change& a, const Change& b) {
      return std::tie(a.device, a.time, a.bytes) < std::tie(b.device, b.time, b.bytes);
    });
    auto change = changes_.begin();
    for (std::size_t d = 0; d < peaks_.size(); ++d) {
      Wide level = peaks_[d] = persistent_[d];
      for (; change != changes_.end() && change->device == DeviceId(d); ++change) {
        level += change->bytes;
        peaks_[d] = std::max(peaks_[d], level);
      }
    }
  }

  const LayoutFacts& facts_;
  std::vector<Wide> persistent_;
  std::vector<Wide> peaks_;
  std::map<std::pair<TensorId, std::uint32_t>, std::vector<const PlannedTransfer*>> sent_;
  std::vector<Change> changes_;
};

class LayoutFigures {
 public:
  LayoutFigures(const LayoutFacts& facts, ViolationList& violations)
      : facts_(facts), violations_(violations), streams_{facts.options().movement_stream}, memory_(facts) {}

  void check() {
    check_memory();
    check_claims();
    check_devices();
  }

 private:
  [[nodiscard]] const Plan& plan() const { return facts_.plan().plan; }

  template <class Value>
  void require(const std::string& what, Value stated, Wide expected) {
    if (Wide{stated} == expected) return;
    violations_.add(Rule::kFigures, [&] { return fmt::format("{} is {}, expected {}", what, stated, expected); });
  }

  void require_near(const std::string& what, double stated, double expected) {
    constexpr double kTolerance = 1e-9;
    if (std::abs(stated - expected) <= kTolerance) return;
    violations_.add(Rule::kFigures, [&] { return fmt::format("{} is {}, expected {}", what, stated, expected); });
  }

  void check_memory() {
    for (std::size_t d = 0; d < memory_.peaks().size(); ++d) {
      const std::optional<Bytes> limit = plan().settings.memory_limit;
      const std::optional<Bytes> capacity = limit ? limit : facts_.cluster().devices()[d].memory;
      if (!capacity || memory_.peaks()[d] <= capacity->value()) continue;
      violations_.add(Rule::kMemory, [&] {
        return fmt::format("memory of device {} reaches {} bytes ({} of them parameters), expected at most {}",
                           facts_.name(DeviceId(d)), memory_.peaks()[d], memory_.persistent()[d], capacity->value());
      });
    }
  }

  void check_claims() {
    const auto require_name = [&](const char* what, const std::string& stated, const std::string& given) {
      if (stated == given) return;
      violations_.add(Rule::kFigures,
                      [&] { return fmt::format("plan is for {} \"{}\", checked with \"{}\"", what, stated, given); });
    };
    require_name("graph", plan().graph_name, facts_.graph().name());
    require_name("cluster", plan().cluster_name, facts_.cluster().name());
    const std::vector<Holder> holders = holders_of(facts_, streams_);
    for (const Holder& holder : holders) makespan_ = std::max(makespan_, Wide{holder.end.value()});
    require("makespan_ns", plan().statistics.makespan.value(), makespan_);
    Wide best = 0;
    for (const LowerBound& bound : plan().bounds) {
      best = std::max(best, Wide{bound.value.value()});
      if (bound.value.value() <= makespan_) continue;
      violations_.add(Rule::kFigures, [&] {
        return fmt::format("lower bound \"{}\" is {} ns, above the makespan {} ns", bound.name, bound.value.value(),
                           makespan_);
      });
    }
    if (plan().status == PlanStatus::kOptimal && best != makespan_) {
      violations_.add(Rule::kFigures, [&] {
        return fmt::format("status is \"optimal\", but the lower bound {} ns is not the makespan {} ns", best,
                           makespan_);
      });
    }
    if (!plan().objectives.empty() || plan().deadline || !plan().modes.empty() || !plan().movements.empty()) {
      violations_.add(Rule::kFigures, [] { return std::string("plan has a goal or memory modes, expected neither"); });
    }
    std::map<std::pair<std::string_view, DeviceId>, Wide> loads;
    for (const Holder& holder : holders) {
      for (const std::string& stream : *holder.streams) {
        for (const DeviceId device : *holder.devices) {
          loads[{stream, device}] += Wide{holder.end.value()} - holder.start.value();
        }
      }
    }
    Wide largest = 0;
    for (const auto& [stream, load] : loads) largest = std::max(largest, load);
    require("period_ns", plan().statistics.period.value(), rounded_up(largest, facts_.microbatches()));
    std::size_t homes = 0;
    for (std::size_t p = 0; p < facts_.graph().parameters().size(); ++p) {
      homes = std::max(homes, facts_.use(ParameterId(p)).devices.size());
    }
    require("parameter_copies", plan().statistics.parameter_copies, Wide{homes});
  }

  void check_devices() {
    const std::size_t count = facts_.cluster().device_count();
    std::vector<std::vector<std::pair<Duration, Duration>>> spans(count);
    const std::vector<Holder> holders = holders_of(facts_, streams_);
    for (const Holder& holder : holders) {
      if (std::ranges::find(*holder.streams, "compute") == holder.streams->end()) continue;
      for (const DeviceId device : *holder.devices) spans[device.index()].emplace_back(holder.start, holder.end);
    }
    std::vector<Wide> sent(count, 0);
    std::vector<Wide> received(count, 0);
    Wide moved = 0;
    for (const PlannedTransfer& transfer : plan().transfers) {
      const Wide bytes = facts_.graph().at(transfer.tensor).size.value();
      sent[transfer.source.index()] += bytes;
      received[transfer.destination.index()] += bytes;
      moved += bytes;
    }
    require("moved_bytes", plan().statistics.bytes_moved.value(), moved);
    Wide bubbles = 0;
    for (std::size_t d = 0; d < count; ++d) {
      std::ranges::sort(spans[d]);
      Wide busy = 0;
      Wide idle = 0;
      std::optional<Duration> reached;
      for (const auto& [start, end] : spans[d]) {
        if (reached && start > *reached) idle += Wide{start.value()} - reached->value();
        const Duration from = reached ? std::max(*reached, start) : start;
        if (end > from) busy += Wide{end.value()} - from.value();
        reached = std::max(reached.value_or(end), end);
      }
      bubbles += makespan_ - busy;
      if (plan().statistics.devices.size() != count) continue;
      const DeviceStatistics& stated = plan().statistics.devices[d];
      const auto what = [&](const char* figure) {
        return fmt::format("{} of device {}", figure, facts_.name(DeviceId(d)));
      };
      require(what("compute_busy_ns"), stated.compute_busy.value(), busy);
      require(what("bubble_ns"), stated.bubble.value(), makespan_ - busy);
      require(what("span_idle_ns"), stated.span_idle.value(), idle);
      require(what("peak_memory_bytes"), stated.peak_memory.value(), memory_.peaks()[d]);
      require(what("persistent_memory_bytes"), stated.persistent_memory.value(), memory_.persistent()[d]);
      require(what("sent_bytes"), stated.bytes_sent.value(), sent[d]);
      require(what("received_bytes"), stated.bytes_received.value(), received[d]);
    }
    require("devices in the statistics", static_cast<std::int64_t>(plan().statistics.devices.size()),
            static_cast<std::int64_t>(count));
    const double whole = static_cast<double>(count) * static_cast<double>(makespan_);
    const double ratio = makespan_ > 0 ? static_cast<double>(bubbles) / whole : 0;
    require_near("bubble_ratio", plan().statistics.bubble_ratio, ratio);
    require_near("utilisation", plan().statistics.utilisation, makespan_ > 0 ? 1 - ratio : 0);
  }

  const LayoutFacts& facts_;
  ViolationList& violations_;
  const std::vector<std::string> streams_;
  const LayoutMemory memory_;
  Wide makespan_ = 0;
};

}  // namespace

void check_layout_streams(const LayoutFacts& facts, ViolationList& violations) {
  const std::vector<std::string> movement_streams = {facts.options().movement_stream};
  const std::vector<Holder> holders = holders_of(facts, movement_streams);
  std::map<std::string_view, std::uint64_t> numbers;
  std::vector<Occupation> occupations;
  const std::uint64_t count = facts.cluster().device_count();
  for (std::size_t i = 0; i < holders.size(); ++i) {
    for (const std::string& stream : *holders[i].streams) {
      const std::uint64_t number = numbers.try_emplace(stream, numbers.size()).first->second;
      for (const DeviceId device : *holders[i].devices) {
        const std::vector<std::string>& own = facts.cluster().at(device).streams;
        if (std::ranges::find(own, stream) == own.end()) {
          violations.add(Rule::kStream, [&] {
            return fmt::format("{} holds stream \"{}\" of device {}, which has none", holders[i].name, stream,
                               facts.name(device));
          });
        }
        occupations.push_back({number * count + device.index(), holders[i].start, holders[i].end, i});
      }
    }
  }
  find_overlaps(std::move(occupations), [&](const Occupation& earlier, const Occupation& later) {
    violations.add(Rule::kStream, [&] {
      return fmt::format("{} runs until {} ns, but {} starts at {} ns on the same stream of device {}",
                         holders[earlier.user].name, earlier.end.value(), holders[later.user].name, later.start.value(),
                         facts.name(DeviceId(later.resource % count)));
    });
  });
}

void check_layout_figures(const LayoutFacts& facts, ViolationList& violations) {
  LayoutFigures(facts, violations).check();
}

}  // namespace opweave::checking
