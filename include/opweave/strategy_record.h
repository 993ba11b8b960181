/// A strategy together with what it is for, so that it can be valued anew from its file alone.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "opweave/calibration.h"
#include "opweave/strategy_search.h"

namespace opweave {

struct StrategyRecord {
  Strategy strategy;
  ModelDescription model;
  Machines machines;
  TrainingRun run;
  Target target = Target::kAny;
  std::optional<FittedProfile> fitted = std::nullopt;  ///< in place of the built-in profile
  bool operator==(const StrategyRecord&) const = default;

  /// What its step is predicted with: `fitted`, or the built-in profile of its machines, precision and target.
  [[nodiscard]] CalibrationProfile profile() const;
  [[nodiscard]] StrategyValue value() const;
};

/// `opweave.strategy` with the member "for" (docs/formats.md). parse: \throws InputError naming place and value, where
/// the member is missing, or why the strategy is impossible for what it is for
[[nodiscard]] std::string strategy_record_to_json(const StrategyRecord& record);
[[nodiscard]] StrategyRecord parse_strategy_record(std::string_view json, const std::string& source);

/// The profile that a strategy's file is for; none where it says none. \throws InputError naming place and value
[[nodiscard]] std::optional<FittedProfile> parse_profile_of_strategy(std::string_view json, const std::string& source);

}  // namespace opweave
