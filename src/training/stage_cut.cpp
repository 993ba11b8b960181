// The cut of a row of layers: bounds, a good cut, the proof that none is better, and the choice among equals.
#include <algorithm>
#include <random>
#include <tuple>
#include <utility>

#include "opweave/cut.h"
#include "opweave/error.h"
#include "training/cut_capacity.h"
#include "training/cut_loads.h"
#include "training/cut_moves.h"
#include "training/cut_search.h"

namespace opweave {
namespace {

using detail::CutBounds;
using detail::CutFigures;
using detail::CutLimits;
using detail::CutSearch;
using detail::kNoLimit;

/// Share of the steps for balancing by moves, and of those left for the first question of a search and for each that
/// follows: a question that cannot be answered must leave something for the others.
constexpr std::int64_t kMovesShare = 4;
constexpr std::int64_t kQuestionShare = 3;
/// Share of the judge's steps for cuts that the search lists; the rest is for moves from the best of them.
constexpr std::int64_t kListShare = 2;
/// Steps of the search for each listed cut and stage.
constexpr std::int64_t kStepsPerCut = 8;

class Cutter {
 public:
  Cutter(const LayerRow& layers, const StageRounds& rounds, std::int64_t steps)
      : loads_(layers, rounds), steps_(steps), best_(detail::even_cut(loads_)), figures_(loads_.figures(best_)) {}

  void cut() {
    if (loads_.one_kind() && !loads_.both_ways() && loads_.fronts().size() == 1) {
      load_bound_ = stage_bound_ = figures_.load;  // even_cut() makes the longest stage as short as it can be
      return;
    }
    load_bound_ = capacity_.least_load(figures_.load);
    move_by(&CutFigures::load, load_bound_, detail::balance_by_moves);
    search([](CutLimits& limits) -> std::int64_t& { return limits.load; }, &CutFigures::load, load_bound_);
    stage_bound_ = capacity_.least_stage(figures_.load, figures_.stage);
    move_by(&CutFigures::stage, stage_bound_, detail::shorten_by_moves);
    search([](CutLimits& limits) -> std::int64_t& { return limits.stage; }, &CutFigures::stage, stage_bound_);
  }

  /// Chooses by the judge; true if it has seen all that there is to choose from.
  bool choose(const CutJudge& judge, std::int64_t judge_steps) {
    std::int64_t values = std::max<std::int64_t>(1, judge_steps / std::max<std::int64_t>(1, judge.steps));
    best_value_ = value(judge, best_, values);
    const CutLimits alike{figures_.load, figures_.stage};
    if (!judge.over_loads) {
      std::int64_t listed = std::max<std::int64_t>(1, values / kListShare);
      values -= listed;
      if (list(judge, alike, listed)) return true;
      values += listed;
      move(judge, alike, values);
      return false;
    }
    std::int64_t some = values / kListShare;
    values -= some;
    (void)list(judge, alike, some);
    std::int64_t all = values / kListShare;
    values -= all;
    if (list(judge, {}, all)) return true;
    values += all + some;
    move(judge, {}, values);
    return false;
  }

  [[nodiscard]] std::int64_t judged() const { return best_value_; }

  [[nodiscard]] StageCut result() const {
    StageCut cut;
    for (std::size_t stage = 0; stage + 1 < best_.size(); ++stage) {
      cut.layers_of_stage.push_back(best_[stage + 1] - best_[stage]);
    }
    cut.largest_load = Duration(figures_.load);
    cut.largest_load_bound = Duration(load_bound_);
    cut.longest_stage = Duration(figures_.stage);
    cut.longest_stage_bound = Duration(std::min(stage_bound_, figures_.stage));
    return cut;
  }

 private:
  void keep(const CutBounds& bounds) {
    const CutFigures figures = loads_.figures(bounds);
    if (!figures.beats(figures_)) return;
    best_ = bounds;
    figures_ = figures;
  }

  /// Moves until the figure is at its bound, from the best cut and from cuts that are a few moves away from it.
  template <class Improve>
  void move_by(std::int64_t CutFigures::*figure, std::int64_t bound, const Improve& improve) {
    std::int64_t steps = steps_ / kMovesShare;
    steps_ -= steps;
    std::mt19937 random(1);  // NOLINT: the same cut for the same problem
    for (CutBounds start = best_; steps > 0 && figures_.*figure > bound; start = detail::shaken(best_, random)) {
      improve(loads_, start, steps);
      keep(start);
      steps -= static_cast<std::int64_t>(start.size() * start.size());  // even where hardly a move is possible
    }
    steps_ += std::max<std::int64_t>(steps, 0);
  }

  /// Lowers one of the limits until nothing is found: first straight to the bound, then by halves. Raises the bound
  /// as far as proofs go.
  template <class Limit>
  void search(Limit limit, std::int64_t CutFigures::*figure, std::int64_t& bound) {
    std::int64_t low = bound;  // what has been ruled out, or given up, lies below
    bool proven = true;
    for (bool first = true; low < figures_.*figure; first = false) {
      CutLimits limits;
      limits.load = figures_.load;
      const std::int64_t asked = first ? low : low + (figures_.*figure - 1 - low) / 2;
      limit(limits) = asked;
      std::int64_t steps = steps_ / kQuestionShare;
      steps_ -= steps;
      const CutSearch::Answer answer = search_.run(limits, CutSearch::Want::kOne, steps, [&](const CutBounds& found) {
        keep(found);
        return false;
      });
      steps_ += std::max<std::int64_t>(steps, 0);
      if (answer == CutSearch::Answer::kStopped) continue;
      proven = proven && answer == CutSearch::Answer::kAll;
      low = capacity_.rounded_up(asked + 1);
      if (proven) bound = low;
    }
  }

  [[nodiscard]] std::int64_t value(const CutJudge& judge, const CutBounds& bounds, std::int64_t& values) const {
    --values;
    std::vector<std::uint32_t> layers_of_stage;
    for (std::size_t stage = 0; stage + 1 < bounds.size(); ++stage) {
      layers_of_stage.push_back(bounds[stage + 1] - bounds[stage]);
    }
    return judge.value(layers_of_stage);
  }

  /// Keeps the cut if the judge prefers it; where the judge finds both alike, loads decide, and then how even it is.
  void offer(std::int64_t offered, const CutBounds& bounds) {
    if (offered > best_value_) return;
    const CutFigures figures = loads_.figures(bounds);
    const auto rank = [](const CutFigures& of) { return std::tuple(of.load, of.stage, of.stage_squares); };
    if (offered == best_value_ && rank(figures) >= rank(figures_)) return;
    best_value_ = offered;
    best_ = bounds;
    figures_ = figures;
  }

  /// Every cut within the limits, until the values run out; true if there are no others.
  bool list(const CutJudge& judge, const CutLimits& limits, std::int64_t& values) {
    std::int64_t steps = kStepsPerCut * static_cast<std::int64_t>(best_.size()) * values;
    return search_.run(limits, CutSearch::Want::kEvery, steps, [&](const CutBounds& found) {
      if (values <= 0) return false;
      offer(value(judge, found, values), found);
      return true;
    }) == CutSearch::Answer::kAll;
  }

  /// Moves from the best cut; where none helps, from a cut some moves away from it.
  void move(const CutJudge& judge, const CutLimits& limits, std::int64_t& values) {
    std::mt19937 random(1);  // NOLINT: the same cut for the same problem
    for (CutBounds start = best_; values > 0; start = detail::shaken(best_, random)) {
      std::pair here(start == best_ ? best_value_ : value(judge, start, values), loads_.figures(start).stage_squares);
      std::int64_t steps = values * static_cast<std::int64_t>(best_.size());
      const std::int64_t before = values;
      detail::improve_by_moves(start, steps, [&](const CutBounds& changed) {
        const CutFigures figures = loads_.figures(changed);
        if (values <= 0 || !figures.within(limits)) return false;
        const std::pair there(value(judge, changed, values), figures.stage_squares);
        if (there >= here) return false;
        here = there;
        offer(there.first, changed);
        return true;
      });
      if (values == before) --values;  // no move keeps to the limits
    }
  }

  detail::CutLoads loads_;
  std::int64_t steps_;
  CutBounds best_;
  CutFigures figures_;
  detail::CutCapacity capacity_{loads_};
  CutSearch search_{loads_, capacity_};
  std::int64_t load_bound_ = 0;
  std::int64_t stage_bound_ = 0;
  std::int64_t best_value_ = kNoLimit;
};

}  // namespace

LayerTimes& LayerTimes::operator+=(const LayerTimes& other) {
  forward += other.forward;
  input_gradient += other.input_gradient;
  weight_gradient += other.weight_gradient;
  return *this;
}

std::vector<std::uint32_t> StageCut::stage_of_layer() const {
  std::vector<std::uint32_t> result;
  for (std::uint32_t stage = 0; stage < layers_of_stage.size(); ++stage) {
    result.insert(result.end(), layers_of_stage[stage], stage);
  }
  return result;
}

StageCut cut_stages(const LayerRow& layers, const StageRounds& rounds, const CutJudge& judge, const CutEffort& effort) {
  if (rounds.stages() == 0 || rounds.stages() > layers.size()) {
    throw InternalError("a cut needs a layer for each of its stages");
  }
  Cutter cutter(layers, rounds, effort.search);
  cutter.cut();
  if (!judge.value) return cutter.result();
  const bool judged_all = cutter.choose(judge, effort.judge);
  StageCut result = cutter.result();
  result.judged = cutter.judged();
  result.judged_all = judged_all;
  return result;
}

}  // namespace opweave
