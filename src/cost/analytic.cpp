#include "opweave/analytic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "opweave/error.h"

namespace opweave::analytic {
namespace {

/// Bytes of an element of the dtypes that fp32 may be replaced by.
constexpr std::array<std::pair<std::string_view, int>, 4> kBytes = {
    {{"fp32", 4}, {"bf16", 2}, {"fp16", 2}, {"fp8", 1}}};

/// Times on one type of device, in nanoseconds: the roofline of Williams, Waterman and Patterson (2009) with curves.
class Roofline {
 public:
  Roofline(const DeviceType& type, const Options& options) : type_(type), dtype_(options.dtype) {
    if (!type.memory_bandwidth_bytes_per_s) {
      throw InputError(fmt::format("device type \"{}\": key \"memory_bandwidth_bytes_per_s\" is missing", type.name));
    }
    const auto given = options.efficiencies.find(type.name);
    share_ = given != options.efficiencies.end() ? &given->second : &efficiencies_of(type.name);
    if (dtype_.empty()) return;
    const auto* known = std::ranges::find(kBytes, dtype_, &std::pair<std::string_view, int>::first);
    if (known == kBytes.end()) {
      throw InputError(fmt::format("dtype: value is \"{}\", expected one of fp32, bf16, fp16, fp8", dtype_));
    }
    narrowing_ = known->second / 4.0;
  }

  /// Of any work: the longer of computing and moving.
  [[nodiscard]] double work(double flops, double bytes, const std::string& dtype) const {
    const double computing = flops > 0 ? flops / (peak(dtype) * share_->matrix.at(flops)) * 1e9 : 0;
    return share_->overhead_ns + std::max(moving(bytes, dtype), computing);
  }

  [[nodiscard]] double call(const Call& call) const {
    if (!call.attention) return work(call.flops, call.bytes, call.dtype);
    const AttentionCall& attention = *call.attention;
    const Curve& curve = attention.is_backward ? share_->attention_backward : share_->attention_forward;
    const double flops = call.flops / (attention.is_causal ? 2 : 1);
    const double computing = flops / (peak(call.dtype) * curve.at(attention.tokens)) * 1e9;
    return share_->overhead_ns + std::max(moving(call.bytes, call.dtype), computing);
  }

  /// Of a step of the optimizer, which is in fp32 whatever the rest is.
  [[nodiscard]] double optimizer(double bytes) const {
    return share_->overhead_ns + at_share(bytes, share_->optimizer);
  }

 private:
  [[nodiscard]] bool is_narrowed(const std::string& dtype) const { return !dtype_.empty() && dtype == "fp32"; }

  [[nodiscard]] double moving(double bytes, const std::string& dtype) const {
    const double size = bytes * (is_narrowed(dtype) ? narrowing_ : 1.0);
    return at_share(size, share_->memory.at(std::max(size, 1.0)));
  }

  [[nodiscard]] double at_share(double bytes, double share) const {
    return bytes / (*type_.memory_bandwidth_bytes_per_s * share) * 1e9;
  }

  [[nodiscard]] double peak(const std::string& dtype) const {
    const std::string& name = is_narrowed(dtype) ? dtype_ : dtype;
    const auto rate = type_.peak_flops_per_s.find(name);
    if (rate == type_.peak_flops_per_s.end()) {
      throw InputError(fmt::format("device type \"{}\": no peak rate of dtype \"{}\"", type_.name, name));
    }
    return rate->second;
  }

  const DeviceType& type_;
  const std::string& dtype_;
  const Efficiencies* share_ = nullptr;
  double narrowing_ = 1;
};

/// Time of every call by operator and number; calls of one kernel share its time by bytes.
using CallTimes = std::vector<std::vector<double>>;

void share_kernel(const std::vector<KernelPart>& kernel, const CapturedCalls& calls, const Roofline& roofline,
                  CallTimes& times) {
  double bytes = 0;
  for (const KernelPart& part : kernel) bytes += part.bytes;
  const auto dtype_of = [&](const KernelPart& part) -> const std::string& {
    return calls.calls[calls.of[part.op.index()][part.call]].dtype;
  };
  const std::string& first = dtype_of(kernel.front());
  const bool is_one_dtype = std::ranges::all_of(kernel, [&](const auto& part) { return dtype_of(part) == first; });
  const double time = roofline.work(0, bytes, is_one_dtype ? first : std::string());
  for (const KernelPart& part : kernel) {
    const double share = bytes > 0 ? part.bytes / bytes : 1.0 / static_cast<double>(kernel.size());
    times[part.op.index()][part.call] = time * share;
  }
}

CallTimes call_times(const CapturedCalls& calls, const std::vector<bool>& is_asked, const Roofline& roofline,
                     bool is_fused) {
  std::vector<std::optional<double>> alone(calls.calls.size());  // equal calls take equal time
  CallTimes times(calls.of.size());
  for (std::size_t op = 0; op < times.size(); ++op) {
    if (!is_asked[op]) {
      times[op].resize(calls.of[op].size());
      continue;
    }
    for (const std::size_t call : calls.of[op]) {
      if (!alone[call]) alone[call] = roofline.call(calls.calls[call]);
      times[op].push_back(*alone[call]);
    }
  }
  if (!is_fused) return times;
  for (const auto& kernel : calls.kernels) {
    if (!kernel.empty()) share_kernel(kernel, calls, roofline, times);
  }
  return times;
}

double operator_time(const Operator& op, const std::vector<double>& calls, const Roofline& roofline) {
  if (!calls.empty()) {
    double sum = 0;
    for (const double time : calls) sum += time;
    return sum;
  }
  if (!op.flops && !op.bytes_accessed) {
    throw InputError(fmt::format("operator \"{}\" has neither flops nor bytes_accessed", op.name));
  }
  const double bytes = op.bytes_accessed.value_or(0);
  if (op.phase == Phase::kOptimizer && bytes > 0) return roofline.optimizer(bytes);
  return roofline.work(op.flops.value_or(0), bytes, op.dtype);
}

}  // namespace

bool is_untimed(const Operator& op) { return op.durations.empty() && op.modes.empty(); }

std::vector<Durations> durations(const ComputationGraph& graph, const CapturedCalls& calls, const Cluster& cluster,
                                 const Options& options) {
  if (cluster.types().empty()) {
    throw InputError(fmt::format("cluster \"{}\": it has no device types with rates", cluster.name()));
  }
  const auto& operators = graph.operators();
  std::vector<bool> is_asked;
  for (const Operator& op : operators) is_asked.push_back(is_untimed(op));
  std::vector<Durations> found(operators.size());
  for (const DeviceType& type : cluster.types()) {
    const Roofline roofline(type, options);
    const CallTimes times = call_times(calls, is_asked, roofline, options.fused);
    for (std::size_t i = 0; i < operators.size(); ++i) {
      if (!is_asked[i]) continue;
      const double time =
          std::ceil(operator_time(operators[i], i < times.size() ? times[i] : std::vector<double>(), roofline));
      if (time > static_cast<double>(kMaxInputValue)) {
        throw InputError(fmt::format("operator \"{}\" would take {:.3g} ns on device type \"{}\", expected at most {}",
                                     operators[i].name, time, type.name, kMaxInputValue));
      }
      found[i].push_back({type.name, Duration(static_cast<std::int64_t>(time))});
    }
  }
  return found;
}

ComputationGraph with_durations(const ComputationGraph& graph, std::vector<Durations> found) {
  std::vector<Operator> operators = graph.operators();
  for (std::size_t i = 0; i < operators.size(); ++i) {
    if (!found[i].empty()) operators[i].durations = std::move(found[i]);
  }
  return ComputationGraph::create(graph.name(), std::move(operators), graph.tensors(), graph.parameters(),
                                  graph.training());
}

std::string slow_dtype(const ComputationGraph& graph, const DeviceType& type) {
  const auto fast = type.peak_flops_per_s.find("bf16");
  const auto slow = type.peak_flops_per_s.find("fp32");
  if (fast == type.peak_flops_per_s.end() || slow == type.peak_flops_per_s.end()) return {};
  double wide = 0, narrow = 0;
  for (const Operator& op : graph.operators()) {
    (op.dtype == "fp32" && op.phase != Phase::kOptimizer ? wide : narrow) += op.flops.value_or(0);
  }
  if (wide <= narrow || fast->second <= slow->second) return {};
  return fmt::format("{:.0f}% of the operations are in fp32, in which {} has {:.3g} of its {:.4g} TFLOP/s in bf16",
                     100 * wide / (wide + narrow), type.name, slow->second / 1e12, fast->second / 1e12);
}

}  // namespace opweave::analytic
