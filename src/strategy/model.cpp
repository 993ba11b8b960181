#include "opweave/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "opweave/error.h"

namespace opweave {
namespace {

constexpr std::array<std::string_view, 6> kUpdates = {"decay", "delta", "scan", "average", "convolve", "lru"};

void expect_positive(std::int64_t value, std::string_view field) {
  if (value < 1) throw InputError(fmt::format("{} is {}, expected at least 1", field, value));
}

/// The divisors of `whole` on both sides of `value`, which is none.
std::string nearest_divisors(std::string_view field, std::int64_t value, std::int64_t whole) {
  std::int64_t below = std::min(value, whole);
  while (whole % below != 0) --below;
  std::int64_t above = value;
  while (above < whole && whole % above != 0) ++above;
  if (above >= whole) above = whole;
  return below == above ? fmt::format("{} {} would do", field, below)
                        : fmt::format("{} {} or {} would do", field, below, above);
}

void validate(const Attention& attention) {
  expect_positive(attention.heads, "heads");
  expect_positive(attention.kv_heads, "kv_heads");
  expect_positive(attention.head_dim, "head_dim");
  if (attention.heads % attention.kv_heads != 0) {
    throw InputError(
        fmt::format("kv_heads is {}, expected a divisor of the {} heads", attention.kv_heads, attention.heads),
        nearest_divisors("kv_heads", attention.kv_heads, attention.heads));
  }
  if (attention.window) expect_positive(*attention.window, "window");
  if (!attention.latent) return;
  expect_positive(attention.latent->key_value_rank, "key_value_rank");
  expect_positive(attention.latent->value_dim, "value_dim");
}

void validate(const Recurrence& recurrence) {
  expect_positive(recurrence.heads, "heads of a recurrence");
  expect_positive(recurrence.key_heads, "key_heads");
  expect_positive(recurrence.key_dim, "key_dim");
  expect_positive(recurrence.value_dim, "value_dim");
  if (recurrence.heads % recurrence.key_heads != 0) {
    throw InputError(
        fmt::format("key_heads is {}, expected a divisor of the {} heads", recurrence.key_heads, recurrence.heads),
        nearest_divisors("key_heads", recurrence.key_heads, recurrence.heads));
  }
  const bool is_scan = recurrence.update == StateUpdate::kScan;
  if (is_scan != (recurrence.decay_rank > 0) && recurrence.update != StateUpdate::kDelta) {
    throw InputError(fmt::format("decay_rank is {} with update \"{}\", expected {}", recurrence.decay_rank,
                                 to_string(recurrence.update), is_scan ? "at least 1" : "0"));
  }
  if (recurrence.gate_rank > 0 && !recurrence.has_gate) {
    throw InputError(fmt::format("gate_rank is {} without a gate, expected 0 or \"gate\": true", recurrence.gate_rank));
  }
  const bool is_by_column = recurrence.key_heads == recurrence.heads && recurrence.key_dim * recurrence.value_dim == 1;
  if (recurrence.update == StateUpdate::kLru && (recurrence.key_heads != recurrence.heads || recurrence.key_dim != 1)) {
    throw InputError(
        fmt::format("update \"lru\" has {} key heads of {}, expected key_dim 1 and as many as the {} heads",
                    recurrence.key_heads, recurrence.key_dim, recurrence.heads));
  }
  const bool is_convolution = recurrence.update == StateUpdate::kConvolve;
  if ((recurrence.update == StateUpdate::kAverage || is_convolution) && !is_by_column) {
    throw InputError(fmt::format(
        "update \"{}\" has {} heads of {} and {} key heads of {}, expected a head of width 1 and a key for each column",
        to_string(recurrence.update), recurrence.heads, recurrence.value_dim, recurrence.key_heads,
        recurrence.key_dim));
  }
  if (is_convolution && (recurrence.convolution == 0 || !recurrence.has_gate)) {
    throw InputError(fmt::format("update \"convolve\" has convolution {} and {}, expected at least 1 and a gate",
                                 recurrence.convolution, recurrence.has_gate ? "a gate" : "no gate"));
  }
}

void validate(const Experts& experts) {
  expect_positive(experts.count, "experts");
  expect_positive(experts.active, "active experts");
  expect_positive(experts.expert.width, "width of an expert");
  if (experts.active > experts.count) {
    throw InputError(
        fmt::format("active experts is {}, expected at most the {} experts", experts.active, experts.count));
  }
}

}  // namespace

std::string_view to_string(StateUpdate update) { return kUpdates.at(static_cast<std::size_t>(update)); }

std::optional<StateUpdate> state_update_from_string(std::string_view text) {
  const auto found = std::ranges::find(kUpdates, text);
  if (found == kUpdates.end()) return std::nullopt;
  return static_cast<StateUpdate>(found - kUpdates.begin());
}

std::int64_t Attention::query_key_dim() const { return head_dim + (latent ? latent->position_dim : 0); }
std::int64_t Attention::value_dim() const { return latent ? latent->value_dim : head_dim; }

std::int64_t ModelDescription::layer_count() const {
  std::int64_t count = 0;
  for (const LayerRun& run : layers) count += run.count;
  return count;
}

bool ModelDescription::has_recurrences() const {
  return std::ranges::any_of(layers, [](const LayerRun& run) { return run.recurrence.has_value(); });
}

std::int64_t ModelDescription::hidden_in(const LayerRun& layer) const {
  return layer.component ? components[*layer.component].hidden : hidden;
}

std::int64_t ModelDescription::tokens_in(const LayerRun& layer, std::int64_t sequence) const {
  return layer.component ? components[*layer.component].tokens.value_or(sequence) : sequence;
}

std::int64_t attention_parameters(std::int64_t hidden, const Attention& attention) {
  const std::int64_t out = attention.heads * attention.value_dim() * hidden * (attention.has_gate ? 2 : 1);
  if (!attention.latent) return hidden * (attention.heads + 2 * attention.kv_heads) * attention.head_dim + out;
  const LatentAttention& latent = *attention.latent;
  const std::int64_t queries = attention.heads * attention.query_key_dim();
  const std::int64_t to_queries = latent.query_rank > 0 ? latent.query_rank * (hidden + queries) : hidden * queries;
  const std::int64_t to_latent = hidden * (latent.key_value_rank + latent.position_dim);
  const std::int64_t from_latent = latent.key_value_rank * attention.heads * (attention.head_dim + latent.value_dim);
  return to_queries + to_latent + from_latent + out;
}

std::int64_t recurrence_parameters(std::int64_t hidden, const Recurrence& r) {
  std::int64_t sum = 2 * hidden * r.values();  // values, and out
  if (r.update == StateUpdate::kLru) sum += 2 * r.values() * r.value_dim;
  if (r.has_gate) sum += r.gate_rank > 0 ? r.gate_rank * (hidden + r.values()) : hidden * r.values();
  if (r.update == StateUpdate::kScan) {
    return sum + r.values() * (r.decay_rank + r.queries_and_keys()) + r.decay_rank * r.values();
  }
  return sum + hidden * (r.queries_and_keys() + r.decays * r.heads) + r.decay_rank * (hidden + r.heads * r.key_dim);
}

std::int64_t cross_attention_parameters(std::int64_t hidden, std::int64_t source, const Attention& cross) {
  return 2 * hidden * cross.heads * cross.head_dim + 2 * source * cross.kv_heads * cross.head_dim;
}

std::int64_t mlp_parameters(std::int64_t hidden, const Mlp& mlp) {
  return hidden * mlp.width * (mlp.inner() + 1) + (mlp.has_result_gate ? hidden * hidden : 0);
}

namespace {

/// Weights of a layer's matrices with `experts` of its experts.
std::int64_t matrix_parameters(const ModelDescription& model, const LayerRun& layer, std::int64_t experts) {
  const std::int64_t hidden = model.hidden_in(layer);
  std::int64_t sum = attention_parameters(hidden, layer.attention);
  if (layer.recurrence) sum += recurrence_parameters(hidden, *layer.recurrence);
  if (layer.cross) {
    const std::int64_t source = model.components[layer.cross->from].hidden;
    sum += cross_attention_parameters(hidden, source, layer.cross->attention);
  }
  if (layer.predicts_ahead) sum += 2 * hidden * hidden;
  if (!layer.experts) return sum + mlp_parameters(hidden, layer.mlp);
  const Mlp& expert = layer.experts->expert;
  return sum + experts * mlp_parameters(hidden, expert) +
         mlp_parameters(hidden, {layer.experts->shared_width, expert.is_gated});
}

}  // namespace

std::int64_t layer_parameters(const ModelDescription& model, const LayerRun& layer) {
  const std::int64_t norms = layer.predicts_ahead ? 3 * model.hidden_in(layer) : 0;
  return matrix_parameters(model, layer, layer.experts ? layer.experts->count : 0) + norms + layer.other_parameters;
}

std::int64_t active_parameters(const ModelDescription& model, const LayerRun& layer) {
  return matrix_parameters(model, layer, layer.experts ? layer.experts->active : 0);
}

std::int64_t parameters(const ModelDescription& model) {
  std::int64_t sum = model.vocabulary * model.hidden * (model.has_tied_embeddings ? 1 : 2) + model.other_parameters;
  for (const ModelComponent& component : model.components) sum += component.other_parameters;
  for (const LayerRun& run : model.layers) sum += run.count * layer_parameters(model, run);
  return sum;
}

void validate(const ModelDescription& model) {
  expect_positive(model.hidden, "hidden");
  if (model.vocabulary < 0) throw InputError(fmt::format("vocabulary is {}, expected at least 0", model.vocabulary));
  if (model.layers.empty()) throw InputError("no layers, expected at least 1");
  for (const ModelComponent& component : model.components) {
    expect_positive(component.hidden, "hidden of component " + component.name);
    if (component.tokens) expect_positive(*component.tokens, "tokens of component " + component.name);
  }
  bool has_main = false;
  for (const LayerRun& run : model.layers) {
    expect_positive(run.count, "count of layers");
    if (run.attention.heads != 0) validate(run.attention);
    if (run.parts() == 0) throw InputError("a layer has neither attention, recurrence, mlp nor experts, expected one");
    if (run.cross && !run.has_mixer()) throw InputError("a layer has cross_attention alone, expected attention beside");
    if (run.recurrence) validate(*run.recurrence);
    if (run.cross) validate(run.cross->attention);
    if (run.component && has_main) {
      throw InputError(fmt::format("a layer of component {} stands after layers of the main chain, expected before",
                                   model.components[*run.component].name));
    }
    has_main = has_main || !run.component;
    if (run.experts) validate(*run.experts);
  }
  if (!has_main) throw InputError("all layers belong to components, expected at least 1 of the main chain");
}

}  // namespace opweave
