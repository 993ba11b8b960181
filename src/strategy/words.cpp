// What a strategy says of one stage, and the names of enumerators in files and on the command line.
#include <array>

#include "opweave/strategy.h"

namespace opweave {
namespace {

constexpr std::array<std::string_view, 2> kPrecisions = {"bf16", "fp8"};
constexpr std::array<std::string_view, 4> kShardings = {"none", "optimizer", "gradients", "weights"};
constexpr std::array<std::string_view, 3> kRecomputes = {"none", "selective", "full"};
constexpr std::array<std::string_view, kLayerModules> kLayerModuleNames = {
    "core_attn", "moe_act", "layernorm", "mla_up_proj", "mlp", "moe", "shared_experts", "selective_ac"};
constexpr std::array<std::string_view, 5> kKinds = {"1F1B", "Interleaved-1F1B", "ZB1P", "ZB-2P", "DualPipe"};

template <class Enumerator, std::size_t count>
std::optional<Enumerator> find(const std::array<std::string_view, count>& names, std::string_view text) {
  for (std::size_t i = 0; i < count; ++i) {
    if (names[i] == text) return static_cast<Enumerator>(i);
  }
  return std::nullopt;
}

}  // namespace

Strategy Strategy::of_stage(std::uint32_t stage) const {
  Strategy result = stage < first_stage() ? on_component_mesh() : *this;
  if (component && result.data * result.context == 1) result.sharding = Sharding::kNone;
  if (!modules_per_stage.empty()) result.recomputed_modules = modules_per_stage[stage];
  if (!offload_per_stage.empty()) result.activation_offload = offload_per_stage[stage];
  if (recompute == Recompute::kFull && !recomputed_per_stage.empty()) {
    result.recomputed_layers = recomputed_per_stage[stage];
  }
  const bool makes_layers_again = recompute == Recompute::kFull && result.recomputed_layers != 0U;
  if (!makes_layers_again) {
    result.recompute = result.recomputed_modules.empty() ? Recompute::kNone : Recompute::kSelective;
  }
  return result;
}

Strategy Strategy::on_component_mesh() const {
  Strategy result = *this;
  if (!component) return result;
  // The sequences of a microbatch are the same, on other data ranks.
  result.micro_batch = static_cast<std::uint32_t>(std::uint64_t{data} * micro_batch / component->data);
  result.tensor = component->tensor;
  result.has_sequence_parallelism = component->has_sequence_parallelism;
  result.overlaps_tensor = overlaps_tensor && component->has_sequence_parallelism;
  result.context = component->context;
  result.data = component->data;
  result.expert = result.expert_tensor = 1;
  return result;
}

std::string_view to_string(Precision precision) { return kPrecisions.at(static_cast<std::size_t>(precision)); }
std::string_view to_string(Sharding sharding) { return kShardings.at(static_cast<std::size_t>(sharding)); }
std::string_view to_string(Recompute recompute) { return kRecomputes.at(static_cast<std::size_t>(recompute)); }
std::string_view to_string(PipelineKind kind) { return kKinds.at(static_cast<std::size_t>(kind)); }

std::string_view to_string(LayerModule module) { return kLayerModuleNames.at(static_cast<std::size_t>(module)); }
std::string to_string(ModuleSet modules, std::string_view separator) {
  std::string text;
  for (std::size_t i = 0; i < kLayerModules; ++i) {
    if (!modules.has(static_cast<LayerModule>(i))) continue;
    if (!text.empty()) text += separator;
    text += kLayerModuleNames.at(i);
  }
  return text;
}

std::optional<Precision> precision_from_string(std::string_view text) { return find<Precision>(kPrecisions, text); }
std::optional<Sharding> sharding_from_string(std::string_view text) { return find<Sharding>(kShardings, text); }
std::optional<Recompute> recompute_from_string(std::string_view text) { return find<Recompute>(kRecomputes, text); }
std::optional<PipelineKind> pipeline_kind_from_string(std::string_view text) {
  return find<PipelineKind>(kKinds, text);
}

std::optional<LayerModule> layer_module_from_string(std::string_view text) {
  return find<LayerModule>(kLayerModuleNames, text);
}

}  // namespace opweave
