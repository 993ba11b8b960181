// A recipe of Megatron-Bridge.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "io/megatron_settings.h"

namespace opweave::io {
namespace {

const char* truth(bool value) { return value ? "True" : "False"; }

std::string memory_lines(const ModelDescription& model, const TrainingRun& run, const Strategy& s) {
  std::string text;
  if (s.recompute == Recompute::kSelective) {
    text += fmt::format("    model.recompute_granularity = \"selective\"\n    model.recompute_modules = [\"{}\"]\n",
                        to_string(s.recomputed_modules, "\", \""));
  } else if (s.recompute == Recompute::kFull) {
    const auto layers = recomputed_layers_per_chunk(s);
    text += fmt::format(
        "    model.recompute_granularity = \"full\"\n    model.recompute_method = \"{}\"\n"
        "    model.recompute_num_layers = {}\n",
        layers ? "block" : "uniform", layers.value_or(1));
  } else {
    text += "    model.recompute_granularity = None\n";
  }
  if (s.activation_offload > 0) {
    text += fmt::format(
        "    model.fine_grained_activation_offloading = True\n    model.offload_modules = [\"{}\"]\n"
        "    model.activation_offload_fraction = {}\n",
        fmt::join(offloaded_modules(model, s), "\", \""), s.activation_offload);
  }
  const bool is_apart = s.optimizer_offload > 0 || run.has_bf16_moments;
  text += fmt::format(
      "    config.ddp.use_distributed_optimizer = {0}\n    config.optimizer.use_distributed_optimizer = {0}\n",
      truth(s.sharding != Sharding::kNone || is_apart));
  if (is_apart) text += "    config.optimizer.use_precision_aware_optimizer = True\n";
  if (run.has_bf16_moments) {
    text += "    config.optimizer.exp_avg_dtype = config.optimizer.exp_avg_sq_dtype = torch.bfloat16\n";
  }
  if (s.optimizer_offload > 0) {
    text += fmt::format(
        "    config.optimizer.optimizer_cpu_offload = True\n    config.optimizer.optimizer_offload_fraction = {}\n",
        s.optimizer_offload);
  }
  if (const auto fsdp = fsdp_strategy(s); !fsdp.empty()) {
    text += fmt::format(
        "    config.ddp.use_megatron_fsdp = True\n    config.ddp.data_parallel_sharding_strategy = \"{}\"\n"
        "    config.checkpoint.ckpt_format = \"fsdp_dtensor\"\n",
        fsdp);
  }
  return text;
}

}  // namespace

std::string megatron_recipe(const ModelDescription& model, const TrainingRun& run, const Strategy& s,
                            const std::string& base) {
  std::string text = fmt::format("\"\"\"A strategy of opweave for Megatron-Bridge {}: {} processes.\"\"\"\n\n",
                                 kMegatronBridgeVersion, s.devices());
  if (run.has_bf16_moments) text += "import torch\n";
  if (!base.empty()) text += "from megatron.bridge import recipes\n";
  text += "from megatron.bridge.training.comm_overlap import CommOverlapConfig\n";
  text += "from megatron.bridge.training.config import ConfigContainer\n";
  text += "from megatron.bridge.training.mixed_precision import get_mixed_precision_config\n\n\n";
  text +=
      "def planned(config: ConfigContainer) -> ConfigContainer:\n"
      "    \"\"\"The recipe with the strategy in it. ValueError where its model has another number of layers.\"\"\"\n"
      "    model = config.model\n";
  text += fmt::format(
      "    if model.num_layers != {0}:\n"
      "        raise ValueError(f\"the recipe has {{model.num_layers}} layers, the strategy is for {0}\")\n",
      decoder_layers(model));
  if (const auto predictions = prediction_layers(model); predictions > 0) {
    text += fmt::format("    model.mtp_num_layers = {}\n", predictions);
  }
  const bool has_sequence_parallelism = s.has_sequence_parallelism && s.tensor > 1;
  text += fmt::format("    model.tensor_model_parallel_size = {}\n    model.sequence_parallel = {}\n", s.tensor,
                      truth(has_sequence_parallelism));
  text += fmt::format("    model.context_parallel_size = {}\n    model.pipeline_model_parallel_size = {}\n", s.context,
                      s.pipeline);
  text += fmt::format("    model.virtual_pipeline_model_parallel_size = {}\n",
                      s.chunks > 1 ? std::to_string(s.chunks) : "None");
  // What else could say where layers lie must not.
  text += fmt::format("    model.pipeline_model_parallel_layout = {}\n",
                      s.pipeline > 1 ? "\"" + pipeline_layout(model, s) + "\"" : "None");
  text +=
      "    model.num_layers_in_first_pipeline_stage = model.num_layers_in_last_pipeline_stage = None\n"
      "    model.account_for_embedding_in_pipeline_split = False\n"
      "    model.account_for_loss_in_pipeline_split = False\n";
  if (has_experts(model)) {
    text += fmt::format("    model.expert_model_parallel_size = {}\n    model.expert_tensor_parallel_size = {}\n",
                        s.expert, s.expert_tensor);
  }
  text += memory_lines(model, run, s);
  text += fmt::format("    config.train.global_batch_size = {}\n    config.train.micro_batch_size = {}\n",
                      run.global_batch, s.micro_batch);
  text += fmt::format("    model.seq_length = config.dataset.seq_length = {}\n", run.sequence);
  const bool overlaps = s.overlaps_data && s.data * s.context > 1;
  text += fmt::format(
      "{}    config.mixed_precision = get_mixed_precision_config(\"{}\")\n{}"
      "    config.comm_overlap = CommOverlapConfig(\n"
      "        tp_comm_overlap={}, overlap_grad_reduce={}, overlap_param_gather={}\n    )\n"
      "    return config\n",
      run.has_fused_loss ? "    model.cross_entropy_loss_fusion = True\n"
                           "    model.cross_entropy_fusion_impl = \"te\"\n"
                         : "",
      run.precision == Precision::kFp8 ? "bf16_with_fp8_current_scaling_mixed" : "bf16_mixed",
      run.has_bf16_gradients
          ? "    config.mixed_precision.grad_reduce_in_fp32 = config.ddp.grad_reduce_in_fp32 = False\n"
          : "",
      truth(s.overlaps_tensor), truth(overlaps), truth(overlaps && s.sharding != Sharding::kNone));
  if (!base.empty()) {
    text += fmt::format(
        "\n\ndef {0}() -> ConfigContainer:\n    \"\"\"Megatron-Bridge's {0} under the strategy.\"\"\"\n"
        "    return planned(recipes.{0}())\n",
        base);
  }
  return text;
}

}  // namespace opweave::io
