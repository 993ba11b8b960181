#include "io/hf_mixers.h"

#include <fmt/format.h>

#include <algorithm>

namespace opweave::io {

std::int64_t convolution_parameters(const Recurrence& recurrence, bool has_bias) {
  const std::int64_t channels = recurrence.values() + 2 * recurrence.queries();
  return channels * (recurrence.convolution + (has_bias ? 1 : 0));
}

Mixer read_mamba2(const HfConfig& config, const Mamba2Keys& keys, std::int64_t hidden, std::int64_t values,
                  bool has_norm) {
  Mixer mixer;
  Recurrence& r = mixer.recurrence;
  r.heads = config.required({keys.heads});
  if (r.heads < 1 || values % r.heads != 0) {
    config.reject(keys.heads, fmt::format("a divisor of the {} columns of the state space", values));
  }
  r.value_dim = values / r.heads;
  r.key_heads = config.required({keys.groups});
  r.key_dim = config.required({keys.state});
  r.convolution = config.required({keys.taps});
  r.decays = 1;
  r.has_gate = true;
  mixer.extras = convolution_parameters(r, config.truth(keys.conv_bias, true)) + 3 * r.heads + (has_norm ? values : 0);
  if (config.truth(keys.in_bias, false)) mixer.extras += 2 * values + 2 * r.queries() + r.heads;
  if (config.truth(keys.out_bias, false)) mixer.extras += hidden;
  return mixer;
}

Mixer read_mamba(const HfConfig& config, const MambaKeys& keys, std::int64_t hidden) {
  Mixer mixer;
  Recurrence& r = mixer.recurrence;
  r.update = StateUpdate::kScan;
  r.heads = config.required({keys.expand}) * hidden;
  r.value_dim = r.key_heads = 1;
  r.key_dim = config.required({keys.state});
  r.decay_rank = config.required({keys.rank});
  r.convolution = config.required({keys.taps});
  r.has_gate = true;
  // The convolution sees values alone; decays by column and element of the state, a skip.
  mixer.extras = r.values() * (r.convolution + (config.truth(keys.conv_bias, true) ? 1 : 0)) + r.values() +
                 r.values() * (r.key_dim + 1);
  if (keys.has_norms) mixer.extras += r.decay_rank + 2 * r.key_dim;
  if (config.truth(keys.bias, false)) mixer.extras += 2 * r.values() + hidden;
  return mixer;
}

Mixer read_delta_net(const HfConfig& config) {
  Mixer mixer;
  Recurrence& r = mixer.recurrence;
  r.update = StateUpdate::kDelta;
  r.heads = config.required({"linear_num_value_heads"});
  r.key_heads = config.required({"linear_num_key_heads"});
  r.key_dim = config.required({"linear_key_head_dim"});
  r.value_dim = config.required({"linear_value_head_dim"});
  r.convolution = config.required({"linear_conv_kernel_dim"});
  r.decays = 2;
  r.has_gate = true;
  mixer.extras = convolution_parameters(r, false) + 2 * r.heads + r.value_dim;
  return mixer;
}

Attention read_attention(const HfConfig& config, std::int64_t hidden) {
  Attention attention;
  attention.heads = config.required({"num_attention_heads"});
  attention.kv_heads = config.integer({"num_key_value_heads"}).value_or(attention.heads);
  attention.head_dim = config.integer({"head_dim"}).value_or(hidden / std::max<std::int64_t>(1, attention.heads));
  return attention;
}

std::int64_t attention_biases(const HfConfig& config, const Attention& attention, std::int64_t hidden) {
  if (!config.truth("attention_bias", false)) return 0;
  const std::int64_t heads = attention.heads * (attention.has_gate ? 2 : 1) + 2 * attention.kv_heads;
  return heads * attention.head_dim + hidden;
}

std::int64_t perceptron_biases(const HfConfig& config, const Mlp& mlp, std::int64_t hidden) {
  return config.truth("mlp_bias", false) ? mlp.inner() * mlp.width + hidden : 0;
}

ModelDescription read_outside(const HfConfig& config, std::string_view type, bool ties) {
  ModelDescription model;
  model.name = type;
  model.hidden = config.required({"hidden_size"});
  model.vocabulary = config.required({"vocab_size"});
  model.has_tied_embeddings = config.truth("tie_word_embeddings", ties);
  model.other_parameters = model.hidden;
  config.ignore({"max_position_embeddings",
                 "num_logits_to_keep",
                 "residual_in_fp32",
                 "rescale_prenorm_residual",
                 "use_mamba_kernels",
                 "use_mambapy",
                 "use_associative_scan",
                 "time_step_limit",
                 "time_step_min",
                 "time_step_max",
                 "time_step_floor",
                 "mamba_chunk_size",
                 "chunk_size",
                 "mamba_hidden_act",
                 "mlp_hidden_act",
                 "mamba_ssm_cache_dtype",
                 "num_nextn_predict_layers",
                 "mtp_layers_block_type",
                 "mtp_hybrid_override_pattern",
                 "z_loss_coefficient",
                 "time_step_scale",
                 "time_step_init_scheme",
                 "context_length"});
  const auto architectures = config.texts("architectures");
  if (architectures && !architectures->empty() && !architectures->front().ends_with("ForCausalLM")) {
    config.reject("architectures", "a model that predicts tokens (...ForCausalLM)");
  }
  return model;
}

std::int64_t layers_of(const HfConfig& config) {
  const std::int64_t layers = config.required({"num_hidden_layers"});
  if (layers > 100'000) config.reject("num_hidden_layers", "at most 100000");
  return layers;
}

std::optional<std::vector<std::string>> types_of_layers(const HfConfig& config, std::string_view key,
                                                        std::int64_t layers) {
  auto types = config.texts(key);
  if (types && static_cast<std::int64_t>(types->size()) != layers) {
    config.fail(fmt::format("{} has {} entries, expected one for each of the {} layers", key, types->size(), layers));
  }
  return types;
}

std::vector<bool> linear_layers(const HfConfig& config, std::string_view key, const std::vector<std::string>& types) {
  std::vector<bool> result;
  for (const std::string& type : types) {
    const bool is_linear = type == "linear_attention" || type == "mamba";
    if (!is_linear && type != "full_attention" && type != "attention") {
      config.reject(key, "\"full_attention\" or \"linear_attention\" alone");
    }
    result.push_back(is_linear);
  }
  return result;
}

LayerRun with_mixer(LayerRun layer, const Mixer& mixer) {
  layer.recurrence = mixer.recurrence;
  layer.other_parameters += mixer.extras;
  return layer;
}
LayerRun with_attention(LayerRun layer, const Attention& attention, std::int64_t extras) {
  layer.attention = attention;
  layer.other_parameters += extras;
  return layer;
}

}  // namespace opweave::io
