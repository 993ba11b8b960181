#include "opweave/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "opweave/error.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

constexpr const char* kLlama70B = R"({"model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
  "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256})";

TEST(Model, parameters_of_published_models_are_exact) {
  // Llama 3 70B as transformers counts it: per layer 8192 x (64 + 2 x 8 + 64) x 128 + 3 x 8192 x 28672 + 2 x 8192
  // = 855,654,400; x 80 + 2 x 128256 x 8192 + 8192.
  EXPECT_EQ(parameters(parse_hf_config(kLlama70B, "config.json")), 70'553'706'496);
  // DeepSeek-V3 without its multi-token prediction: 671,026,404,352 (61 layers, the first three dense).
  const char* deepseek = R"({"model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432,
    "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 128, "vocab_size": 129280,
    "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128})";
  EXPECT_EQ(parameters(parse_hf_config(deepseek, "config.json")), 671'026'404'352);
  // GPT-2: 124,439,808, the head tied to the embedding.
  const char* gpt2 = R"({"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024,
    "vocab_size": 50257})";
  EXPECT_EQ(parameters(parse_hf_config(gpt2, "config.json")), 124'439'808);
}

/// T5 small: 512 wide, 6 layers each side, 8 heads of 64, perceptrons of 2048.
constexpr const char* kT5Small = R"({"model_type": "t5", "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6,
  "num_heads": 8, "vocab_size": 32128, "feed_forward_proj": "relu"})";

TEST(Model, two_chains_are_counted) {
  // Per encoder layer 4 x 512 x 512 + 2 x 512 x 2048 + 2 x 512 = 3,146,752; a decoder layer has 4 x 512 x 512 + 512
  // more; at the end of each chain a norm (512) and 32 x 8 relative positions; 32128 x 512 embeddings, tied.
  const std::int64_t encoder = 4 * 512 * 512 + 2 * 512 * 2048 + 2 * 512;
  const std::int64_t decoder = encoder + 4 * 512 * 512 + 512;
  EXPECT_EQ(6 * encoder + 6 * decoder + 2 * (512 + 32 * 8) + 32128 * 512, 60'506'624);
  EXPECT_EQ(parameters(parse_hf_config(kT5Small, "config.json")), 60'506'624);
}

TEST(Model, reading_what_was_written_is_the_identity) {
  for (const char* config : {kLlama70B, kT5Small}) {
    ModelDescription model = parse_hf_config(config, "config.json");
    EXPECT_EQ(parse_model(model_to_json(model), "model.json"), model);
    model.layers.back().predicts_ahead = true;
    EXPECT_EQ(parse_model(model_to_json(model), "model.json"), model);
  }
}

TEST(Model, wrong_descriptions_name_place_and_value) {
  const auto message = [](const std::string& json, bool is_hf) {
    try {
      (void)(is_hf ? parse_hf_config(json, "config.json") : parse_model(json, "model.json"));
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(message(R"({"model_type": "ernie"})", true), HasSubstr("model_type \"ernie\" is not known yet"));
  EXPECT_THAT(message("{}", true), HasSubstr("key \"model_type\" is missing"));
  const std::string dense = R"({"model_type": "llama", "hidden_size": 64, "intermediate_size": 64, "vocab_size": 9,
    "num_hidden_layers": 1, "num_attention_heads": 4)";
  EXPECT_EQ(message(dense + "}", true), "");
  EXPECT_EQ(message(dense + R"(, "unheard_of": false, "rope_theta": 1e4})", true), "");
  EXPECT_THAT(message(dense + R"(, "unheard_of": 3})", true), HasSubstr("key \"unheard_of\" is not known"));
  EXPECT_THAT(message(dense + R"(, "vocab_size": 10})", true), HasSubstr("vocab_size"));
  EXPECT_THAT(message(dense + R"(, "n_embd": 65})", true), HasSubstr("expected 64 as under its other name"));
  EXPECT_THAT(message(R"({"model_type": "llama", "hidden_size": 64})", true), HasSubstr("vocab_size"));
  const std::string head = R"({"format": "opweave.model", "version": 1, "hidden": 64, "vocabulary": 10, "layers": )";
  EXPECT_THAT(message(head + "[]}", false), HasSubstr("no layers"));
  EXPECT_THAT(
      message(head + R"([{"attention": {"heads": 4, "kv_heads": 3, "head_dim": 16}, "mlp": {"width": 8}}]})", false),
      HasSubstr("kv_heads is 3, expected a divisor of the 4 heads"));
  EXPECT_THAT(message(head + R"([{"attention": {"heads": 4, "head_dim": 16}}]})", false),
              HasSubstr("expected either \"mlp\" (null in a layer without) or \"experts\""));
  const std::string layer = R"("attention": {"heads": 4, "head_dim": 16}, "mlp": {"width": 8}})";
  const std::string tower = R"([{"component": "eye", )" + layer + "]";
  EXPECT_THAT(message(head + tower + "}", false), HasSubstr("value is \"eye\", expected the name of a component"));
  const std::string with_eye = R"(, "components": [{"name": "eye", "hidden": 32}]})";
  EXPECT_THAT(message(head + tower + with_eye, false), HasSubstr("all layers belong to components"));
  const std::string behind = "[{" + layer + ", " + tower.substr(1);
  EXPECT_THAT(message(head + behind + with_eye, false), HasSubstr("a layer of component eye stands after layers"));
}

}  // namespace
}  // namespace opweave
