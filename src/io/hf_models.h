/// Readers of configurations of transformers, by kind of model. All throw InputError naming place and value.
#pragma once

#include <optional>

#include "io/hf_config.h"
#include "io/hf_habits.h"
#include "opweave/model.h"

namespace opweave::io {

struct HfOptions {
  bool with_prediction_modules = false;
};

/// A decoder, or an encoder that predicts masked tokens.
[[nodiscard]] ModelDescription read_hf_language_model(const HfConfig& config, std::string_view type,
                                                      const HfOptions& options);
/// "dbrx", whose sizes stand in nested objects.
[[nodiscard]] ModelDescription read_hf_dbrx(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_vit(const HfConfig& config);
/// Encoder and decoder: "t5", "bart", "whisper".
[[nodiscard]] ModelDescription read_hf_t5(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_bart(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_whisper(const HfConfig& config);
/// A language model with a vision tower: "llava", "gemma3", "qwen2_vl", "llama4".
[[nodiscard]] ModelDescription read_hf_llava(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_gemma3(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_qwen2_vl(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_llama4(const HfConfig& config);

// State spaces, linear attention, and hybrids with attention.
/// "mamba", "falcon_mamba".
[[nodiscard]] ModelDescription read_hf_mamba(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_mamba2(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_bamba(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_falcon_h1(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_nemotron_h(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_granite_hybrid(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_jamba(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_qwen3_next(const HfConfig& config);
/// Without a vision tower: "qwen3_5_text", "qwen3_5_moe_text".
[[nodiscard]] ModelDescription read_hf_qwen3_5(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_qwen3_5_moe(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_olmo_hybrid(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_minimax(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_kimi_linear(const HfConfig& config);
/// Short convolutions: "lfm2", "lfm2_moe".
[[nodiscard]] ModelDescription read_hf_lfm2(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_lfm2_moe(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_recurrent_gemma(const HfConfig& config);
[[nodiscard]] ModelDescription read_hf_xlstm(const HfConfig& config);
/// RWKV-4.
[[nodiscard]] ModelDescription read_hf_rwkv(const HfConfig& config);

/// Which layers have experts, and the experts of one; nothing where none has any.
struct HfExperts {
  Experts experts;
  std::int64_t extras = 0;  ///< parameters of a layer beside the experts' matrices: router, gates, biases
  std::vector<bool> layers;
};
[[nodiscard]] std::optional<HfExperts> read_hf_experts(const HfConfig& config, const Habits& habits,
                                                       std::string_view type, std::int64_t hidden, std::int64_t layers);
/// Tokens that each layer looks back at.
[[nodiscard]] std::vector<std::optional<std::int64_t>> read_hf_attention_windows(const HfConfig& config,
                                                                                 const Habits& habits,
                                                                                 std::int64_t layers);

/// Adds a layer to the last run where it is the same, else as a run of its own.
void add_layer(std::vector<LayerRun>& runs, const LayerRun& layer);
/// Whether the switch is on.
[[nodiscard]] bool is_on(const HfConfig& config, const Switch& part);

}  // namespace opweave::io
