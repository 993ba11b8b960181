// Gradients of replicas, written from docs/memory-modes.md alone.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "check/rules.h"

namespace opweave::checking {
namespace {

class ReductionsCheck {
 public:
  ReductionsCheck(const Reading& reading, ViolationList& violations)
      : reading_(reading),
        violations_(violations),
        reduced_(reading.graph().parameters().size(), nullptr),
        last_update_(reduced_.size(), nullptr) {}

  void check() {
    if (!reading_.training().reduces_gradients() && reading_.reductions().empty()) return;
    expect_no_contention();
    for (const GradientReduction& reduction : reading_.reductions()) file(reduction);
    for (const Run& run : reading_.runs()) {
      const Operator& op = reading_.graph().at(run.op);
      if (!run.present || run.again) continue;
      if (op.phase != Phase::kWeightGradient && op.phase != Phase::kBackward) continue;
      for (const ParameterId parameter : op.parameters) {
        const Run*& last = last_update_[parameter.index()];
        if (last == nullptr || last->end < run.end) last = &run;
      }
    }
    const std::vector<Home> all = homes(reading_);
    for (std::size_t p = 0; p < reduced_.size(); ++p) {
      std::vector<DeviceId> devices;
      for (auto home = std::ranges::lower_bound(all, ParameterId(p), {}, &Home::parameter);
           home != all.end() && home->parameter == ParameterId(p); ++home) {
        devices.push_back(home->device);
      }
      check_parameter(ParameterId(p), devices);
    }
    check_optimizers();
  }

 private:
  [[nodiscard]] std::string name(ParameterId parameter) const {
    return fmt::format("\"{}\"", reading_.graph().at(parameter).name);
  }

  void expect_no_contention() {
    if (reading_.plan().settings.contention == Contention::kNone) return;
    violations_.add(Rule::kReduction, [] {
      return std::string("plan reduces gradients and its transfers contend, expected one of them");
    });
  }

  void file(const GradientReduction& reduction) {
    const GradientReduction*& known = reduced_[reduction.parameter.index()];
    if (known != nullptr) {
      violations_.add(Rule::kReduction,
                      [&] { return fmt::format("gradients of {} are reduced twice", name(reduction.parameter)); });
    }
    known = &reduction;
  }

  void check_parameter(ParameterId parameter, const std::vector<DeviceId>& devices) {
    const GradientReduction* reduction = reduced_[parameter.index()];
    const Run* update = last_update_[parameter.index()];
    const bool expected = reading_.training().reduces_gradients() && devices.size() > 1 && update != nullptr;
    if (expected != (reduction != nullptr)) {
      violations_.add(Rule::kReduction, [&] {
        return fmt::format("gradients of {} are {}reduced, but {} device{} keep them", name(parameter),
                           expected ? "not " : "", devices.size(), devices.size() == 1 ? "" : "s");
      });
    }
    if (!expected || reduction == nullptr) return;
    if (!std::ranges::equal(reduction->devices, devices)) {
      violations_.add(Rule::kReduction, [&] {
        return fmt::format("gradients of {} are reduced on {}, expected {}", name(parameter),
                           reading_.names(reduction->devices), reading_.names(devices));
      });
      return;
    }
    if (reduction->start < update->end) {
      violations_.add(Rule::kReduction, [&] {
        return fmt::format("gradients of {} are reduced at {} ns, but {} ends at {} ns", name(parameter),
                           reduction->start.value(), reading_.name(*update), update->end.value());
      });
    }
    const std::optional<Wide> lasts = duration(parameter, devices);
    const Wide stated = Wide{reduction->end.value()} - reduction->start.value();
    if (lasts && *lasts == stated) return;
    violations_.add(Rule::kReduction, [&] {
      return lasts ? fmt::format("the reduction of gradients of {} lasts {} ns, expected {} ns", name(parameter),
                                 stated, *lasts)
                   : fmt::format("gradients of {} are reduced, but no route joins {}", name(parameter),
                                 reading_.names(devices));
    });
  }

  /// 2 (n - 1) steps of the largest latency on the ring, and as many n-th parts of the bytes over its least bandwidth.
  [[nodiscard]] std::optional<Wide> duration(ParameterId parameter, const std::vector<DeviceId>& devices) const {
    Wide latency = 0;
    std::optional<std::int64_t> bandwidth;
    for (std::size_t i = 0; i < devices.size(); ++i) {
      const auto route = reading_.cluster().route(devices[i], devices[(i + 1) % devices.size()]);
      if (!route) return std::nullopt;
      latency = std::max(latency, Wide{route->latency.value()});
      if (!route->bandwidth_bytes_per_s) continue;
      bandwidth = std::min(bandwidth.value_or(*route->bandwidth_bytes_per_s), *route->bandwidth_bytes_per_s);
    }
    const auto n = static_cast<std::int64_t>(devices.size());
    Wide lasts = latency * 2 * (n - 1);
    if (bandwidth) {
      const double weights = static_cast<double>(reading_.graph().at(parameter).weights.value());
      const auto bytes =
          static_cast<std::int64_t>(std::ceil(weights * reading_.training().gradient_bytes_per_weight_byte));
      const Wide below = Wide{*bandwidth} * n;
      lasts += (Wide{bytes} * 2 * (n - 1) * 1'000'000'000 + below - 1) / below;
    }
    return std::min<Wide>(lasts, kMaxInputValue);
  }

  /// Each waits for the reductions of its parameters; one without parameters for all.
  void check_optimizers() {
    const auto require_after = [&](const Run& run, const GradientReduction& reduction) {
      if (run.start >= reduction.end) return;
      violations_.add(Rule::kReduction, [&] {
        return fmt::format("task {} starts at {} ns, but gradients of {} are reduced until {} ns", reading_.name(run),
                           run.start.value(), name(reduction.parameter), reduction.end.value());
      });
    };
    for (const Run& run : reading_.runs()) {
      if (!run.present || !reading_.per_replica(run.op)) continue;
      const std::vector<ParameterId>& parameters = reading_.graph().at(run.op).parameters;
      for (const ParameterId parameter : parameters) {
        if (const GradientReduction* reduction = reduced_[parameter.index()]) require_after(run, *reduction);
      }
      if (!parameters.empty()) continue;
      for (const GradientReduction& reduction : reading_.reductions()) require_after(run, reduction);
    }
  }

  const Reading& reading_;
  ViolationList& violations_;
  std::vector<const GradientReduction*> reduced_;  // by parameter
  std::vector<const Run*> last_update_;            // by parameter: the W or B that ends last
};

}  // namespace

void check_reductions(const Reading& reading, ViolationList& violations) {
  ReductionsCheck(reading, violations).check();
}

}  // namespace opweave::checking
