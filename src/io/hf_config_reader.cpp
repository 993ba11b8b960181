// config.json of Hugging Face transformers: which reader knows it.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "io/hf_models.h"
#include "io/message.h"
#include "opweave/error.h"
#include "opweave/model.h"

namespace opweave {
namespace {

using Reader = ModelDescription (*)(const io::HfConfig& config);

const std::map<std::string_view, Reader>& own_readers() {
  static const std::map<std::string_view, Reader> readers = {
      {"bamba", io::read_hf_bamba},
      {"bart", io::read_hf_bart},
      {"dbrx", io::read_hf_dbrx},
      {"falcon_h1", io::read_hf_falcon_h1},
      {"falcon_mamba", io::read_hf_mamba},
      {"gemma3", io::read_hf_gemma3},
      {"granitemoehybrid", io::read_hf_granite_hybrid},
      {"jamba", io::read_hf_jamba},
      {"kimi_linear", io::read_hf_kimi_linear},
      {"lfm2", io::read_hf_lfm2},
      {"lfm2_moe", io::read_hf_lfm2_moe},
      {"llama4", io::read_hf_llama4},
      {"llava", io::read_hf_llava},
      {"mamba", io::read_hf_mamba},
      {"mamba2", io::read_hf_mamba2},
      {"minimax", io::read_hf_minimax},
      {"nemotron_h", io::read_hf_nemotron_h},
      {"olmo_hybrid", io::read_hf_olmo_hybrid},
      {"qwen2_vl", io::read_hf_qwen2_vl},
      {"qwen3_5_moe_text", io::read_hf_qwen3_5_moe},
      {"qwen3_5_text", io::read_hf_qwen3_5},
      {"qwen3_next", io::read_hf_qwen3_next},
      {"recurrent_gemma", io::read_hf_recurrent_gemma},
      {"rwkv", io::read_hf_rwkv},
      {"t5", io::read_hf_t5},
      {"vit", io::read_hf_vit},
      {"whisper", io::read_hf_whisper},
      {"xlstm", io::read_hf_xlstm},
  };
  return readers;
}

}  // namespace

std::vector<std::string> known_hf_models() {
  std::set<std::string> names;
  for (const auto& [name, habits] : io::known_habits()) names.emplace(name);
  for (const auto& [name, reader] : own_readers()) names.emplace(name);
  return {names.begin(), names.end()};
}

ModelDescription parse_hf_config(std::string_view json, const std::string& source, bool with_prediction_modules) {
  const io::JsonDocument document(json, source);
  const io::JsonValue root = document.root();
  const io::HfConfig config(root);
  const std::string type = config.text("model_type");
  if (type.empty()) root.fail("key \"model_type\" is missing, expected a config.json of Hugging Face transformers");
  const auto own = own_readers().find(type);
  if (own == own_readers().end() && !io::known_habits().contains(type)) {
    root.fail(fmt::format("model_type {} is not known yet, expected one of {}", io::text_in_quotes(type),
                          fmt::join(known_hf_models(), ", ")),
              "write the model's layers by hand (opweave.model, docs/formats.md)");
  }
  if (own != own_readers().end() && with_prediction_modules) {
    root.fail(fmt::format("model_type {} has no modules that predict further ahead", io::text_in_quotes(type)));
  }
  ModelDescription model = own != own_readers().end()
                               ? own->second(config)
                               : io::read_hf_language_model(config, type, {with_prediction_modules});
  try {
    validate(model);
  } catch (const InputError& error) {
    root.fail(error.what(), error.hint());
  }
  return model;
}

}  // namespace opweave
