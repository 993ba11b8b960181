/// Mixers with a state of fixed size under the names of transformers, and what models with them share.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/hf_config.h"
#include "opweave/model.h"

namespace opweave::io {

/// A mixer with what a layer has of it beside the matrices: convolutions, decays, norms, biases.
struct Mixer {
  Recurrence recurrence;
  std::int64_t extras = 0;
};

/// Names under which an architecture states its Mamba-2.
struct Mamba2Keys {
  std::string_view heads = "mamba_n_heads";
  std::string_view groups = "mamba_n_groups";
  std::string_view state = "mamba_d_state";
  std::string_view taps = "mamba_d_conv";
  std::string_view conv_bias = "mamba_conv_bias";
  std::string_view in_bias = "mamba_proj_bias";
  std::string_view out_bias = "mamba_proj_bias";
};
/// `values` columns in all heads.
[[nodiscard]] Mixer read_mamba2(const HfConfig& config, const Mamba2Keys& keys, std::int64_t hidden,
                                std::int64_t values, bool has_norm = true);

/// Names under which an architecture states its Mamba (version 1).
struct MambaKeys {
  std::string_view expand = "mamba_expand";
  std::string_view state = "mamba_d_state";
  std::string_view rank = "mamba_dt_rank";
  std::string_view taps = "mamba_d_conv";
  std::string_view conv_bias = "mamba_conv_bias";
  std::string_view bias = "mamba_proj_bias";
  bool has_norms = true;  ///< of decays, queries and keys
};
[[nodiscard]] Mixer read_mamba(const HfConfig& config, const MambaKeys& keys, std::int64_t hidden);
[[nodiscard]] Mixer read_delta_net(const HfConfig& config);

// Parameters of a convolution over queries, keys and values; biases of queries, keys, values (and gates) and of the
// result; biases of a perceptron.
[[nodiscard]] std::int64_t convolution_parameters(const Recurrence& recurrence, bool has_bias);
[[nodiscard]] std::int64_t attention_biases(const HfConfig& config, const Attention& attention, std::int64_t hidden);
[[nodiscard]] std::int64_t perceptron_biases(const HfConfig& config, const Mlp& mlp, std::int64_t hidden);

[[nodiscard]] Attention read_attention(const HfConfig& config, std::int64_t hidden);
/// What all of these have: sizes, a table, one last norm. Without its key the head is tied where `ties`.
[[nodiscard]] ModelDescription read_outside(const HfConfig& config, std::string_view type, bool ties = false);
[[nodiscard]] std::int64_t layers_of(const HfConfig& config);
/// One text per layer, or nothing.
[[nodiscard]] std::optional<std::vector<std::string>> types_of_layers(const HfConfig& config, std::string_view key,
                                                                      std::int64_t layers);
/// Whether each layer has the linear mixer, by its text.
[[nodiscard]] std::vector<bool> linear_layers(const HfConfig& config, std::string_view key,
                                              const std::vector<std::string>& types);

// The layer with the recurrence, or with attention.
[[nodiscard]] LayerRun with_mixer(LayerRun layer, const Mixer& mixer);
[[nodiscard]] LayerRun with_attention(LayerRun layer, const Attention& attention, std::int64_t extras);

}  // namespace opweave::io
