/// Recipes of Megatron-Bridge, as facts that were read from them, and the strategies that they state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/strategy.h"

namespace opweave {

/// One recipe. What a strategy has no word for, and what the recipe itself leaves open, is a line of `unstated`:
/// nothing of a recipe is dropped without one.
struct Recipe {
  std::string name;          ///< "llama3_70b_pretrain_64gpu_h100_bf16_config"
  std::string model;         ///< "llama3_70b"
  std::string task;          ///< "pretrain", "sft", "peft"; empty where the name does not say
  std::string device;        ///< "h100"; empty where the name does not say
  std::int64_t devices = 0;  ///< 0 where the name does not say
  std::string precision;     ///< in its words: "bf16", "fp8cs", "nvfp4"
  TrainingRun run;
  Strategy strategy;
  std::vector<std::string> unstated;
};

/// A list of recipes, or one: JSON objects with "recipe" and the settings that the recipe makes, as in its words. What
/// a recipe does not set is its base recipe's (Megatron-Bridge 0.6.2), what that does not set Megatron's default.
/// \throws InputError naming place and value
[[nodiscard]] std::vector<Recipe> parse_recipes(std::string_view json, const std::string& source);

}  // namespace opweave
