#include "io/recipe_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "io/message.h"
#include "opweave/error.h"
#include "opweave/strategy_files.h"
#include "opweave/strategy_targets.h"

namespace opweave::io {
namespace {

/// Layouts that functions of Megatron-Bridge 0.6.2 give for numbers of stages: those of DeepSeek-V3 ("map default",
/// with a layer of multi-token prediction) and of Kimi K2, both of 61 layers.
std::string named_layout(const LayoutFacts& facts, std::uint32_t stages) {
  const bool is_default = facts.text == "map default";
  if (!is_default && !facts.text.starts_with("_get_kimi_k2_pipeline_layout(")) return facts.text;
  const std::string end = is_default ? "mL" : "L";
  switch (stages) {
    case 4:
      return "Et*16|(t*16|)*2t*13" + end;
    case 8:
      return "Et*8|(t*8|)*6t*5" + end;
    case 16:
      return "Et*4|(t*4|)*14t" + end;
    default:
      return {};
  }
}

void apply_text(Recipe& recipe, const LayoutFacts& facts) {
  Strategy& s = recipe.strategy;
  const std::uint32_t count = s.pipeline * s.chunks;
  // The map of DeepSeek-V3 is for its 61 layers: that of another model is not known.
  const bool is_known = facts.text != "map default" || facts.layers == 61;
  const std::string text = is_known ? named_layout(facts, count) : "";
  if (text.empty()) {
    if (count > 1) {
      recipe.unstated.push_back(fmt::format("pipeline_layout: {} for {} stages is a function of the recipe",
                                            text_in_quotes(facts.text), count));
    }
    return;
  }
  std::vector<std::string> stages;
  try {
    stages = parse_megatron_layout(text);
  } catch (const InputError& error) {
    recipe.unstated.push_back(fmt::format("pipeline_layout: {}", error.what()));
    return;
  }
  if (stages.size() != count) {
    recipe.unstated.push_back(fmt::format("pipeline_layout: {} has {} stages, pipeline {} x chunks {} are {}",
                                          text_in_quotes(text), stages.size(), s.pipeline, s.chunks, count));
    return;
  }
  s.layers_per_stage.assign(s.pipeline, 0);
  std::vector<std::uint32_t> of_stage;
  for (std::size_t stage = 0; stage < stages.size(); ++stage) {
    of_stage.push_back(static_cast<std::uint32_t>(std::ranges::count(stages[stage], 't')));
    s.layers_per_stage[stage % s.pipeline] += of_stage.back();
  }
  if (s.pipeline == 1) s.layers_per_stage.clear();
  const auto predictions = std::ranges::count(text, 'm');
  if (predictions > 0) {
    recipe.unstated.push_back(
        fmt::format("pipeline_layout: {} has multi-token prediction (m) beside the layers", text_in_quotes(text)));
  }
  if (!s.layers_per_stage.empty() && layers_of_stages({}, s) != of_stage) {
    recipe.unstated.push_back(fmt::format(
        "pipeline_layout: {} shares the layers of a rank among its chunks in its own way", text_in_quotes(text)));
  }
}

void apply_ends(Recipe& recipe, const LayoutFacts& facts) {
  Strategy& s = recipe.strategy;
  const std::int64_t first = facts.first.value_or(0);
  const std::int64_t last = facts.last.value_or(0);
  const std::int64_t middle = std::int64_t{s.pipeline} - (facts.first ? 1 : 0) - (facts.last ? 1 : 0);
  const std::int64_t rest = std::int64_t{facts.layers} - first - last;
  if (facts.layers == 0 || middle <= 0 || rest < 0 || rest % middle != 0) {
    recipe.unstated.push_back(fmt::format(
        "first_stage_layers, last_stage_layers: {}, {}: the others cannot be told from {} layers on {} ranks", first,
        last, facts.layers == 0 ? std::string("an unknown number of") : std::to_string(facts.layers), s.pipeline));
    return;
  }
  s.layers_per_stage.assign(s.pipeline, static_cast<std::uint32_t>(rest / middle));
  if (facts.first) s.layers_per_stage.front() = static_cast<std::uint32_t>(first);
  if (facts.last) s.layers_per_stage.back() = static_cast<std::uint32_t>(last);
}

}  // namespace

void apply_layout(Recipe& recipe, const LayoutFacts& facts) {
  if (!facts.text.empty()) apply_text(recipe, facts);
  if (facts.first || facts.last) apply_ends(recipe, facts);
  if (facts.counts_embedding || facts.counts_loss) {
    recipe.unstated.emplace_back("account_for_embedding, account_for_loss: embedding or loss count as a layer");
  }
}

}  // namespace opweave::io
