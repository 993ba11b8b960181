/// The best strategies of a stated space.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/strategy.h"

namespace opweave {

/// Where a strategy is to run: what the target cannot say is not looked at.
enum class Target : std::uint8_t { kAny, kMegatron, kTorchtitan };
[[nodiscard]] std::string_view to_string(Target target);
[[nodiscard]] std::optional<Target> target_from_string(std::string_view text);

/// The built-in profile of a device type, precision and kind of model; "uncalibrated" (steps = 0) where no published
/// step speaks of it.
[[nodiscard]] CalibrationProfile profile_for(const Machines& machines, Precision precision, bool has_experts,
                                             Target target);

/// Decisions that are held; the rest is searched.
struct HeldDecisions {
  std::optional<std::uint32_t> tensor;
  std::optional<std::uint32_t> context;
  std::optional<std::uint32_t> data;
  std::optional<std::uint32_t> pipeline;
  std::optional<std::uint32_t> chunks;
  std::optional<std::uint32_t> expert;
  std::optional<std::uint32_t> micro_batch;
  std::optional<Recompute> recompute;
  std::optional<Sharding> sharding;
  std::optional<PipelineKind> schedule;
};

struct RankedStrategy {
  Strategy strategy;
  StrategyValue value;
};

/// What a search returns.
struct StrategySearchResult {
  std::vector<RankedStrategy> ranked;  ///< that fit, fastest first; of equal degrees and microbatch only the fastest
  std::optional<RankedStrategy> least_memory;  ///< of all that were valued: says what is missing where none fits
  std::uint64_t valued = 0;
  bool is_complete = true;  ///< the whole space was looked at: the first is the fastest of the space
};

/// Values every strategy of the space (docs/strategies.md): tensor within a node, every divisor of the devices for
/// pipeline, context and expert axes, microbatches that are powers of two, all schedules and shardings of the target,
/// and the fewest layers made again with which it fits. `most` = how many to rank. \throws InputError if no strategy of
/// the space is possible whatever the memory: says which rule excludes all
[[nodiscard]] StrategySearchResult search_strategies(const ModelDescription& model, const Machines& machines,
                                                     const TrainingRun& run, const CalibrationProfile& profile,
                                                     Target target, const HeldDecisions& held, std::size_t most,
                                                     const Budget& budget = {});

}  // namespace opweave
