#include "strategy/modules.h"

#include <fmt/format.h>

#include <algorithm>

#include "strategy/products.h"

namespace opweave::strategy {
namespace {

double& at(ModuleTimes& times, LayerModule module) { return times[static_cast<std::size_t>(module)]; }

/// Of so many words per token that a kernel reads and writes.
double traffic_seconds(const Setting& s, double words) {
  return s.profile.traffic * kWord * s.tokens() * words / s.machines.device.memory_bandwidth;
}

/// A norm reads and writes the hidden state.
double norm_seconds(const Setting& s) {
  return traffic_seconds(s, 2 * static_cast<double>(s.model.hidden) / s.sequence_split());
}

double activation_seconds(const Setting& s, const Mlp& mlp, double copies) {
  return traffic_seconds(s, copies * static_cast<double>((mlp.inner() + 1) * mlp.width) / s.strategy.tensor);
}

double perceptron_seconds(const Setting& s, const Mlp& mlp) {
  return seconds(s, mlp_products(s, mlp)) + activation_seconds(s, mlp, 1);
}

void add_perceptrons(const Setting& s, const LayerRun& layer, const PassTime& forward, ModuleTimes& times) {
  if (!layer.has_perceptron()) return;
  // Each part of a layer has a reduction.
  const double reduction = forward.tensor / layer.parts();
  const Mlp mlp = common_mlp(layer);
  if (!layer.experts) {
    if (mlp.width > 0) at(times, LayerModule::kPerceptron) = norm_seconds(s) + perceptron_seconds(s, mlp) + reduction;
    return;
  }
  const Experts& experts = *layer.experts;
  const auto active = static_cast<double>(experts.active);
  at(times, LayerModule::kNorms) += norm_seconds(s);
  at(times, LayerModule::kExpertActivation) = activation_seconds(s, experts.expert, active);
  if (mlp.width > 0) at(times, LayerModule::kSharedExperts) = perceptron_seconds(s, mlp) + reduction;
  const double permuted = traffic_seconds(s, 4 * active * static_cast<double>(s.model.hidden) / s.sequence_split());
  at(times, LayerModule::kExperts) = seconds(s, expert_products(s, experts)) + permuted + forward.expert +
                                     at(times, LayerModule::kExpertActivation) + at(times, LayerModule::kSharedExperts);
}

/// All but every other product, attention and messages.
double alternate_seconds(const Setting& s, const LayerRun& layer, const PassTime& forward) {
  const Attention& attention = layer.attention;
  const auto hidden = static_cast<double>(s.model.hidden);
  const double tensor = s.strategy.tensor;
  const double keys = static_cast<double>(attention.kv_heads * attention.query_key_dim()) / tensor;
  const double results = static_cast<double>(attention.heads * attention.value_dim()) / tensor;
  std::vector<Product> again = {{s.tokens(), hidden, keys}, {s.tokens(), results, hidden}};
  const Mlp mlp = common_mlp(layer);
  const auto add_one_of_two = [&](const std::vector<Product>& products, const Mlp& of) {
    if (products.empty() || !of.is_gated) return;
    again.push_back(products.front());
    again.back().columns /= static_cast<double>(of.inner());
  };
  add_one_of_two(mlp_products(s, mlp), mlp);
  if (layer.experts) add_one_of_two(expert_products(s, *layer.experts), layer.experts->expert);
  return seconds(s, again) + forward.traffic;
}

}  // namespace

ModuleTimes module_times(const Setting& setting, const LayerRun& layer, const PassTime& forward) {
  return in_setting_of(setting, layer, [&](const Setting& s) {
    ModuleTimes times{};
    at(times, LayerModule::kCoreAttention) = forward.attention;
    if (layer.attention.latent) {
      at(times, LayerModule::kNorms) = norm_seconds(s);
      const std::vector<Product> products = attention_products(s, layer.attention);
      at(times, LayerModule::kLatentProjections) = seconds(s, {products[1], products[2]});
    }
    add_perceptrons(s, layer, forward, times);
    at(times, LayerModule::kAlternateProducts) = alternate_seconds(s, layer, forward);
    return times;
  });
}

double seconds_of(ModuleSet modules, const ModuleTimes& times) {
  const bool has_experts = modules.has(LayerModule::kExperts);
  double sum = 0;
  for (std::size_t i = 0; i < kLayerModules; ++i) {
    const auto module = static_cast<LayerModule>(i);
    const bool is_inside =
        has_experts && (module == LayerModule::kExpertActivation || module == LayerModule::kSharedExperts);
    if (modules.has(module) && !is_inside) sum += times[i];
  }
  return sum;
}

std::string why_no_such_module(const ModelDescription& model, ModuleSet modules) {
  struct Part {
    LayerModule module;
    std::string_view what;
    bool (*is_in)(const LayerRun&);
  };
  constexpr Part kParts[] = {
      {LayerModule::kCoreAttention, "attention", [](const LayerRun& run) { return run.attention.heads > 0; }},
      {LayerModule::kExpertActivation, "experts", [](const LayerRun& run) { return run.experts.has_value(); }},
      {LayerModule::kLatentProjections, "latent attention",
       [](const LayerRun& run) { return run.attention.latent.has_value(); }},
      {LayerModule::kPerceptron, "dense perceptron",
       [](const LayerRun& run) { return !run.experts && run.mlp.width > 0; }},
      {LayerModule::kExperts, "experts", [](const LayerRun& run) { return run.experts.has_value(); }},
      {LayerModule::kSharedExperts, "shared experts",
       [](const LayerRun& run) { return run.experts && run.experts->shared_width > 0; }},
  };
  for (const Part& part : kParts) {
    if (!modules.has(part.module) || std::ranges::any_of(model.layers, part.is_in)) continue;
    return fmt::format("module {} is made again, but the model has no {}", to_string(part.module), part.what);
  }
  return {};
}

std::vector<ModuleSet> module_sets(const ModelDescription& model, const CalibrationProfile& profile) {
  const auto any = [&](auto is_so) { return std::ranges::any_of(model.layers, is_so); };
  const bool has_latents = any([](const LayerRun& run) { return run.attention.latent.has_value(); });
  const bool has_experts = any([](const LayerRun& run) { return run.experts.has_value(); });
  const bool has_shared = any([](const LayerRun& run) { return run.experts && run.experts->shared_width > 0; });
  const bool has_dense = any([](const LayerRun& run) { return !run.experts && run.mlp.width > 0; });
  std::vector<ModuleSet> sets = {{}};
  const auto with = [&](bool is_there, std::initializer_list<LayerModule> modules) {
    if (!is_there) return;
    for (std::size_t i = 0, count = sets.size(); i < count; ++i) {
      ModuleSet set = sets[i];
      for (const LayerModule module : modules) set.add(module);
      sets.push_back(set);
    }
  };
  with(!profile.has_fused_attention, {LayerModule::kCoreAttention});
  with(has_latents || has_experts, {LayerModule::kNorms});
  with(has_latents, {LayerModule::kLatentProjections});
  with(has_dense, {LayerModule::kPerceptron});
  // Experts are made again with their activation function and the shared ones.
  std::vector<ModuleSet> whole;
  if (has_experts) {
    whole = sets;
    for (ModuleSet& set : whole) set.add(LayerModule::kExperts);
  }
  with(has_experts, {LayerModule::kExpertActivation});
  with(has_shared, {LayerModule::kSharedExperts});
  sets.insert(sets.end(), whole.begin(), whole.end());
  return sets;
}

}  // namespace opweave::strategy
