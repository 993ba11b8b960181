// What is held against the space that is searched.
#include <fmt/format.h>

#include <bit>

#include "opweave/strategy_search.h"
#include "strategy/modules.h"
#include "strategy/search_limits.h"

namespace opweave {
namespace {

/// Of a schedule with the degrees that it needs.
std::string why_no_such_schedule(const HeldDecisions& held) {
  if (!held.schedule) return {};
  if (*held.schedule == PipelineKind::kDualPipe) return "schedule DualPipe is valued (--evaluate), but not searched";
  const bool is_interleaved = *held.schedule == PipelineKind::kInterleaved;
  if (held.chunks && is_interleaved != (*held.chunks > 1)) {
    return fmt::format("vpp {} does not go with schedule {}, expected {}", *held.chunks, to_string(*held.schedule),
                       is_interleaved ? "at least 2" : "1");
  }
  const bool has_pipeline = !held.pipeline || *held.pipeline > 1 || (held.component && held.component->wants_mesh());
  if (*held.schedule != PipelineKind::k1F1B && !has_pipeline) {
    return fmt::format("pp 1 does not go with schedule {}, expected 1F1B", to_string(*held.schedule));
  }
  return {};
}

}  // namespace

namespace strategy {

std::string why_not_held(const ModelDescription& model, const HeldDecisions& held) {
  if (held.modules) {
    if (std::string why = why_no_such_module(model, *held.modules); !why.empty()) return why;
  }
  if (std::string why = why_no_such_schedule(held); !why.empty()) return why;
  if (held.chunks.value_or(1) > 1 && held.pipeline == 1U) {
    return fmt::format("vpp {} does not go with pp 1", *held.chunks);
  }
  return {};
}

}  // namespace strategy

std::vector<std::string> held_beyond_space(const HeldDecisions& held, const Machines& machines,
                                           const TrainingRun& run) {
  std::vector<std::string> notes;
  if (held.tensor && machines.devices_per_node % *held.tensor != 0) {
    notes.push_back(fmt::format("tp {} is over nodes of {} devices", *held.tensor, machines.devices_per_node));
  }
  if (held.context.value_or(1) > 1 &&
      (*held.context > strategy::kMostContext || run.sequence / *held.context < strategy::kLeastTokensOfContext)) {
    notes.push_back(fmt::format("cp {} is more than {} or leaves fewer than {} tokens", *held.context,
                                strategy::kMostContext, strategy::kLeastTokensOfContext));
  }
  if (held.micro_batch && (*held.micro_batch > strategy::kMostMicroBatch || !std::has_single_bit(*held.micro_batch))) {
    notes.push_back(fmt::format("mbs {} is no power of two up to {}", *held.micro_batch, strategy::kMostMicroBatch));
  }
  if (held.chunks.value_or(1) > strategy::kMostChunks) {
    notes.push_back(fmt::format("vpp {} is more than {}", *held.chunks, strategy::kMostChunks));
  }
  return notes;
}

}  // namespace opweave
