#include <algorithm>
#include <cmath>

#include "opweave/layer_graph.h"
#include "strategy/stage_cells.h"

namespace opweave {
namespace {

using strategy::StageCell;
using strategy::StageCells;
using strategy::Tail;
using strategy::Trust;

/// More tails than this are not listed, nor more stages between them.
constexpr std::size_t kMostTails = 5'000;
constexpr std::size_t kMostCells = 4'000'000;
/// Values that differ by less are one.
constexpr double kValueTolerance = 1e-9;
constexpr std::int32_t kNever = 1 << 30;

/// Work that no stages avoid, over all devices.
double load_bound(const LayerGraph& graph, const StageTask& task) {
  double sum = 0;
  for (const LayerGraph::Node& node : graph.nodes) {
    double least = std::numeric_limits<double>::infinity();
    for (const auto& [tensor, alternatives] : node.by_tensor) {
      for (const auto& alternative : alternatives) least = std::min(least, tensor * alternative.seconds);
    }
    sum += least;
  }
  return sum / task.devices;
}

bool contains(const Tail& outer, const Tail& inner) {
  for (std::size_t i = 0; i < outer.size(); ++i) {
    if ((inner[i] & ~outer[i]) != 0) return false;
  }
  return true;
}

/// Devices that stages over a set of tails need, if none is to take longer than a limit. Stages are made from the last
/// to the first, since what a stage keeps depends on the stages behind it.
class StageProgram {
 public:
  StageProgram(const LayerGraph& graph, const StageTask& task, std::vector<Tail> tails, const Budget& budget)
      : graph_(graph), task_(task), cells_(graph, task), tails_(std::move(tails)), budget_(budget) {}

  /// Lists the stages that may take at most `ceiling`; false if they are too many or the budget ended.
  bool list_stages(double ceiling) {
    stages_.resize(tails_.size());
    std::size_t count = 0;
    for (std::size_t outer = 1; outer < tails_.size(); ++outer) {
      for (std::uint32_t inner = 0; inner < outer; ++inner) {
        if (!contains(tails_[outer], tails_[inner])) continue;
        cells_.add(tails_[outer], tails_[inner], inner, ceiling, stages_[outer]);
      }
      count += stages_[outer].size();
      if (count > kMostCells || budget_.expired()) return false;
    }
    return true;
  }

  /// Stages of at most `limit` seconds each, valued; nothing if there are none, as far as `trust` knows.
  std::vector<CutStage> within(double limit, Trust trust) {
    const std::size_t copies = task_.devices;
    devices_.assign(tails_.size(), std::vector<std::int32_t>(copies + 1, kNever));
    std::ranges::fill(devices_.front(), 0);
    for (std::size_t outer = 1; outer < tails_.size(); ++outer) {
      auto& mine = devices_[outer];
      for (StageCell& cell : stages_[outer]) {
        const std::size_t flying = flights(outer, cell, limit, trust);
        const std::size_t most = std::min(copies, cell.data * flying);
        const std::int32_t* behind = devices_[cell.inner].data();
        const auto added = static_cast<std::int32_t>(cell.tensor * cell.data);
        for (std::size_t sum = cell.data; sum <= most; ++sum) {
          mine[sum] = std::min(mine[sum], behind[sum - cell.data] + added);
        }
      }
      if (budget_.expired()) return {};
    }
    const auto& all = devices_.back();
    const auto there = static_cast<std::int32_t>(task_.devices);
    const auto fitting = std::ranges::find_if(all, [&](std::int32_t needed) { return needed <= there; });
    if (fitting == all.end()) return {};
    return trace(static_cast<std::size_t>(fitting - all.begin()), limit, trust);
  }

 private:
  std::uint32_t flights(std::size_t outer, StageCell& cell, double limit, Trust trust) const {
    return cells_.most_in_flight(tails_[outer], tails_[cell.inner], cell, limit, trust);
  }

  /// The stages behind the best entry for all nodes with `sum` data-parallel copies.
  std::vector<CutStage> trace(std::size_t sum, double limit, Trust trust) {
    std::vector<CutStage> result;
    for (std::size_t outer = tails_.size() - 1; outer > 0;) {
      const auto is_used = [&](StageCell& cell) {
        if (sum < cell.data || cell.fastest > limit) return false;
        const auto added = static_cast<std::int32_t>(cell.tensor * cell.data);
        return devices_[cell.inner][sum - cell.data] + added == devices_[outer][sum] &&
               sum <= std::size_t{cell.data} * flights(outer, cell, limit, trust);
      };
      const StageCell& cell = *std::ranges::find_if(stages_[outer], is_used);
      const auto in_flight = static_cast<std::uint32_t>((sum + cell.data - 1) / cell.data);
      result.push_back(cells_.stage(tails_[outer], tails_[cell.inner], cell, in_flight));
      sum -= cell.data;
      outer = cell.inner;
    }
    return result;
  }

  const LayerGraph& graph_;
  const StageTask& task_;
  StageCells cells_;
  std::vector<Tail> tails_;
  const Budget& budget_;
  std::vector<std::vector<StageCell>> stages_;      ///< by outer tail
  std::vector<std::vector<std::int32_t>> devices_;  ///< by tail and copies: the fewest devices
};

/// Halves the distance between value and bound until they meet, or the knapsacks cannot tell.
class Bisection {
 public:
  Bisection(const LayerGraph& graph, const StageTask& task, StageAnswer& answer, const Budget& budget)
      : graph_(graph), task_(task), answer_(answer), budget_(budget) {}

  void run(StageProgram& program) {
    double bound = std::max(answer_.bound, load_bound(graph_, task_));
    if (!std::isfinite(answer_.value) && !take(program.within(std::numeric_limits<double>::max(), Trust::kRefined))) {
      return;
    }
    while (answer_.value > bound * (1 + kValueTolerance)) {
      // A stage may take no time at all, which no mean would reach.
      const double middle = bound > 0 ? std::sqrt(bound * answer_.value) : answer_.value / 2;
      bool is_possible = take(program.within(middle, Trust::kFound));
      for (int i = 0; i < 2 && !is_possible; ++i) {
        const bool is_excluded = program.within(middle, Trust::kLeast).empty();
        if (budget_.expired()) return;
        if (is_excluded) {
          bound = middle;
          break;
        }
        if (i == 0) is_possible = take(program.within(middle, Trust::kRefined));
        if (i == 1) return;
      }
      if (budget_.expired()) return;
      answer_.bound = std::min(bound, answer_.value);
    }
    answer_.bound = std::min(bound, answer_.value);
  }

 private:
  bool take(std::vector<CutStage> stages) {
    if (stages.empty() || !value_stages(graph_, task_, stages).empty()) return false;
    const double value = std::ranges::max(stages, {}, &CutStage::seconds).seconds;
    if (value < answer_.value) {
      answer_.value = value;
      answer_.stages = std::move(stages);
    }
    return true;
  }

  const LayerGraph& graph_;
  const StageTask& task_;
  StageAnswer& answer_;
  const Budget& budget_;
};

}  // namespace

StageAnswer cut_stages(const LayerGraph& graph, const StageTask& task, const Budget& budget) {
  StageAnswer answer;
  {
    // One order first: its value says which of all stages may be of use.
    StageProgram along_order(graph, task, strategy::tails_in_order(graph), budget);
    if (along_order.list_stages(std::numeric_limits<double>::infinity())) {
      Bisection(graph, task, answer, budget).run(along_order);
    }
  }
  // What is excluded along one order is not excluded along others.
  answer.bound = load_bound(graph, task);
  auto tails = strategy::all_tails(graph, kMostTails);
  answer.is_exact_space = tails.has_value();
  if (!tails) return answer;
  answer.ideals = tails->size();
  StageProgram program(graph, task, std::move(*tails), budget);
  answer.is_exact_space = program.list_stages(answer.value);
  if (answer.is_exact_space) Bisection(graph, task, answer, budget).run(program);
  return answer;
}

}  // namespace opweave
