/// Cutting a row of layers into stages (docs/cuts.md).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/pipeline.h"
#include "opweave/quantity.h"

namespace opweave {

/// What one microbatch takes in a layer; also the sum over several layers.
struct LayerTimes {
  Duration forward;
  Duration input_gradient;
  Duration weight_gradient;

  [[nodiscard]] Duration total() const { return forward + input_gradient + weight_gradient; }
  LayerTimes& operator+=(const LayerTimes& other);
};

/// Layers in the order of the forward.
struct LayerRow {
  std::vector<std::vector<LayerTimes>> times;  ///< by kind of device (at least one), then by layer
  std::vector<Duration> hops;                  ///< from each layer to the next, where that is on another device;
                                               ///< empty = 0
  [[nodiscard]] std::size_t size() const { return times.front().size(); }
};

/// How the stages of a cut lie on devices: in rounds over all devices, each from the first to the last or back.
struct StageRounds {
  std::uint32_t devices = 1;
  std::vector<bool> downwards = {false};      ///< of each round: it goes from the last device to the first
  std::vector<std::uint32_t> kind_of_device;  ///< row of LayerRow::times for each device; empty = all of kind 0
  /// Share of the microbatches that run the stages as above, and of those that run stage s on the device of the stage
  /// that is as far from the other end (two-way; one round).
  std::int64_t runs = 1;
  std::int64_t opposite_runs = 0;

  [[nodiscard]] std::uint32_t stages() const { return devices * static_cast<std::uint32_t>(downwards.size()); }
  /// Device of a stage, or of one that runs the opposite way.
  [[nodiscard]] std::uint32_t device_of(std::uint32_t stage, bool opposite = false) const;
  [[nodiscard]] std::uint32_t kind_of(std::uint32_t device) const {
    return kind_of_device.empty() ? 0 : kind_of_device[device];
  }
};

/// The rounds of a shape. \pre shape is not kFree; stages fit the shape and the devices as build_pipeline demands.
[[nodiscard]] StageRounds rounds_of(PipelineShape shape, std::uint32_t stages, std::uint32_t devices,
                                    const Training& training);

/// Consecutive layers in stages. With `bound` no cut into as many stages, none of them empty, is below it.
struct StageCut {
  std::vector<std::uint32_t> layers_of_stage;  ///< how many
  Duration largest_load;                       ///< of a device: time of its stages for one microbatch, or, where they
                                               ///< run both ways, for StageRounds::runs + opposite_runs
  Duration largest_load_bound;
  Duration longest_stage;
  Duration longest_stage_bound;        ///< among the cuts with that largest load
  std::optional<std::int64_t> judged;  ///< value that the judge gave it
  bool judged_all = false;             ///< the judge has seen every cut that it had to choose from

  [[nodiscard]] bool is_proven() const {
    return largest_load == largest_load_bound && longest_stage == longest_stage_bound;
  }
  /// By layer, ascending from 0.
  [[nodiscard]] std::vector<std::uint32_t> stage_of_layer() const;
};

/// Decides among cuts that are alike in load: the smaller value is better.
struct CutJudge {
  std::function<std::int64_t(const std::vector<std::uint32_t>& layers_of_stage)> value;
  std::int64_t steps = 1;   ///< what one value costs, in steps of the search
  bool over_loads = false;  ///< the judge goes before the loads, which decide where it finds cuts alike
};

/// Steps that a cut takes at most, about 10 ns each. The same limit gives the same cut.
struct CutEffort {
  std::int64_t search = 4'000'000;  ///< for loads
  std::int64_t judge = 2'000'000;
};

/// The cut of least largest load of a device, among those of least longest stage, among those as the judge says.
/// Exact by a search that proves it (StageCut::is_proven), unless the effort ends before.
/// \pre 1 <= rounds.stages() <= layers.size().
[[nodiscard]] StageCut cut_stages(const LayerRow& layers, const StageRounds& rounds, const CutJudge& judge = {},
                                  const CutEffort& effort = {});

/// How long an iteration takes when every device always runs what is ready, gradients of inputs first, those of
/// weights last, whatever memory that needs: what a cut makes possible, whatever schedule is chosen. At most
/// 4 microbatches per device count.
[[nodiscard]] CutJudge dispatch_judge(const LayerRow& layers, const StageRounds& rounds, std::uint32_t microbatches);

/// The layers of a pipeline as they are cut, timed on each of these types of device ("" = none); `hop` = what a byte
/// count takes from device to device.
/// \throws InputError for an operator without a time on one of the types, and for more than 10^18 ns in an iteration.
[[nodiscard]] LayerRow layer_row(const PipelineSpec& spec, const std::vector<std::string>& types,
                                 const std::function<Duration(Bytes)>& hop);

/// Reads how many layers every stage has: numbers, "4,5,5,2" (0 = an empty stage), or a layout of Megatron-LM,
/// "Et*3|(tt|)*29,m|L": a letter per layer (E embedding, t transformer, m multi-token prediction, L loss), | between
/// stages, *n behind a letter or a group to repeat it, commas without meaning.
/// \throws InputError naming what is wrong in the text, or that the stages have another number of layers than `layers`.
[[nodiscard]] std::vector<std::uint32_t> parse_cut(std::string_view text, std::uint32_t layers);

/// "4,5,5,2".
[[nodiscard]] std::string to_string(const std::vector<std::uint32_t>& layers_of_stage);

}  // namespace opweave
