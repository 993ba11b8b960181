/// Stages of a layer graph between two tails, and what they take.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/layer_graph.h"
#include "strategy/choice_knapsack.h"

namespace opweave::strategy {

/// Nodes that are closed under successors: what later stages may hold.
using Tail = std::vector<std::uint64_t>;  ///< a bit per node

/// All tails, the smaller first; nothing if there are more than `most`.
[[nodiscard]] std::optional<std::vector<Tail>> all_tails(const LayerGraph& graph, std::size_t most);
/// Those along one topological order.
[[nodiscard]] std::vector<Tail> tails_in_order(const LayerGraph& graph);

/// Stages that differ in their number of microbatches in flight alone.
struct StageCell {
  std::uint32_t inner = 0;  ///< tail behind the stage
  std::uint32_t tensor = 1;
  std::uint32_t data = 1;
  std::uint32_t roomy = 0;  ///< so many in flight fit with the fastest alternatives
  std::uint32_t most = 0;   ///< so many in flight fit at all
  double fastest = 0;       ///< seconds with the fastest alternatives
  struct Range {
    double least = -1;  ///< no alternatives that fit take less; negative: not computed
    double found = 0;   ///< seconds of some that fit
  };
  std::vector<Range> tight;  ///< for roomy + 1, ... in flight; laid out when first asked
};

/// Which of the two ends of a range to believe.
enum class Trust : std::uint8_t {
  kFound,    ///< what was found: an answer is a plan
  kLeast,    ///< what is not excluded: no answer is a proof
  kRefined,  ///< as kFound, after a longer search where the two disagree
};

class StageCells {
 public:
  StageCells(const LayerGraph& graph, const StageTask& task) : graph_(graph), task_(task) {}

  /// Appends the cells of outer without inner that may take at most `ceiling` seconds.
  void add(const Tail& outer, const Tail& inner, std::uint32_t inner_number, double ceiling,
           std::vector<StageCell>& cells) const;
  /// So many microbatches may be in flight if the stage is to take at most `limit`; 0 = it takes longer.
  std::uint32_t most_in_flight(const Tail& outer, const Tail& inner, StageCell& cell, double limit, Trust trust) const;
  /// The stage with its alternatives.
  [[nodiscard]] CutStage stage(const Tail& outer, const Tail& inner, const StageCell& cell,
                               std::uint32_t in_flight) const;

 private:
  /// What a node brings to a stage in one alternative, before it is divided among data-parallel copies.
  struct Part {
    double cut_bytes;
    double seconds;
    double parameter_bytes;
    double bytes_per_flight;
    double bytes;
  };
  using Parts = std::vector<std::vector<Part>>;

  [[nodiscard]] std::vector<std::uint32_t> members(const Tail& outer, const Tail& inner) const;
  /// Nothing if some node cannot run on so many devices.
  [[nodiscard]] std::optional<Parts> parts(const std::vector<std::uint32_t>& nodes, std::uint32_t tensor) const;
  [[nodiscard]] double seconds(const Part& part, std::uint32_t data) const;
  [[nodiscard]] Selection select(const Parts& parts, std::uint32_t data, std::uint32_t in_flight,
                                 std::size_t most_nodes) const;
  [[nodiscard]] std::optional<StageCell> cell(const Parts& parts, std::uint32_t data) const;

  const LayerGraph& graph_;
  const StageTask& task_;
};

}  // namespace opweave::strategy
