// What differs from layer to layer: windows of attention, and which layers have experts.
#include <fmt/format.h>

#include <algorithm>

#include "io/hf_models.h"

namespace opweave::io {
namespace {

using AttentionWindows = std::vector<std::optional<std::int64_t>>;

/// `layer_types`, one text per layer.
AttentionWindows listed_attention_windows(const HfConfig& config, const std::vector<std::string>& types,
                                          std::int64_t layers) {
  if (static_cast<std::int64_t>(types.size()) != layers) {
    config.fail(
        fmt::format("layer_types has {} entries, expected one for each of the {} layers", types.size(), layers));
  }
  AttentionWindows windows;
  for (const std::string& type : types) {
    if (type == "sliding_attention" || type == "local") {
      windows.emplace_back(config.required({"sliding_window", "window_size"}));
    } else if (type == "chunked_attention") {
      // A token of a chunk sees half of it on average.
      windows.emplace_back(std::max<std::int64_t>(1, config.required({"attention_chunk_size"}) / 2));
    } else if (type == "full_attention" || type == "global") {
      windows.emplace_back();
    } else {
      config.reject("layer_types", "\"full_attention\", \"sliding_attention\" or \"chunked_attention\" alone");
    }
  }
  return windows;
}

/// Which layers have the window, by the rule of the architecture where the configuration lists none.
std::vector<bool> windowed_layers(const HfConfig& config, const Habits& habits, std::int64_t layers) {
  std::vector<bool> chosen(static_cast<std::size_t>(layers));
  const auto choose = [&](auto has_window) {
    for (std::int64_t i = 0; i < layers; ++i) chosen[static_cast<std::size_t>(i)] = has_window(i);
  };
  const auto is_used = [&] { return config.truth("use_sliding_window", false); };
  switch (habits.window) {
    case AttentionWindowRule::kNone:
      break;
    case AttentionWindowRule::kAll:
      choose([](std::int64_t) { return true; });
      break;
    case AttentionWindowRule::kAllIfUsed:
      choose([used = is_used()](std::int64_t) { return used; });
      break;
    case AttentionWindowRule::kPattern: {
      const auto given = config.integer({"sliding_window_pattern", "_sliding_window_pattern"});
      const std::int64_t pattern = std::max<std::int64_t>(1, given.value_or(habits.window_pattern));
      choose([pattern](std::int64_t i) { return (i + 1) % pattern != 0; });
      break;
    }
    case AttentionWindowRule::kLast:
    case AttentionWindowRule::kLastAlways: {
      const bool used = is_used() || habits.window == AttentionWindowRule::kLastAlways;
      const std::int64_t first = config.integer({"max_window_layers"}).value_or(layers);
      choose([=](std::int64_t i) { return used && i >= first; });
      break;
    }
    case AttentionWindowRule::kFirstAndOdd: {
      const bool used = is_used();
      const std::int64_t end = config.integer({"max_window_layers"}).value_or(0);
      choose([=](std::int64_t i) { return used && i < end && i % 2 == 0; });
      break;
    }
    case AttentionWindowRule::kChunks: {
      const auto flags = config.integers("no_rope_layers");
      const std::int64_t interval = std::max<std::int64_t>(1, config.integer({"no_rope_layer_interval"}).value_or(4));
      choose([&](std::int64_t i) {
        const auto index = static_cast<std::size_t>(i);
        return flags && !flags->empty() ? index < flags->size() && (*flags)[index] != 0 : (i + 1) % interval != 0;
      });
      break;
    }
    case AttentionWindowRule::kListed:
      if (is_used() || config.integer({"window_size"})) {
        config.fail("key \"layer_types\" or \"attention_layers\" is missing, expected an entry per layer for windows");
      }
      break;
  }
  return chosen;
}

}  // namespace

std::vector<std::optional<std::int64_t>> read_hf_attention_windows(const HfConfig& config, const Habits& habits,
                                                                   std::int64_t layers) {
  AttentionWindows windows(static_cast<std::size_t>(layers));
  if (habits.window == AttentionWindowRule::kNone) return windows;
  config.ignore({"max_window_layers", "use_sliding_window", "no_rope_layers", "no_rope_layer_interval",
                 "sliding_window_pattern", "attention_types"});
  const auto width = habits.window == AttentionWindowRule::kChunks ? config.integer({"attention_chunk_size"})
                                                                   : config.integer({"sliding_window", "window_size"});
  auto types = config.texts("layer_types");
  if (!types) types = config.texts("attention_layers");
  if (types && !types->empty()) return listed_attention_windows(config, *types, layers);
  const std::vector<bool> windowed = windowed_layers(config, habits, layers);
  if (!width || *width == 0) return windows;
  const std::int64_t seen =
      habits.window == AttentionWindowRule::kChunks ? std::max<std::int64_t>(1, *width / 2) : *width;
  for (std::size_t i = 0; i < windows.size(); ++i) {
    if (windowed[i]) windows[i] = seen;
  }
  return windows;
}

namespace {

std::vector<bool> expert_layers(const HfConfig& config, const Habits& habits, std::int64_t layers) {
  std::vector<bool> chosen(static_cast<std::size_t>(layers));
  const auto choose = [&](auto has_experts) {
    for (std::int64_t i = 0; i < layers; ++i) chosen[static_cast<std::size_t>(i)] = has_experts(i);
  };
  switch (habits.experts) {
    case ExpertRule::kNone:
      break;
    case ExpertRule::kAll:
      choose([](std::int64_t) { return true; });
      break;
    case ExpertRule::kSparseStep: {
      const std::int64_t step = std::max<std::int64_t>(1, config.integer({"decoder_sparse_step"}).value_or(1));
      const auto dense = config.integers("mlp_only_layers").value_or(std::vector<std::int64_t>{});
      choose([&](std::int64_t i) { return (i + 1) % step == 0 && std::ranges::find(dense, i) == dense.end(); });
      break;
    }
    case ExpertRule::kAfterFirst: {
      const std::int64_t first = config.integer({"first_k_dense_replace"}).value_or(0);
      if (const auto frequency = config.integer({"moe_layer_freq"}); frequency.value_or(1) != 1) {
        config.reject("moe_layer_freq", "1");
      }
      choose([first](std::int64_t i) { return i >= first; });
      break;
    }
    case ExpertRule::kInterval: {
      const std::int64_t start = config.integer({"moe_layer_start_index"}).value_or(1);
      const std::int64_t interval = std::max<std::int64_t>(1, config.integer({"moe_layer_interval"}).value_or(1));
      // -1 stands for the last layer.
      const std::int64_t end = config.signed_integer("moe_layer_end_index").value_or(-1);
      const std::int64_t last = end < 0 ? layers - 1 : end;
      choose([=](std::int64_t i) { return (i + 1) % interval == 0 && i >= start && i <= last; });
      break;
    }
    case ExpertRule::kInterleaved: {
      const std::int64_t step = std::max<std::int64_t>(1, config.integer({"interleave_moe_layer_step"}).value_or(1));
      const auto listed = config.integers("moe_layers");
      choose([&](std::int64_t i) {
        return listed ? std::ranges::find(*listed, i) != listed->end() : (i + 1) % step == 0;
      });
      break;
    }
  }
  return chosen;
}

}  // namespace

std::optional<HfExperts> read_hf_experts(const HfConfig& config, const Habits& habits, std::string_view type,
                                         std::int64_t hidden, std::int64_t layers) {
  if (habits.experts == ExpertRule::kNone) return std::nullopt;
  HfExperts result;
  Experts& experts = result.experts;
  experts.count = config.required({"num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"});
  experts.active = config.required({"num_experts_per_tok", "experts_per_token", "moe_k", "num_experts_per_token"});
  const auto own_width = config.integer({"moe_intermediate_size"});
  experts.expert.width = own_width ? *own_width : config.required({"intermediate_size"});
  experts.shared_width = config.integer({"shared_expert_intermediate_size"}).value_or(0);
  experts.shared_width +=
      config.integer({"n_shared_experts", "moe_num_shared_experts", "num_shared_experts"}).value_or(0) *
      experts.expert.width;
  if (type == "llama4_text") experts.shared_width = experts.expert.width;

  result.extras = experts.count * hidden;                      // router
  if (type == "qwen2_moe") result.extras += hidden;            // gate of the shared expert
  if (type == "ernie4_5_moe") result.extras += experts.count;  // corrections of scores
  if (habits.experts_have_bias) {
    result.extras += experts.count * (1 + experts.expert.inner() * experts.expert.width + hidden);
  }
  if (habits.mlp_bias.key == "use_bias" && is_on(config, habits.mlp_bias) && experts.shared_width > 0) {
    result.extras += experts.expert.inner() * experts.shared_width + hidden;
  }
  if (type == "deepseek_v2" && is_on(config, habits.mlp_bias)) {
    result.extras += experts.expert.inner() * experts.shared_width + hidden;
  }
  result.layers = expert_layers(config, habits, layers);
  return result;
}

}  // namespace opweave::io
