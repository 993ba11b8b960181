#include "opweave/strategy_files.h"

#include <algorithm>
#include <array>

#include "io/megatron_settings.h"
#include "io/strategy_texts.h"
#include "opweave/error.h"
#include "opweave/strategy_targets.h"

namespace opweave {
namespace {

constexpr std::array<std::string_view, 4> kFormats = {"megatron", "bridge", "torchtitan", "deepspeed"};

void expect_expressible(Target target, const ModelDescription& model, const TrainingRun& run, const Strategy& s) {
  if (const std::string why = why_inexpressible(target, model, run, s); !why.empty()) throw InputError(why);
}

}  // namespace

std::string_view to_string(StrategyFormat format) { return kFormats.at(static_cast<std::size_t>(format)); }

std::optional<StrategyFormat> strategy_format_from_string(std::string_view text) {
  const auto found = std::ranges::find(kFormats, text);
  if (found == kFormats.end()) return std::nullopt;
  return static_cast<StrategyFormat>(found - kFormats.begin());
}

bool has_schedule_file(StrategyFormat format, const Strategy& strategy) {
  return format == StrategyFormat::kTorchtitan && strategy.pipeline > 1 && strategy.schedule != PipelineKind::k1F1B &&
         strategy.schedule != PipelineKind::kInterleaved;
}

std::string strategy_file(StrategyFormat format, const ModelDescription& model, const TrainingRun& run,
                          const Strategy& strategy, const StrategyFileOptions& options) {
  switch (format) {
    case StrategyFormat::kMegatron:
      expect_expressible(Target::kMegatron, model, run, strategy);
      return io::megatron_arguments(model, run, strategy);
    case StrategyFormat::kMegatronBridge:
      expect_expressible(Target::kMegatron, model, run, strategy);
      return io::megatron_recipe(model, run, strategy, options.base);
    case StrategyFormat::kTorchtitan:
      expect_expressible(Target::kTorchtitan, model, run, strategy);
      return io::torchtitan_config(model, run, strategy, options);
    case StrategyFormat::kDeepSpeed:
      return io::deepspeed_config(run, strategy);
  }
  throw InternalError("no such format");
}

}  // namespace opweave
