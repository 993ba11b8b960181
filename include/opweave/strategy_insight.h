/// Why a strategy takes as long as it does, what two of them do differently, what would help (docs/strategies.md).
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/strategy_record.h"

namespace opweave {

/// The best strategy under some condition, or why there is none.
struct BestStrategy {
  std::optional<RankedStrategy> best;
  std::string why_not;                     ///< empty where there is one
  std::optional<Bytes> least_memory;       ///< where none fits: what the leanest takes on a device
  std::optional<Bytes> least_host_memory;  ///< and of the host's memory for a device
};

/// One decision made differently ("tensor 8, data 2"), with the best strategy that makes it so: the other decisions of
/// the mesh are held, layers on stages and what is made again are found anew.
struct OtherChoice {
  std::string choice;
  BestStrategy found;
};

struct StrategyExplanation {
  StrategyValue value;
  std::vector<OtherChoice> others;
};
/// Seconds for large models. \param stop  ends it early, with fewer choices; may be null
[[nodiscard]] StrategyExplanation explain_strategy(const StrategyRecord& record,
                                                   const std::atomic<bool>* stop = nullptr);

/// A decision that two strategies make differently, by its name in the file; values as JSON, "-" where it is not made.
struct DecisionChange {
  std::string decision;
  std::string first;
  std::string second;
};
[[nodiscard]] std::vector<DecisionChange> changed_decisions(const Strategy& first, const Strategy& second);

/// What the strategy, and the best one, make of other machines or another run.
struct StrategyChange {
  std::string_view what;               ///< "as it is", "twice the nodes", ...
  std::optional<StrategyValue> value;  ///< of the strategy with more or fewer copies; nothing where it is impossible
  std::string why_impossible;          ///< empty where it is not
  BestStrategy found;
};
/// \param seconds  of the search for each change
/// \param stop     ends it early, with fewer changes; may be null
[[nodiscard]] std::vector<StrategyChange> what_if_strategy(const StrategyRecord& record, double seconds,
                                                           const std::atomic<bool>* stop = nullptr);

// Times in nanoseconds, memory in bytes, parts by the names of `opweave parallelize --json`.
[[nodiscard]] std::string explanation_to_json(const StrategyRecord& record, const StrategyExplanation& explanation);
[[nodiscard]] std::string diff_to_json(const StrategyRecord& first, const StrategyRecord& second);
[[nodiscard]] std::string what_if_to_json(const StrategyRecord& record, const std::vector<StrategyChange>& changes);

}  // namespace opweave
