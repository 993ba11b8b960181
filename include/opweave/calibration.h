/// Constants of a software stack from measured steps.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/strategy.h"

namespace opweave {

/// Where the time of a measured step went on the device that works longest: as far as nothing else hid it, and without
/// the wait for others.
struct MeasuredParts {
  std::optional<Duration> compute;  ///< matrix products, attention, traffic, and what is made again with its messages
  std::optional<Duration> tensor;   ///< collectives of the tensor and context axes
  std::optional<Duration> expert;   ///< dispatch and combine
  std::optional<Duration> data;     ///< gathers and reductions of the data axis
  bool operator==(const MeasuredParts&) const = default;
};

/// A step that somebody measured, or one that is to be predicted beside them.
struct MeasuredStep {
  std::string id;
  std::string group;    ///< steps that differ in the strategy alone, or nearly; empty = a group of its own
  std::string profile;  ///< software stack: steps of one name share their constants
  ModelDescription model;
  Machines machines;
  TrainingRun run;
  Strategy strategy;
  std::optional<Duration> measured;  ///< without it the step is predicted and not fitted
  MeasuredParts parts;               ///< of the measured step, where they are known
  std::optional<Bytes> peak;         ///< of a device's memory, as the source states it
  CalibrationProfile kernels;        ///< facts about the stack's kernels, from which its constants are fitted
};

/// A step beside its prediction.
struct StepPrediction {
  const MeasuredStep* step = nullptr;
  StrategyValue value;        ///< with the constants of its profile
  double error = 0;           ///< predicted / measured - 1; 0 without a measurement
  Duration left_out;          ///< with constants fitted without the step's group, where others have its profile
  double error_left_out = 0;  ///< left_out / measured - 1; 0 without a measurement
  Bytes peak_left_out;        ///< of memory, with the reserve fitted without the step's group
};

/// Fits `matrix`, `traffic` and `communication` of every profile that `steps` name to its measured steps - all else is
/// that of the first step's `kernels` -, and predicts each step. Errors beyond 35 % count little, so that a row whose
/// source forgot a setting does not bend the others; a weak pull to usual values decides what steps do not. Measured
/// parts count beside their step, each by its share of it: they tell slow products from slow collectives. The
/// `reserve` is the median of what stated peaks of memory have beyond the rest; without any, that of `kernels`.
/// Deterministic. O(profiles x groups x steps).
[[nodiscard]] std::vector<StepPrediction> cross_validate(std::span<const MeasuredStep> steps,
                                                         std::vector<CalibrationProfile>& profiles);

/// The same parts of a predicted step.
[[nodiscard]] MeasuredParts parts_of(const StepTime& time);

/// A profile that was fitted on steps of one device type and precision, for questions about these alone.
struct FittedProfile {
  std::string device;  ///< type: "H100"
  Precision precision = Precision::kBf16;
  bool has_experts = false;      ///< some model of its steps had them
  bool has_recurrences = false;  ///< likewise
  CalibrationProfile constants;
  bool operator==(const FittedProfile&) const = default;

  /// For a model. One with experts or recurrences, where no step had them, makes the profile uncalibrated: its name
  /// says so and it states no error.
  [[nodiscard]] CalibrationProfile constants_for(const ModelDescription& model) const;
};

/// The profile of cross_validate() as one for questions, with the device type and precision of its steps in `steps`.
/// \throws InputError where these differ, or where no step is measured
[[nodiscard]] FittedProfile fitted_profile(std::span<const MeasuredStep> steps, const CalibrationProfile& profile);

/// \throws InputError "<place>/device: value is ..., expected ..." (or precision) unless the profile is for these.
/// `place` = "FILE: " and the way to the profile in it
void require_profile_for(const FittedProfile& profile, const std::string& place, const Machines& machines,
                         Precision precision);

/// Steps as constants predict them that none of them was fitted on: `left_out` is the prediction. Nothing is fitted.
/// \throws InputError at the first step of another device type or precision; `place` as above
[[nodiscard]] std::vector<StepPrediction> predict_steps(std::span<const MeasuredStep> steps,
                                                        const FittedProfile& profile, const std::string& place);

/// `opweave.profile` (docs/formats.md). parse: \throws InputError naming place and value
[[nodiscard]] std::string profile_to_json(const FittedProfile& profile);
[[nodiscard]] FittedProfile parse_profile(std::string_view json, const std::string& source);

/// `opweave.measured-steps` (docs/formats.md). \throws InputError naming place and value
[[nodiscard]] std::vector<MeasuredStep> parse_measured_steps(std::string_view json, const std::string& source);

}  // namespace opweave
