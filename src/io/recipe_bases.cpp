#include "io/recipe_bases.h"

#include <algorithm>
#include <array>

namespace opweave::io {
namespace {

// megatron/bridge/recipes of Megatron-Bridge 0.6.2, read from the functions of these names and those that they call.
// The recipes for speed made from those of fine-tuning turn on the distributed optimizer themselves.
// Kimi K2's optimizer (Muon) shares out its states without the distributed optimizer.
constexpr std::array kBases = {
    RecipeBase{"deepseek_v3_pretrain_config", 61, 2, 16, 1, 1, 64, 1, true, 4096, 4096, 1, true, true, {}, {}, true},
    RecipeBase{"deepseek_v4_flash_pretrain_64gpu_gb200_fp8mx_config", 0, 1, 8, 1, 1, 8, 0, false, 4096, 256, 1, true,
               true, "mla_up_proj"},
    RecipeBase{"gpt_oss_120b_pretrain_config", 36, 2, 4, 1, 1, 16, 1, true, 4096, 512},
    RecipeBase{"gpt_oss_20b_pretrain_config", 24, 2, 4, 1, 1, 4, 1, true, 4096, 512},
    RecipeBase{"kimi_k2_pretrain_config", 61, 2, 16, 1, 1, 32, 1, true, 4096, 4096, 1, true, true, "core_attn",
               "_get_kimi_k2_pipeline_layout(16, 1)", true},
    RecipeBase{"llama31_405b_pretrain_config", 126, 8, 8, 2, 4, 0, 0, true, 131072, 512},
    RecipeBase{"llama3_70b_peft_config", 80, 8, 1, 1, 1, 0, 0, false, 0, 8, 1, false},
    RecipeBase{"llama3_70b_pretrain_config", 80, 4, 4, 5, 2, 0, 0, true, 8192, 512},
    RecipeBase{"llama3_70b_sft_config", 80, 8, 4, 1, 1, 0, 0, false, 0, 8, 1, false},
    RecipeBase{"llama3_8b_pretrain_config", 32, 1, 1, 1, 2, 0, 0, false, 8192, 512},
    RecipeBase{"llama3_8b_sft_config", 32, 2, 1, 1, 1, 0, 0, false, 0, 8, 1, false},
    RecipeBase{"nemotron_3_nano_pretrain_config", 0, 0, 0, 0, 0, 0, 0, false, 8192, 1024, 1, true, true,
               "moe,layernorm"},
    RecipeBase{"nemotron_3_super_pretrain_config", 0, 1, 2, 1, 1, 32, 1, false, 4096, 1280, 1, false, true,
               "layernorm,moe_act,moe,core_attn"},
    RecipeBase{"nemotron_3_ultra_pretrain_config", 0, 1, 3, 1, 1, 8, 1, true, 8192, 3072},
    RecipeBase{"nemotronh_56b_pretrain_config", 0, 0, 0, 0, 0, 0, 0, false, 8192, 768},
    RecipeBase{"qwen35_vl_122b_a10b_pretrain_mock_config", 0, 4, 8, 1, 2, 8, 0, true, 4096, 0, 1, false},
    RecipeBase{"qwen35_vl_35b_a3b_pretrain_mock_config", 0, 4, 2, 1, 1, 4, 0, true, 4096, 0, 1, false},
    RecipeBase{"qwen35_vl_397b_a17b_pretrain_mock_config", 0, 4, 16, 1, 2, 16, 0, true, 4096, 0, 1, false},
    RecipeBase{"qwen3_235b_a22b_pretrain_config", 94, 4, 16, 1, 2, 8, 1, true, 4096, 0},
    RecipeBase{"_qwen3_30b_a3b_default_pretrain_config", 48, 1, 1, 1, 1, 16, 1, false, 4096, 1024},
    RecipeBase{"qwen3_30b_a3b_pretrain_config", 48, 1, 1, 1, 1, 16, 1, false, 4096, 1024},
    RecipeBase{"qwen3_next_80b_a3b_pretrain_config", 48, 1, 4, 1, 1, 8, 1, false, 4096, 0, 1, true, true,
               "layernorm,moe,moe_act"},
    RecipeBase{"qwen3_vl_235b_a22b_pretrain_mock_config", 94, 4, 16, 1, 2, 8, 0, true, 4096, 0, 1, false},
    RecipeBase{"qwen3_vl_30b_a3b_pretrain_mock_config", 48, 4, 2, 1, 1, 4, 0, true, 4096, 0, 1, false},
    RecipeBase{"wan_14b_pretrain_config", 40, 2, 1, 1, 4, 0, 0, true, 0, 0, 1, true, true, "full"},
};

}  // namespace

const RecipeBase* recipe_base(std::string_view name) {
  const auto* found = std::ranges::find(kBases, name, &RecipeBase::name);
  return found == kBases.end() ? nullptr : found;
}

}  // namespace opweave::io
