#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "check/layout_holders.h"

namespace opweave::checking {
namespace {

class LayoutFigures {
 public:
  LayoutFigures(const LayoutFacts& facts, const LayoutHolders& holders, const std::vector<Wide>& host_peaks,
                ViolationList& violations)
      : facts_(facts),
        holders_(holders),
        host_peaks_(host_peaks),
        violations_(violations),
        memory_(layout_memory(facts)) {}

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
    for (std::size_t d = 0; d < memory_.size(); ++d) {
      const std::optional<Bytes> limit = plan().settings.memory_limit;
      const std::optional<Bytes> capacity = limit ? limit : facts_.cluster().devices()[d].memory;
      if (!capacity || memory_[d].peak <= capacity->value()) continue;
      violations_.add(Rule::kMemory, [&] {
        return fmt::format("memory of device {} reaches {} bytes ({} of them parameters), expected at most {}",
                           facts_.name(DeviceId(d)), memory_[d].peak, memory_[d].persistent, capacity->value());
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
    for (const Holder& holder : holders_.all()) makespan_ = std::max(makespan_, Wide{holder.end.value()});
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
      violations_.add(Rule::kFigures, [] {
        return std::string("the plan inside has a goal or memory modes of its own, expected neither");
      });
    }
    require("period_ns", plan().statistics.period.value(), rounded_up(largest_load(), facts_.microbatches()));
    std::size_t homes = 0;
    for (std::size_t p = 0; p < facts_.graph().parameters().size(); ++p) {
      homes = std::max(homes, facts_.use(ParameterId(p)).devices.size());
    }
    require("parameter_copies", plan().statistics.parameter_copies, Wide{homes});
  }

  /// Other rules name devices that do not.
  [[nodiscard]] bool exists(DeviceId device) const { return device.index() < facts_.cluster().device_count(); }

  /// Of a stream of a device.
  [[nodiscard]] Wide largest_load() const {
    std::map<std::string_view, std::vector<Wide>> loads;  // by stream and device
    for (const Holder& holder : holders_.all()) {
      for (const std::string& stream : *holder.streams) {
        std::vector<Wide>& own = loads[stream];
        own.resize(facts_.cluster().device_count(), 0);
        for (const DeviceId device : *holder.devices) {
          if (exists(device)) own[device.index()] += Wide{holder.end.value()} - holder.start.value();
        }
      }
    }
    Wide largest = 0;
    for (const auto& [stream, own] : loads) largest = std::max(largest, std::ranges::max(own));
    return largest;
  }

  void check_returned() {
    Wide repeated = 0;
    Wide copied = 0;
    for (const LayoutMovement& movement : facts_.plan().movements) {
      if (movement.again) repeated += Wide{movement.end.value()} - movement.start.value();
    }
    for (const FormReturn& back : facts_.plan().returns) {
      const auto form = back.kind == MovementKind::kCopyOut ? facts_.form_of(back.value) : std::nullopt;
      if (back.kind == MovementKind::kRecompute) repeated += Wide{back.end.value()} - back.start.value();
      if (!form) continue;
      copied += facts_.bytes(back.value.tensor, facts_.forms(back.value.tensor)[*form]) * std::ssize(back.devices);
    }
    require("recomputed_ns", plan().statistics.recomputed.value(), repeated);
    require("copied_out_bytes", plan().statistics.bytes_copied_out.value(), copied);
  }

  /// What a device computes, while holders are looked at by their starts.
  struct Computing {
    Wide busy = 0;
    Wide idle = 0;  ///< between the first start and the last end
    std::optional<Duration> reached;

    void add(Duration start, Duration end) {
      if (reached && start > *reached) idle += Wide{start.value()} - reached->value();
      const Duration from = reached ? std::max(*reached, start) : start;
      if (end > from) busy += Wide{end.value()} - from.value();
      reached = std::max(reached.value_or(end), end);
    }
  };

  [[nodiscard]] std::vector<Computing> find_computing() const {
    std::vector<Computing> result(facts_.cluster().device_count());
    for (const Holder* holder : holders_.by_start()) {
      if (std::ranges::find(*holder->streams, "compute") == holder->streams->end()) continue;
      for (const DeviceId device : *holder->devices) {
        if (exists(device)) result[device.index()].add(holder->start, holder->end);
      }
    }
    return result;
  }

  void check_devices() {
    const std::size_t count = facts_.cluster().device_count();
    const std::vector<Computing> computing = find_computing();
    std::vector<Wide> sent(count, 0);
    std::vector<Wide> received(count, 0);
    Wide moved = 0;
    for (const PlannedTransfer& transfer : plan().transfers) {
      const Wide bytes = facts_.graph().at(transfer.tensor).size.value();
      if (exists(transfer.source)) sent[transfer.source.index()] += bytes;
      if (exists(transfer.destination)) received[transfer.destination.index()] += bytes;
      moved += bytes;
    }
    require("moved_bytes", plan().statistics.bytes_moved.value(), moved);
    check_returned();
    Wide bubbles = 0;
    for (std::size_t d = 0; d < count; ++d) {
      const auto& [busy, idle, reached] = computing[d];
      bubbles += makespan_ - busy;
      if (plan().statistics.devices.size() != count) continue;
      const DeviceStatistics& stated = plan().statistics.devices[d];
      const auto what = [&](const char* figure) {
        return fmt::format("{} of device {}", figure, facts_.name(DeviceId(d)));
      };
      require(what("compute_busy_ns"), stated.compute_busy.value(), busy);
      require(what("bubble_ns"), stated.bubble.value(), makespan_ - busy);
      require(what("span_idle_ns"), stated.span_idle.value(), idle);
      require(what("peak_memory_bytes"), stated.peak_memory.value(), memory_[d].peak);
      require(what("persistent_memory_bytes"), stated.persistent_memory.value(), memory_[d].persistent);
      require(what("sent_bytes"), stated.bytes_sent.value(), sent[d]);
      require(what("received_bytes"), stated.bytes_received.value(), received[d]);
      require(what("host_peak_bytes"), stated.host_peak.value(), host_peaks_[d]);
    }
    require("devices in the statistics", static_cast<std::int64_t>(plan().statistics.devices.size()),
            static_cast<std::int64_t>(count));
    const double whole = static_cast<double>(count) * static_cast<double>(makespan_);
    const double ratio = makespan_ > 0 ? static_cast<double>(bubbles) / whole : 0;
    require_near("bubble_ratio", plan().statistics.bubble_ratio, ratio);
    require_near("utilisation", plan().statistics.utilisation, makespan_ > 0 ? 1 - ratio : 0);
  }

  const LayoutFacts& facts_;
  const LayoutHolders& holders_;
  const std::vector<Wide>& host_peaks_;
  ViolationList& violations_;
  const std::vector<MemoryUse> memory_;
  Wide makespan_ = 0;
};

}  // namespace

void check_layout_figures(const LayoutFacts& facts, const LayoutHolders& holders, const std::vector<Wide>& host_peaks,
                          ViolationList& violations) {
  LayoutFigures(facts, holders, host_peaks, violations).check();
}

}  // namespace opweave::checking
