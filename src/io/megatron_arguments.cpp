// Arguments of Megatron-LM, as a list of bash that a launch script sources.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "io/megatron_settings.h"
#include "opweave/error.h"

namespace opweave::io {
namespace {

/// Lines of words of a shell.
class Words {
 public:
  void add(std::string_view name) { text_ += fmt::format("  {}\n", name); }
  template <class Value>
  void add(std::string_view name, const Value& value) {
    text_ += fmt::format("  {} {}\n", name, quoted_if_needed(fmt::format("{}", value)));
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  static std::string quoted_if_needed(const std::string& value) {
    const bool is_plain = value.find_first_not_of(
                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                              "_.,:/=-") == std::string::npos;
    return is_plain ? value : "'" + value + "'";  // no value of ours has a quote
  }

  std::string text_;
};

/// The one value that `of` gives for all layers which have one; nothing if none has.
template <class Of>
auto common(const ModelDescription& model, std::string_view what, Of of) {
  decltype(of(model.layers.front())) found;
  for (const LayerRun& run : model.layers) {
    const auto value = of(run);
    if (value && found && *value != *found) {
      throw InputError(fmt::format("layers differ in {}, Megatron-LM has one number for all of a model", what));
    }
    if (value) found = value;
  }
  return found;
}

/// "([0]*3+[1]*58)": what `of` says of each layer.
template <class Of>
std::string pattern(const ModelDescription& model, Of of) {
  std::vector<std::pair<bool, std::int64_t>> parts;
  for (const LayerRun& run : model.layers) {
    if (run.predicts_ahead) continue;
    if (parts.empty() || parts.back().first != of(run)) parts.emplace_back(of(run), 0);
    parts.back().second += run.count;
  }
  std::string text;
  for (const auto& [is_set, count] : parts) {
    text += fmt::format("{}[{}]*{}", text.empty() ? "" : "+", is_set ? 1 : 0, count);
  }
  return "(" + text + ")";
}

/// What these arguments have no words for yet: those of Megatron-LM's hybrid models are others.
void expect_decoder_layers(const ModelDescription& model) {
  for (const LayerRun& run : model.layers) {
    if (run.recurrence || run.parts() < 2 || run.attention.has_gate) {
      throw InputError(
          "a layer has a recurrence, a gated attention or one part alone: arguments for hybrid models are not written "
          "yet, but --fix and --evaluate take what Megatron-LM can say");
    }
  }
}

void add_attention(Words& words, const ModelDescription& model) {
  expect_decoder_layers(model);
  const auto shared = common(model, "attention", [](const LayerRun& run) -> std::optional<Attention> {
    Attention attention = run.attention;
    attention.window.reset();
    return attention;
  });
  if (!shared->is_causal) throw InputError("attention is not causal, that of Megatron-LM's GPT is");
  words.add("--num-attention-heads", shared->heads);
  if (shared->latent) {
    words.add("--multi-latent-attention");
    if (shared->latent->query_rank > 0) words.add("--q-lora-rank", shared->latent->query_rank);
    words.add("--kv-lora-rank", shared->latent->key_value_rank);
    words.add("--qk-head-dim", shared->head_dim);
    words.add("--qk-pos-emb-head-dim", shared->latent->position_dim);
    words.add("--v-head-dim", shared->latent->value_dim);
  } else {
    words.add("--kv-channels", shared->head_dim);
    if (shared->kv_heads != shared->heads) {
      words.add("--group-query-attention");
      words.add("--num-query-groups", shared->kv_heads);
    }
  }
  const auto window =
      common(model, "the window of attention", [](const LayerRun& run) { return run.attention.window; });
  if (!window) return;
  words.add("--window-size", fmt::format("{},0", *window));
  const auto is_windowed = [](const LayerRun& run) { return run.attention.window.has_value(); };
  if (!std::ranges::all_of(model.layers, is_windowed))
    words.add("--window-attn-skip-freq", pattern(model, is_windowed));
}

void add_perceptrons(Words& words, const ModelDescription& model) {
  const auto dense = common(model, "the perceptron", [](const LayerRun& run) {
    return run.experts ? std::optional<Mlp>() : std::optional(run.mlp);
  });
  const auto experts = common(model, "the experts", [](const LayerRun& run) { return run.experts; });
  const Mlp& first = dense ? *dense : experts->expert;
  if (dense && experts && dense->is_gated != experts->expert.is_gated) {
    throw InputError("perceptrons are gated and experts are not, or the reverse, Megatron-LM has one kind");
  }
  words.add("--ffn-hidden-size", first.width);
  if (first.is_gated) words.add("--swiglu");
  if (!experts) return;
  words.add("--num-experts", experts->count);
  words.add("--moe-router-topk", experts->active);
  words.add("--moe-ffn-hidden-size", experts->expert.width);
  if (experts->shared_width > 0) words.add("--moe-shared-expert-intermediate-size", experts->shared_width);
  if (dense) {
    words.add("--moe-layer-freq", pattern(model, [](const LayerRun& run) { return run.experts.has_value(); }));
  }
  words.add("--moe-grouped-gemm");
  words.add("--moe-token-dispatcher-type", "alltoall");
}

void add_degrees(Words& words, const ModelDescription& model, const Strategy& s) {
  words.add("--tensor-model-parallel-size", s.tensor);
  if (s.has_sequence_parallelism && s.tensor > 1) words.add("--sequence-parallel");
  words.add("--context-parallel-size", s.context);
  words.add("--pipeline-model-parallel-size", s.pipeline);
  if (s.pipeline > 1) words.add("--pipeline-model-parallel-layout", pipeline_layout(model, s));
  if (!has_experts(model)) return;
  words.add("--expert-model-parallel-size", s.expert);
  words.add("--expert-tensor-parallel-size", s.expert_tensor);
}

void add_memory(Words& words, const ModelDescription& model, const TrainingRun& run, const Strategy& s) {
  if (s.recompute == Recompute::kSelective) {
    words.add("--recompute-granularity", "selective");
    words.add(fmt::format("--recompute-modules {}", to_string(s.recomputed_modules, " ")));
  } else if (s.recompute == Recompute::kFull) {
    const auto layers = recomputed_layers_per_chunk(s);
    words.add("--recompute-granularity", "full");
    words.add("--recompute-method", layers ? "block" : "uniform");
    words.add("--recompute-num-layers", layers.value_or(1));
  }
  if (s.activation_offload > 0) {
    words.add("--fine-grained-activation-offloading");
    words.add(fmt::format("--offload-modules {}", fmt::join(offloaded_modules(model, s), " ")));
    words.add("--activation-offload-fraction", fmt::format("{}", s.activation_offload));
  }
  // Megatron-LM moves states that its distributed optimizer keeps apart from the weights.
  const bool is_apart = s.optimizer_offload > 0 || run.has_bf16_moments;
  if (s.sharding != Sharding::kNone || is_apart) words.add("--use-distributed-optimizer");
  if (is_apart) words.add("--use-precision-aware-optimizer");
  if (run.has_bf16_moments) {
    words.add("--exp-avg-dtype", "bf16");
    words.add("--exp-avg-sq-dtype", "bf16");
  }
  if (s.optimizer_offload > 0) {
    words.add("--optimizer-cpu-offload");
    words.add("--optimizer-offload-fraction", fmt::format("{}", s.optimizer_offload));
  }
  if (const auto fsdp = fsdp_strategy(s); !fsdp.empty()) {
    words.add("--use-megatron-fsdp");
    words.add("--data-parallel-sharding-strategy", fsdp);
    words.add("--ckpt-format", "fsdp_dtensor");
  }
}

}  // namespace

std::string megatron_arguments(const ModelDescription& model, const TrainingRun& run, const Strategy& s) {
  if (run.has_fused_loss) {
    throw InputError("the loss writes over the logits (fused_loss), Megatron-LM refuses that; Megatron-Bridge has it");
  }
  Words shape;
  shape.add("--num-layers", decoder_layers(model));
  if (const auto predictions = prediction_layers(model); predictions > 0) {
    shape.add("--mtp-num-layers", predictions);
    shape.add("--position-embedding-type", "rope");  // with which alone Megatron-LM predicts ahead
  }
  shape.add("--hidden-size", model.hidden);
  add_attention(shape, model);
  add_perceptrons(shape, model);
  if (!model.has_tied_embeddings) shape.add("--untie-embeddings-and-output-weights");
  shape.add("--vocab-size", model.vocabulary);
  Words training;
  training.add("--seq-length", run.sequence);
  training.add("--max-position-embeddings", run.sequence);
  training.add("--micro-batch-size", s.micro_batch);
  training.add("--global-batch-size", run.global_batch);
  training.add("--bf16");
  if (run.has_bf16_gradients) training.add("--grad-reduce-in-bf16");
  if (run.precision == Precision::kFp8) {
    training.add("--fp8-format", "hybrid");
    training.add("--fp8-recipe", "tensorwise");  // with which activation functions and norms may be made again
  }
  Words degrees;
  add_degrees(degrees, model, s);
  Words memory;
  add_memory(memory, model, run, s);
  Words overlap;
  if (s.overlaps_data && s.data * s.context > 1) {
    overlap.add("--overlap-grad-reduce");
    if (s.sharding != Sharding::kNone) overlap.add("--overlap-param-gather");
  }
  if (s.overlaps_tensor) overlap.add("--tp-comm-overlap");
  // Megatron-LM orders kernels of the tensor and context axes by one queue (before Blackwell), its FSDP by several.
  const bool has_fsdp = !fsdp_strategy(s).empty();
  return fmt::format(
      "# Megatron-LM (Megatron-Core {}), {} processes:\n"
      "#   source THIS_FILE; torchrun ... pretrain_gpt.py \"${{MEGATRON_ARGS[@]}}\" ...\n"
      "# What the description of a model does not say is to be added: norm, positions, biases, tokenizer, data, "
      "rates.\n"
      "{}\n{}MEGATRON_ARGS=(\n{}{}{}{}{})\n",
      kMegatronCoreVersion, s.devices(),
      has_fsdp ? "unset CUDA_DEVICE_MAX_CONNECTIONS" : "export CUDA_DEVICE_MAX_CONNECTIONS=1",
      // Without it, Transformer Engine moves weights as well.
      s.activation_offload > 0 ? "export NVTE_CPU_OFFLOAD_V1=1\n" : "", shape.text(), training.text(), degrees.text(),
      memory.text(), overlap.text());
}

}  // namespace opweave::io
