/// The best strategies of a stated space.
#pragma once

#include <atomic>
#include <cstdint>
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

/// The built-in profile of a device type, precision and kind of model (dense, or with experts); "uncalibrated" (steps =
/// 0) where no published step speaks of it, and for models with recurrences, of which none does.
[[nodiscard]] CalibrationProfile profile_for(const ModelDescription& model, const Machines& machines,
                                             Precision precision, Target target);

/// What is held of the mesh of a component: degrees of one of its own, or whether it has one.
struct HeldComponent {
  std::string name;
  std::optional<bool> has_mesh;  ///< of its own; a held degree says so as well
  std::optional<std::uint32_t> tensor;
  std::optional<std::uint32_t> context;
  std::optional<std::uint32_t> data;
  std::optional<std::uint32_t> pipeline;
  bool operator==(const HeldComponent&) const = default;

  [[nodiscard]] bool wants_mesh() const { return has_mesh.value_or(tensor || context || data || pipeline); }
};

/// Decisions that are held; the rest is searched.
struct HeldDecisions {
  std::optional<std::uint32_t> tensor;
  std::optional<std::uint32_t> context;
  std::optional<std::uint32_t> data;
  std::optional<std::uint32_t> pipeline;
  std::optional<std::uint32_t> chunks;
  std::optional<std::uint32_t> expert;
  std::optional<std::uint32_t> micro_batch;
  std::optional<Recompute> recompute;  ///< kFull: all layers
  std::optional<ModuleSet> modules;    ///< of every stage
  std::optional<double> activation_offload;
  std::optional<double> optimizer_offload;
  std::optional<bool> overlaps_tensor;
  std::optional<Sharding> sharding;
  std::optional<PipelineKind> schedule;
  std::optional<HeldComponent> component;
  bool operator==(const HeldDecisions&) const = default;
};

/// Holds one decision by its short name ("tp", "modules", ...), as `--fix` and Python's `fix` say it; modules are
/// joined by "+", and "NAME.tp", "NAME.mesh", ... speak of the component NAME. \throws InputError naming key, value and
/// what is expected
void hold(HeldDecisions& held, std::string_view key, std::string_view value);

/// What is held although the search itself would not look there ("tp 16 is over nodes of 8 devices"); it is valued all
/// the same.
[[nodiscard]] std::vector<std::string> held_beyond_space(const HeldDecisions& held, const Machines& machines,
                                                         const TrainingRun& run);

struct RankedStrategy {
  Strategy strategy;
  StrategyValue value;
  std::uint64_t mesh = 0;   ///< place of its mesh in the order of bounds
  std::uint64_t alike = 0;  ///< further ones known whose step, memory, bubble, messages and repetitions are equal
};

/// A search that shares its space with others: each looks into every `parts`-th mesh, and none into what the others
/// have made useless. All parts together find what one search finds (docs/distributed.md).
struct SearchShare {
  std::size_t part = 0;  ///< less than `parts`
  std::size_t parts = 1;
  /// In nanoseconds: as many strategies as are wanted take no more. Only falls, maybe while the search runs.
  const std::atomic<std::int64_t>* cutoff = nullptr;
  std::function<void(const RankedStrategy&)> on_found = {};  ///< hears of every strategy that enters the ranking
};

/// What a search returns.
struct StrategySearchResult {
  /// Those that fit, fastest first; of equal degrees and microbatch only the fastest, of equal figures only one.
  std::vector<RankedStrategy> ranked;
  std::optional<RankedStrategy> least_memory;  ///< where none fits: the leanest, which says what is missing
  std::uint64_t meshes = 0;                    ///< degrees, microbatches, schedules and shardings of the space
  std::uint64_t valued = 0;                    ///< meshes whose layouts were looked through; bounds exclude the others
  Duration bound;           ///< no strategy of the space takes less; zero where that is not known yet
  bool is_complete = true;  ///< the whole space was looked at or excluded: the first is the fastest of the space
};

/// State of a running search.
struct StrategyProgress {
  double seconds = 0;
  std::uint64_t meshes = 0;
  std::uint64_t looked_into = 0;
  std::optional<Duration> best;
  Duration bound;  ///< on all that is not known
};

/// Finds the best strategies of the space (docs/strategies.md): tensor within a node, every divisor of the devices for
/// pipeline, context and expert axes, microbatches that are powers of two, all schedules and shardings of the target,
/// all runs of layers on stages, and for each stage the layers and modules that it makes again and the quarters of its
/// activations that wait in the host's memory, halves of the optimizer's state on the host, collectives of the tensor
/// axis beside products or not, all of it also with a mesh of its own for the component that comes first - as far as
/// the target can say it. Meshes are looked into by an exact program, the most promising first, until bounds exclude
/// the rest. `most` = how many to rank, at least 1; `tell` hears of every mesh that was looked into. \throws InputError
/// if no strategy of the space is possible whatever the memory: says which rule excludes all
[[nodiscard]] StrategySearchResult search_strategies(const ModelDescription& model, const Machines& machines,
                                                     const TrainingRun& run, const CalibrationProfile& profile,
                                                     Target target, const HeldDecisions& held, std::size_t most,
                                                     const Budget& budget = {},
                                                     const std::function<void(const StrategyProgress&)>& tell = {},
                                                     const SearchShare& share = {});

}  // namespace opweave
