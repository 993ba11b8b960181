/// Durations from operations and bytes, for devices that are not at hand (docs/costs.md).
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/graph.h"

namespace opweave::analytic {

/// Efficiency by size: linear in the logarithm of the size between the points, constant outside of them.
struct Curve {
  std::vector<std::pair<double, double>> points;  ///< (size, efficiency), sizes positive and ascending; not empty
  std::string source = {};                        ///< where the points come from

  [[nodiscard]] double at(double size) const;
};

/// Which shares of its data sheet a device reaches, and the time between kernels.
struct Efficiencies {
  Curve matrix;             ///< share of the peak rate by operations of one call
  Curve memory;             ///< share of the memory bandwidth by bytes of one kernel
  Curve attention_forward;  ///< share of the peak rate by tokens of a sequence; what causality leaves out is nothing
  Curve attention_backward;
  double optimizer = 1;    ///< share of the memory bandwidth that a step of the optimizer reaches
  double overhead_ns = 0;  ///< of a kernel in a full stream
};

/// In training: beside communication, at the clock that the power limit leaves. Those of Hopper for a type of device
/// that is not known ("h100", "a100", ...).
[[nodiscard]] const Efficiencies& efficiencies_of(std::string_view device_type);
/// One Hopper device without others: what a layer takes that runs again and again, with nothing beside it.
[[nodiscard]] const Efficiencies& efficiencies_alone();

/// What attention in one kernel needs beside its operations and bytes.
struct AttentionCall {
  double tokens = 1;  ///< of the sequence that is attended to
  bool is_causal = false;
  bool is_backward = false;
};

/// One call of a tensor operator.
struct Call {
  double flops = 0;
  double bytes = 0;  ///< read and written
  std::string dtype;
  std::optional<AttentionCall> attention;
};

/// A call in a kernel.
struct KernelPart {
  OperatorId op;
  std::size_t call = 0;  ///< its number among those of the operator
  double bytes = 0;      ///< that it reads and writes outside of the kernel
};

/// The calls behind the operators of a captured graph.
struct CapturedCalls {
  std::vector<Call> calls;                       ///< each distinct one
  std::vector<std::vector<std::size_t>> of;      ///< by operator, in their order; of the optimizer none
  std::vector<std::vector<KernelPart>> kernels;  ///< calls that a compiler fuses
};

struct Options {
  bool fused = true;  ///< kernels of several calls are one; otherwise every call runs alone
  std::string dtype;  ///< times as if what is computed in fp32 were computed in this; empty = as it is
  /// By type of device, instead of efficiencies_of.
  std::map<std::string, Efficiencies, std::less<>> efficiencies;
};

/// Neither durations nor modes: the peak rates of devices, which none reaches, would time it.
[[nodiscard]] bool is_untimed(const Operator& op);

/// The durations of an operator on each type of device of the cluster.
using Durations = std::vector<MeasuredDuration>;
/// By operator; empty for those that are timed already. A call lasts overhead + max(flops / (peak x efficiency),
/// bytes / (bandwidth x efficiency)), an operator as long as its calls one after the other, without calls as one call.
/// \throws InputError for a cluster without device types, an operator without flops and bytes, a device type without
///   bandwidth or without the rate of a dtype that has operations, and a duration beyond kMaxInputValue
[[nodiscard]] std::vector<Durations> durations(const ComputationGraph& graph, const CapturedCalls& calls,
                                               const Cluster& cluster, const Options& options = {});

/// The graph with these durations in the place of none.
[[nodiscard]] ComputationGraph with_durations(const ComputationGraph& graph, std::vector<Durations> found);

/// "98% of the operations are in fp32, in which h100 has 67 of its 989 TFLOP/s in bf16"; empty where most are in a
/// shorter format, or none is faster.
[[nodiscard]] std::string slow_dtype(const ComputationGraph& graph, const DeviceType& type);

}  // namespace opweave::analytic
