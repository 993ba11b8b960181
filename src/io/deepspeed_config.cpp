// A configuration file of DeepSpeed: the data axis and the states that it shares out. All else is in the program.
#include <fmt/format.h>

#include "io/json_writer.h"
#include "io/strategy_texts.h"
#include "opweave/error.h"

namespace opweave::io {
namespace {

std::string why_not(const TrainingRun& run, const Strategy& s) {
  if (s.component) {
    return fmt::format("component \"{}\" has a mesh of its own, DeepSpeed's file has one mesh", s.component->name);
  }
  const std::pair<const char*, std::uint32_t> axes[] = {
      {"tensor", s.tensor}, {"context", s.context}, {"pipeline", s.pipeline}, {"expert", s.expert}};
  for (const auto& [name, degree] : axes) {
    if (degree > 1)
      return fmt::format("{} is {}, which DeepSpeed takes from the program, not from a file", name, degree);
  }
  if (s.recompute != Recompute::kNone) {
    return fmt::format("recompute is {}, which DeepSpeed takes from the program, not from a file",
                       to_string(s.recompute));
  }
  if (s.activation_offload > 0 || !s.offload_per_stage.empty()) {
    return "activations on the host, which DeepSpeed takes from the program, not from a file";
  }
  if (s.optimizer_offload > 0 && s.optimizer_offload < 1 && s.sharding < Sharding::kWeights) {
    return fmt::format("optimizer_offload is {}, DeepSpeed moves all of the state below stage 3, or none",
                       s.optimizer_offload);
  }
  if (run.has_bf16_gradients) return "bf16_gradients are set, DeepSpeed's file sums gradients as its optimizers do";
  if (run.has_fused_loss) return "fused_loss is set, which DeepSpeed takes from the program, not from a file";
  if (run.has_bf16_moments) return "bf16_moments are set, DeepSpeed's optimizers keep moments in fp32";
  if (run.precision != Precision::kBf16) return "precision is fp8, DeepSpeed's file has bf16 and fp16";
  const std::int64_t round = std::int64_t{s.data} * s.micro_batch;
  if (run.global_batch % round != 0) {
    return fmt::format("a batch of {} is no multiple of data {} x microbatch {}", run.global_batch, s.data,
                       s.micro_batch);
  }
  return {};
}

}  // namespace

std::string deepspeed_config(const TrainingRun& run, const Strategy& s) {
  if (const std::string why = why_not(run, s); !why.empty()) throw InputError(why);
  JsonWriter json;
  json.open_object(JsonWriter::Layout::kBlock);
  json.member("train_batch_size", run.global_batch);
  json.member("train_micro_batch_size_per_gpu", s.micro_batch);
  json.member("gradient_accumulation_steps", run.global_batch / (std::int64_t{s.data} * s.micro_batch));
  json.key("bf16");
  json.open_object(JsonWriter::Layout::kLine);
  json.member("enabled", true);
  json.close_object();
  json.key("zero_optimization");
  json.open_object(JsonWriter::Layout::kLine);
  json.member("stage", static_cast<std::uint32_t>(s.sharding));
  json.member("overlap_comm", s.overlaps_data);
  if (s.optimizer_offload > 0) {
    json.key("offload_optimizer");
    json.open_object(JsonWriter::Layout::kLine);
    json.member("device", "cpu");
    if (s.optimizer_offload < 1) json.member("ratio", s.optimizer_offload);
    json.close_object();
  }
  json.close_object();
  json.close_object();
  return std::move(json).finish();
}

}  // namespace opweave::io
