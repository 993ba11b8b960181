// Constants of software stacks, as `benchmarks/published` fits them to published steps (docs/strategies.md says which).
#include <algorithm>

#include "opweave/strategy_search.h"

namespace opweave {
namespace {

/// Fused attention on A100 (FlashAttention 2) and H100 (cuDNN, FlashAttention 2), forward and backward.
struct AttentionShares {
  double forward;
  double backward;
};
constexpr AttentionShares kOnA100 = {0.58, 0.493};
constexpr AttentionShares kCudnnOnH100 = {0.52, 0.442};
constexpr AttentionShares kFlash2OnH100 = {0.36, 0.306};

struct BuiltIn {
  std::string_view device;
  Precision precision;
  bool has_experts;
  bool shards_weights;  ///< of a stack of PyTorch's own parallelism, not of Megatron's
  CalibrationProfile profile;
};

CalibrationProfile profile(std::string name, double matrix, double traffic, double communication,
                           AttentionShares attention, std::int64_t steps, double median, double ninetieth) {
  CalibrationProfile result;
  result.name = std::move(name);
  result.matrix = matrix;
  result.traffic = traffic;
  result.communication = communication;
  result.attention_forward = attention.forward;
  result.attention_backward = attention.backward;
  result.steps = steps;
  result.median_error = median;
  result.ninetieth_error = ninetieth;
  return result;
}

/// PyTorch's own parallelism keeps gathered inputs, products in fp8 keep theirs in bf16, the vocabulary is as it is.
CalibrationProfile native(CalibrationProfile result) {
  result.gathers_again = false;
  result.keeps_fp8 = false;
  result.keeps_expert_outputs = true;
  result.pads_vocabulary = false;
  result.logit_bytes = Bytes(12);
  return result;
}

const std::vector<BuiltIn>& built_in() {
  constexpr Precision bf16 = Precision::kBf16;
  constexpr Precision fp8 = Precision::kFp8;
  static const std::vector<BuiltIn> list = {
      {"A100", bf16, false, false, profile("megatron-2023/A100/bf16", 0.78, 2.68, 3.03, kOnA100, 38, 0.039, 0.108)},
      {"A100", bf16, false, true,
       native(profile("fms-fsdp-2024/A100/bf16", 0.73, 0.82, 1.58, kOnA100, 4, 0.039, 0.051))},
      {"H100", bf16, false, false, profile("nemo-2504/H100/bf16", 0.684, 0.27, 1.05, kCudnnOnH100, 21, 0.015, 0.037)},
      {"H100", fp8, false, false, profile("nemo-2504/H100/fp8", 0.674, 1.97, 0.16, kCudnnOnH100, 25, 0.029, 0.074)},
      {"H100", bf16, true, false, profile("nemo-2504-moe/H100/bf16", 0.65, 4.16, 2.13, kCudnnOnH100, 9, 0.009, 0.135)},
      {"H100", fp8, true, false, profile("nemo-2504-moe/H100/fp8", 0.406, 1.5, 1.0, kCudnnOnH100, 9, 0.015, 0.267)},
      {"H100", bf16, false, true,
       native(profile("torchtitan/H100/bf16", 0.645, 4.58, 1.49, kFlash2OnH100, 8, 0.069, 0.112))},
      {"H100", fp8, false, true,
       native(profile("torchtitan/H100/fp8", 0.406, 1.75, 0.62, kFlash2OnH100, 10, 0.023, 0.177))},
  };
  return list;
}

}  // namespace

namespace {

CalibrationProfile profile_of(const Machines& machines, Precision precision, bool has_experts, Target target) {
  const bool is_torch = target == Target::kTorchtitan;
  const auto fits = [&](const BuiltIn& known) {
    return known.device == machines.device.name && known.precision == precision && known.has_experts == has_experts &&
           known.shards_weights == is_torch;
  };
  const auto found = std::ranges::find_if(built_in(), fits);
  if (found != built_in().end()) return found->profile;
  // Between the fits for PyTorch's and NVIDIA's stacks. One H200 alone at its power limit has 0.67, and 0.55 and 0.47
  // in attention (docs/costs.md: benchmarks/gpu_layer).
  const bool is_a100 = machines.device.name == "A100";
  CalibrationProfile usual = profile("uncalibrated", 0.65, 1.5, 1.0, is_a100 ? kOnA100 : kCudnnOnH100, 0, 0, 0);
  return is_torch ? native(std::move(usual)) : usual;
}

}  // namespace

CalibrationProfile profile_for(const ModelDescription& model, const Machines& machines, Precision precision,
                               Target target) {
  const bool has_experts =
      std::ranges::any_of(model.layers, [](const LayerRun& run) { return run.experts.has_value(); });
  CalibrationProfile profile = profile_of(machines, precision, has_experts, target);
  if (model.has_recurrences() && profile.steps > 0) {
    profile.name += ", recurrences uncalibrated";
    profile.steps = profile.peaks = 0;
    profile.median_error = profile.ninetieth_error = 0;
  }
  return profile;
}

}  // namespace opweave
