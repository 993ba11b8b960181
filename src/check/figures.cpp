#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <unordered_map>

#include "check/rules.h"

namespace opweave::checking {
namespace {

struct DeviceFigures {
  Wide compute_busy = 0;
  Wide span_idle = 0;
  Wide sent = 0;
  Wide received = 0;
};

class FiguresCheck {
 public:
  FiguresCheck(const Reading& reading, const Routes& routes, const std::vector<MemoryUse>& memory,
               const std::vector<Wide>& host_peaks, ViolationList& violations)
      : reading_(reading), routes_(routes), memory_(memory), host_peaks_(host_peaks), violations_(violations) {}

  void check() {
    check_names();
    for (const Run& run : reading_.runs()) {
      if (run.present) makespan_ = std::max(makespan_, run.end.value());
    }
    for (const HostCopy& copy : reading_.host_copies()) makespan_ = std::max(makespan_, copy.end.value());
    for (const GradientReduction& one : reading_.reductions()) makespan_ = std::max(makespan_, one.end.value());
    check_claims();
    check_plan_figures();
    check_device_figures();
    check_goal();
  }

 private:
  const PlanStatistics& stated() const { return reading_.plan().statistics; }

  template <class Value>
  void require(const std::string& what, Value stated, Wide expected) {
    if (Wide{stated} == expected) return;
    violations_.add(Rule::kFigures, [&] { return fmt::format("{} is {}, expected {}", what, stated, expected); });
  }

  void require_near(const std::string& what, double stated, double expected) {
    constexpr double kTolerance = 1e-9;  // the order of floating-point sums is free
    if (std::abs(stated - expected) <= kTolerance) return;
    violations_.add(Rule::kFigures, [&] { return fmt::format("{} is {}, expected {}", what, stated, expected); });
  }

  void check_names() {
    const auto require_name = [&](const char* what, const std::string& stated, const std::string& given) {
      if (stated == given) return;
      violations_.add(Rule::kFigures,
                      [&] { return fmt::format("plan is for {} \"{}\", checked with \"{}\"", what, stated, given); });
    };
    require_name("graph", reading_.plan().graph_name, reading_.graph().name());
    require_name("cluster", reading_.plan().cluster_name, reading_.cluster().name());
  }

  /// Makespan, bounds, status and gap.
  void check_claims() {
    require("makespan_ns", stated().makespan.value(), makespan_);
    std::int64_t best = 0;
    for (const LowerBound& bound : reading_.plan().bounds) {
      best = std::max(best, bound.value.value());
      if (bound.value.value() <= makespan_) continue;
      violations_.add(Rule::kFigures, [&] {
        return fmt::format("lower bound \"{}\" is {} ns, above the makespan {} ns", bound.name, bound.value.value(),
                           makespan_);
      });
    }
    if (reading_.plan().status == PlanStatus::kOptimal && reading_.plan().objectives.empty() && best != makespan_) {
      violations_.add(Rule::kFigures, [&] {
        return fmt::format("status is \"optimal\", but the lower bound {} ns is not the makespan {} ns", best,
                           makespan_);
      });
    }
    // Of a false makespan no gap can be true, and its difference to a bound may not even fit.
    if (stated().makespan.value() != makespan_) return;
    const double gap =
        makespan_ == 0 ? 0.0 : static_cast<double>(Wide{makespan_} - best) / static_cast<double>(makespan_);
    require_near("gap", reading_.plan().gap(), gap);
  }

  /// Deadline, objectives and their bounds, and a status that speaks of them.
  void check_goal() {
    const Plan& plan = reading_.plan();
    if (plan.deadline && makespan_ > plan.deadline->value()) {
      violations_.add(Rule::kFigures, [&] {
        return fmt::format("makespan {} ns is above the deadline {} ns", makespan_, plan.deadline->value());
      });
    }
    for (std::size_t i = 0; i < plan.objectives.size(); ++i) {
      const ObjectiveFigure& figure = plan.objectives[i];
      const std::string name(to_string(figure.objective));
      require("objective \"" + name + "\"", figure.value, value_of(figure.objective));
      if (figure.bound > figure.value) {
        violations_.add(Rule::kFigures, [&] {
          return fmt::format("bound of objective \"{}\" is {}, above its value {}", name, figure.bound, figure.value);
        });
      }
      if (figure.bound != figure.value && plan.status == PlanStatus::kOptimal) {
        violations_.add(Rule::kFigures, [&] {
          return fmt::format("status is \"optimal\", but objective \"{}\" is {} and its bound {}", name, figure.value,
                             figure.bound);
        });
      }
      for (std::size_t k = 0; k < i; ++k) {
        if (plan.objectives[k].objective != figure.objective) continue;
        violations_.add(Rule::kFigures, [&] { return fmt::format("objective \"{}\" is stated twice", name); });
      }
    }
  }

  Wide value_of(Objective objective) const {
    switch (objective) {
      case Objective::kMakespan:
        return makespan_;
      case Objective::kPeriod:
        return period();
      case Objective::kPeakMemory: {
        Wide peak = 0;
        for (const MemoryUse& use : memory_) peak = std::max(peak, Wide{use.peak});
        return peak;
      }
      case Objective::kDevices: {
        std::vector<bool> is_used(reading_.cluster().device_count(), false);
        for (const Run& run : reading_.runs()) {
          for (const DeviceId device : run.devices) is_used[device.index()] = true;
        }
        return std::count(is_used.begin(), is_used.end(), true);
      }
      case Objective::kCommunication:
        return moved();
      case Objective::kUtilisation: {
        Wide idle = 0;
        for (const DeviceFigures& figures : device_figures()) idle += makespan_ - figures.compute_busy;
        const Wide whole = Wide{makespan_} * static_cast<std::int64_t>(reading_.cluster().device_count());
        return whole == 0 ? Wide{0} : idle * 1'000'000'000 / whole;
      }
    }
    return 0;
  }

  Wide moved() const {
    Wide sum = 0;
    for (const KnownTransfer& transfer : reading_.transfers()) sum += size(transfer);
    return sum;
  }

  void check_plan_figures() {
    require("period_ns", stated().period.value(), period());

    const std::vector<Home> all = homes(reading_);
    std::size_t copies = 0;
    for (std::size_t i = 0, first = 0; i < all.size(); ++i) {
      if (all[i].parameter != all[first].parameter) first = i;
      copies = std::max(copies, i - first + 1);
    }
    require("parameter_copies", stated().parameter_copies, Wide{copies});

    require("moved_bytes", stated().bytes_moved.value(), moved());

    Wide recomputed = 0;
    for (const Run& run : reading_.runs_again()) recomputed += Wide{run.end.value()} - run.start.value();
    require("recomputed_ns", stated().recomputed.value(), recomputed);
    Wide copied = 0;
    for (const HostCopy& copy : reading_.host_copies()) {
      if (copy.is_out) copied += Wide{size(copy.tensor)} * static_cast<std::int64_t>(copy.devices.size());
    }
    require("copied_out_bytes", stated().bytes_copied_out.value(), copied);
  }

  /// ceil(largest load / microbatches).
  Wide period() const {
    const Cluster& cluster = reading_.cluster();
    std::unordered_map<std::string_view, std::vector<Wide>> streams;  // loads by device
    const auto hold = [&](std::string_view name, std::span<const DeviceId> devices, Wide lasts) {
      std::vector<Wide>& loads = streams[name];
      loads.resize(cluster.device_count(), 0);
      for (const DeviceId device : devices) loads[device.index()] += lasts;
    };
    for (const Run& run : reading_.runs()) {
      for (const std::string& name : reading_.graph().at(run.op).streams) {
        if (cluster.find_stream(name)) hold(name, run.devices, Wide{run.end.value()} - run.start.value());
      }
    }
    for (const HostCopy& copy : reading_.host_copies()) {
      hold(copy.is_out ? kCopyOutStream : kCopyInStream, copy.devices, Wide{copy.end.value()} - copy.start.value());
    }
    for (const GradientReduction& one : reading_.reductions()) {
      hold(reading_.training().reduction_stream, one.devices, Wide{one.end.value()} - one.start.value());
    }
    Wide largest = 0;
    for (const auto& [name, loads] : streams) {
      for (const Wide load : loads) largest = std::max(largest, load);
    }

    const Contention contention = reading_.plan().settings.contention;
    std::unordered_map<std::uint64_t, Wide> channels;
    for (const KnownTransfer& transfer : reading_.transfers()) {
      const Wide lasts = Wide{transfer.end.value()} - transfer.start.value();
      if (contention == Contention::kEndpoint) {
        channels[2 * transfer.source.index()] += lasts;
        channels[2 * transfer.destination.index() + 1] += lasts;
      } else if (contention == Contention::kLink) {
        const Passage* passage = routes_.of(transfer);
        if (passage == nullptr) continue;
        for (const std::uint64_t key : passage->links) channels[key] += lasts;
      }
    }
    for (const auto& [channel, load] : channels) largest = std::max(largest, load);
    const Wide microbatches = reading_.training().microbatches;
    return (largest + microbatches - 1) / microbatches;
  }

  std::vector<DeviceFigures> device_figures() const {
    struct Span {
      DeviceId device;
      Duration start;
      Duration end;
    };
    std::vector<Span> spans;
    std::vector<bool> computes;  // by operator
    for (const Operator& op : reading_.graph().operators()) {
      computes.push_back(std::find(op.streams.begin(), op.streams.end(), "compute") != op.streams.end());
    }
    for (const Run& run : reading_.runs()) {
      if (!computes[run.op.index()]) continue;
      for (const DeviceId device : run.devices) spans.push_back({device, run.start, run.end});
    }
    for (const GradientReduction& one : reading_.reductions()) {
      if (reading_.training().reduction_stream != "compute") break;
      for (const DeviceId device : one.devices) spans.push_back({device, one.start, one.end});
    }
    std::sort(spans.begin(), spans.end(),
              [](const Span& a, const Span& b) { return std::tie(a.device, a.start) < std::tie(b.device, b.start); });
    std::vector<DeviceFigures> result(reading_.cluster().device_count());
    for (std::size_t i = 0; i < spans.size();) {
      const DeviceId device = spans[i].device;
      DeviceFigures& figures = result[device.index()];
      const Duration first = spans[i].start;
      Duration reached = first;
      for (; i < spans.size() && spans[i].device == device; ++i) {
        const Duration from = std::max(spans[i].start, reached);
        if (spans[i].end > from) figures.compute_busy += Wide{spans[i].end.value()} - from.value();
        reached = std::max(reached, spans[i].end);
      }
      figures.span_idle = Wide{reached.value()} - first.value() - figures.compute_busy;
    }
    for (const KnownTransfer& transfer : reading_.transfers()) {
      result[transfer.source.index()].sent += size(transfer);
      result[transfer.destination.index()].received += size(transfer);
    }
    return result;
  }

  void check_device_figures() {
    const std::vector<DeviceFigures> expected = device_figures();
    Wide bubbles = 0;
    for (const DeviceFigures& figures : expected) bubbles += makespan_ - figures.compute_busy;
    double ratio = 0;
    double utilisation = 0;
    if (makespan_ > 0) {
      ratio = static_cast<double>(bubbles) / (static_cast<double>(expected.size()) * static_cast<double>(makespan_));
      utilisation = 1 - ratio;
    }
    require_near("bubble_ratio", stated().bubble_ratio, ratio);
    require_near("utilisation", stated().utilisation, utilisation);

    if (stated().devices.size() != expected.size()) {
      violations_.add(Rule::kFigures, [&] {
        return fmt::format("statistics cover {} devices, but the cluster has {}", stated().devices.size(),
                           expected.size());
      });
      return;
    }
    for (std::size_t d = 0; d < expected.size(); ++d) {
      const DeviceStatistics& device = stated().devices[d];
      const auto require_here = [&](const char* figure, std::int64_t said, Wide computed) {
        if (Wide{said} == computed) return;  // names of a hundred thousand devices are not written for nothing
        require(fmt::format("{} of device {}", figure, reading_.name(DeviceId(d))), said, computed);
      };
      require_here("compute_busy_ns", device.compute_busy.value(), expected[d].compute_busy);
      require_here("bubble_ns", device.bubble.value(), makespan_ - expected[d].compute_busy);
      require_here("span_idle_ns", device.span_idle.value(), expected[d].span_idle);
      require_here("peak_memory_bytes", device.peak_memory.value(), memory_[d].peak);
      require_here("persistent_memory_bytes", device.persistent_memory.value(), memory_[d].persistent);
      require_here("sent_bytes", device.bytes_sent.value(), expected[d].sent);
      require_here("received_bytes", device.bytes_received.value(), expected[d].received);
      require_here("host_peak_bytes", device.host_peak.value(), host_peaks_[d]);
    }
  }

  [[nodiscard]] std::int64_t size(TensorId tensor) const { return reading_.graph().at(tensor).size.value(); }
  [[nodiscard]] Wide size(const KnownTransfer& transfer) const { return size(transfer.tensor); }

  const Reading& reading_;
  const Routes& routes_;
  const std::vector<MemoryUse>& memory_;
  const std::vector<Wide>& host_peaks_;
  ViolationList& violations_;
  std::int64_t makespan_ = 0;
};

}  // namespace

void check_figures(const Reading& reading, const Routes& routes, const std::vector<MemoryUse>& memory,
                   const std::vector<Wide>& host_peaks, ViolationList& violations) {
  FiguresCheck(reading, routes, memory, host_peaks, violations).check();
}

}  // namespace opweave::checking
