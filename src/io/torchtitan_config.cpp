// A configuration of torchtitan 0.3, which is a function of Python.
#include <fmt/format.h>

#include <algorithm>

#include "io/strategy_texts.h"
#include "opweave/error.h"
#include "opweave/strategy_targets.h"

namespace opweave {
namespace {

constexpr std::string_view kPlanned = R"(

def planned(config: Trainer.Config) -> Trainer.Config:
    """The configuration with the plan in it. ValueError where its model has other modules than the plan."""
    parts = PARALLELISM.get("module_fqns_per_model_part")
    if config.model_spec is not None and parts:
        with torch.device("meta"):
            model = config.model_spec.model.build()
        there = set()
        for name, child in model.named_children():
            numbers = [key for key, _ in child.named_children() if key.isdigit()]
            there |= {f"{name}.{number}" for number in numbers} or {name}
        listed = {name for part in parts for name in part}
        if there != listed:
            raise ValueError(
                f"the plan leaves out {sorted(there - listed)} of the model and has {sorted(listed - there)} instead"
            )
    return dataclasses.replace(
        config,
        parallelism=dataclasses.replace(config.parallelism, **PARALLELISM),
        training=dataclasses.replace(config.training, **TRAINING),
        **OTHERS,
    )
)";

std::string dictionary(std::string_view name, const std::vector<std::pair<std::string, std::string>>& fields) {
  if (fields.empty()) return fmt::format("{} = {{}}\n", name);
  std::string text = fmt::format("{} = {{\n", name);
  for (const auto& [key, value] : fields) text += fmt::format("    \"{}\": {},\n", key, value);
  return text + "}\n";
}

std::string python_literal(bool value) { return value ? "True" : "False"; }

/// Modules of torchtitan's decoders by stage.
std::string modules(const ModelDescription& model, const Strategy& s) {
  std::string text = "[";
  std::uint32_t layer = 0;
  const auto stages = layers_of_stages(model, s);
  for (std::size_t stage = 0; stage < stages.size(); ++stage) {
    std::vector<std::string> names;
    if (stage == 0) names.emplace_back("\"tok_embeddings\"");
    for (std::uint32_t i = 0; i < stages[stage]; ++i) names.push_back(fmt::format("\"layers.{}\"", layer++));
    if (stage + 1 == stages.size()) names.insert(names.end(), {"\"norm\"", "\"lm_head\""});
    if (names.empty()) {
      throw InputError(fmt::format("stage {} has no layers, torchtitan has no empty stages", stage));
    }
    text += fmt::format("\n        [{}],", fmt::join(names, ", "));
  }
  return text + "\n    ]";
}

}  // namespace

std::string torchtitan_module(const TorchtitanFields& fields) {
  std::string text =
      "\"\"\"A plan of opweave for torchtitan 0.3.0.\"\"\"\n\nimport dataclasses\nfrom pathlib import Path\n\n"
      "import torch\n";
  const std::size_t dot = fields.base.find('.');
  if (!fields.base.empty() && (dot == 0 || dot == std::string::npos || dot + 1 == fields.base.size())) {
    throw InputError("base is \"" + fields.base + "\", expected module and function, like llama3.llama3_8b");
  }
  const auto uses = [&](std::string_view name) {
    return std::ranges::any_of(fields.others, [&](const auto& field) { return field.second.starts_with(name); });
  };
  if (uses("CompileConfig")) text += "from torchtitan.config import CompileConfig\n";
  if (uses("SelectiveAC")) text += "from torchtitan.distributed.activation_checkpoint import SelectiveAC\n";
  if (uses("FullAC")) text += "from torchtitan.distributed.activation_checkpoint import FullAC\n";
  if (!fields.base.empty()) {
    text += fmt::format("from torchtitan.models.{} import config_registry\n", fields.base.substr(0, dot));
  }
  text += "from torchtitan.trainer import Trainer\n\n";
  text += dictionary("PARALLELISM", fields.parallelism) + dictionary("TRAINING", fields.training) +
          dictionary("OTHERS", fields.others);
  text += kPlanned;
  if (!fields.base.empty()) {
    text += fmt::format(
        "\n\ndef {0}() -> Trainer.Config:\n    \"\"\"torchtitan's {1} under the plan.\"\"\"\n"
        "    return planned(config_registry.{0}())\n",
        fields.base.substr(dot + 1), fields.base);
  }
  return text;
}

namespace io {

std::string torchtitan_config(const ModelDescription& model, const TrainingRun& run, const Strategy& s,
                              const StrategyFileOptions& options) {
  if (run.has_bf16_gradients || run.has_bf16_moments || run.has_fused_loss) {
    throw InputError(
        "torchtitan reduces gradients in fp32, keeps moments so and has no loss that writes over the logits");
  }
  TorchtitanFields fields;
  fields.base = options.base;
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  const bool is_sharded = s.sharding >= Sharding::kGradients;
  fields.parallelism = {
      {"data_parallel_replicate_degree", number(is_sharded ? 1 : s.data)},
      {"data_parallel_shard_degree", number(is_sharded ? s.data : 1)},
      {"fsdp_reshard_after_forward", s.sharding == Sharding::kWeights ? "\"always\"" : "\"never\""},
      {"tensor_parallel_degree", number(s.tensor)},
      {"enable_sequence_parallel", python_literal(s.has_sequence_parallelism)},
      {"context_parallel_degree", number(s.context)},
      {"expert_parallel_degree", number(s.expert)},
      {"pipeline_parallel_degree", number(s.pipeline)},
  };
  std::int64_t local_batch = s.micro_batch;  // of one accumulation step; with a pipeline all microbatches are one
  if (s.pipeline > 1) {
    local_batch = run.global_batch / s.data;
    const bool has_file = has_schedule_file(StrategyFormat::kTorchtitan, s);
    fields.parallelism.insert(
        fields.parallelism.end(),
        {{"pipeline_parallel_schedule", s.chunks > 1 ? "\"Interleaved1F1B\"" : "\"1F1B\""},
         {"pipeline_parallel_schedule_csv",
          has_file ? fmt::format("str(Path(__file__).resolve().with_name(\"{}\"))", options.schedule_csv) : "\"\""},
         {"pipeline_parallel_microbatch_size", number(s.micro_batch)},
         {"module_fqns_per_model_part", modules(model, s)}});
  }
  fields.training = {
      {"local_batch_size", number(local_batch)},
      {"global_batch_size", number(run.global_batch)},
      {"seq_len", number(run.sequence)},
  };
  // torchtitan 0.3 refuses CUDA graphs beside a pipeline, and beside experts with most ways to send tokens.
  if (s.pipeline > 1 || s.expert > 1) fields.training.emplace_back("disable_cuda_graphs", "True");
  fields.others.emplace_back("activation_checkpoint", s.recompute == Recompute::kFull        ? "FullAC.Config()"
                                                      : s.recompute == Recompute::kSelective ? "SelectiveAC.Config()"
                                                                                             : "None");
  if (s.overlaps_tensor) {
    fields.others.emplace_back("compile", "CompileConfig(enable=True, enable_async_tensor_parallel=True)");
  }
  return torchtitan_module(fields);
}

}  // namespace io
}  // namespace opweave
