/// What one rank does in one layer for one microbatch, by cause.
#pragma once

#include <array>

#include "opweave/strategy.h"

namespace opweave::strategy {

/// All that the formulas look at.
struct Setting {
  const ModelDescription& model;
  const Machines& machines;
  const TrainingRun& run;
  const Strategy& strategy;
  const CalibrationProfile& profile;

  /// Tokens of one microbatch on one rank of the context axis.
  [[nodiscard]] double tokens() const;
  /// Ranks over which norms and residuals are split.
  [[nodiscard]] double sequence_split() const;
  [[nodiscard]] double gradient_bytes() const;  ///< of one weight
  [[nodiscard]] double matrix_flops() const;    ///< peak of matrix products in this precision
};

/// Seconds of one pass.
struct PassTime {
  double matrix = 0;
  double attention = 0;
  double traffic = 0;
  double tensor = 0;  ///< exposed collectives of the tensor and context axes
  double expert = 0;  ///< exposed dispatch and combine

  [[nodiscard]] double total() const { return matrix + attention + traffic + tensor + expert; }
  PassTime& operator+=(const PassTime& other);
  friend PassTime operator*(PassTime time, double factor);
};

/// Forward seconds by LayerModule; 0 where a layer does not have it.
using ModuleTimes = std::array<double, kLayerModules>;

/// Forward and backward (input and weight gradients, without what is made again).
struct LayerTime {
  PassTime forward;
  PassTime backward;
  ModuleTimes modules{};  ///< in which each is made again
};
[[nodiscard]] LayerTime layer_time(const Setting& setting, const LayerRun& layer);
/// The head with its loss, on the last stage.
[[nodiscard]] LayerTime head_time(const Setting& setting);

/// Weights that one rank holds of a layer, before states are shared out over the data axis: those that all ranks of the
/// data and context axes hold alike, and those of experts.
struct LayerWeights {
  double common = 0;
  double experts = 0;

  friend LayerWeights operator+(const LayerWeights& a, const LayerWeights& b) {
    return {a.common + b.common, a.experts + b.experts};
  }
  friend LayerWeights operator-(const LayerWeights& a, const LayerWeights& b) {
    return {a.common - b.common, a.experts - b.experts};
  }
  friend LayerWeights operator*(double factor, const LayerWeights& a) {
    return {factor * a.common, factor * a.experts};
  }
};
[[nodiscard]] LayerWeights layer_weights(const Setting& setting, const LayerRun& layer);
/// Ranks that hold the same weights of experts.
[[nodiscard]] double expert_copies(const Strategy& strategy);

}  // namespace opweave::strategy
