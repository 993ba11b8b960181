// Layouts of schedules whose formula is too good where stages or chunks differ: valued by the order of their passes.
#include <algorithm>
#include <bit>
#include <cmath>

#include "core/infinity.h"
#include "strategy/layout_program.h"

namespace opweave::strategy {
namespace {

/// Sums of the same passes in another order differ by less than this share.
constexpr double kPathRounding = 1e-11;
/// Paths beyond so many cost more than they exclude.
constexpr std::size_t kMostCuts = 48;
/// The budget is asked after so many stages that were tried.
constexpr std::uint64_t kTriesPerLook = 256;
/// Of one regime. What takes longer has many layouts within a percent of each other, which no path tells apart: its
/// formula stays its bound.
constexpr std::uint64_t kMostTries = 1'000'000;

}  // namespace

/// All layouts of one regime whose formula is less than the best that is known, stage by stage. A layout is left out
/// when its formula, or a way through the schedule that was the longest of another layout, takes no less than the best,
/// with the least that the stages to come can add to either.
class OrderedLayouts {
 public:
  OrderedLayouts(LayoutProgram& program, const LayoutProgram::Regime& regime, LayoutProgram::Layout& best,
                 ScheduleCuts& cuts, const Budget& budget)
      : program_(program),
        regime_(regime),
        best_(best),
        known_(cuts),
        budget_(budget),
        size_(order_size({program.model_, program.machines_, program.run_, program.mesh_, program.profile_})),
        depth_(program.mesh_.stages()),
        count_(static_cast<std::uint32_t>(program.run_of_.size())) {}

  /// False if the budget or the tries ended before all were excluded or valued.
  bool run() {
    list_options();
    for (const PathCounts& path : known_.of(size_)) add_cut(path);
    chosen_.resize(depth_);
    descend(0, 0, {});
    return !is_over_;
  }

 private:
  using Cell = LayoutProgram::Cell;
  /// A stage with the layers from where it begins to `next`.
  struct Option {
    std::uint32_t next = 0;
    const Cell* cell = nullptr;
    double longest = 0;      ///< what counts as the stage's time
    std::size_t number = 0;  ///< of all options
  };
  /// Of the stages chosen so far.
  struct Chosen {
    double longest = 0;
    double again = 0;
    double end = 0;
  };
  struct Cut {
    std::vector<double> of_option;           ///< seconds of the path in a stage
    std::vector<std::vector<double>> to_go;  ///< by stage and layer: the least seconds of it and all that follow
    std::vector<double> so_far;              ///< by stage: of those before it, as chosen
  };

  void list_options() {
    const double limit = program_.longest_worth(0, best_.seconds);
    options_.assign(depth_, std::vector<std::vector<Option>>(count_ + 1));
    least_again_.assign(depth_ + 1, std::vector<double>(count_ + 1, kInfinity));
    least_again_[depth_][count_] = 0;
    for (std::uint32_t stage = depth_; stage-- > 0;) {
      for (std::uint32_t begin = 0; begin <= count_; ++begin) {
        if (stage == 0 && begin > 0) break;
        for (std::uint32_t next = begin + program_.least_layers(stage); next <= count_; ++next) {
          if (program_.busy_before_[next] - program_.busy_before_[begin] > limit) break;
          const double behind = least_again_[stage + 1][next];
          if (!std::isfinite(behind) || program_.is_on_other_mesh(stage, next)) continue;
          const Cell& cell = program_.cell(regime_, stage, begin, next);
          const double longest = program_.longest_of(cell, stage, begin, next);
          if (!cell.fits || longest > limit) continue;
          options_[stage][begin].push_back({next, &cell, longest, number_of_options_++});
          least_again_[stage][begin] = std::min(least_again_[stage][begin], cell.again + behind);
        }
      }
    }
  }

  void add_cut(const PathCounts& path) {
    Cut cut{std::vector<double>(number_of_options_), least_again_, std::vector<double>(depth_ + 1)};
    const std::uint32_t chunks = size_.chunks;
    for (std::uint32_t stage = depth_; stage-- > 0;) {
      const PathCounts own(path.begin() + std::ptrdiff_t{stage} * chunks,
                           path.begin() + std::ptrdiff_t{stage + 1} * chunks);
      for (std::uint32_t begin = 0; begin <= count_; ++begin) {
        double least = kInfinity;
        for (const Option& option : options_[stage][begin]) {
          const double seconds = cut.of_option[option.number] = seconds_along(own, option.cell->passes);
          least = std::min(least, seconds + cut.to_go[stage + 1][option.next]);
        }
        cut.to_go[stage][begin] = least;
      }
    }
    for (std::uint32_t stage = 0; stage < depth_ && chosen_.size() == depth_; ++stage) {
      const Option* option = chosen_[stage];
      cut.so_far[stage + 1] = cut.so_far[stage] + (option == nullptr ? 0 : cut.of_option[option->number]);
    }
    cuts_.push_back(std::move(cut));
  }

  /// Does any way through the schedule take too long, whatever follows?
  bool is_cut(std::uint32_t stage, const Option& option, double end) {
    for (Cut& cut : cuts_) {
      const double so_far = cut.so_far[stage] + cut.of_option[option.number];
      const double least = so_far + cut.to_go[stage + 1][option.next] + program_.beside(end);
      if (least * (1 - kPathRounding) >= best_.seconds) return true;
      cut.so_far[stage + 1] = so_far;
    }
    return false;
  }

  void descend(std::uint32_t stage, std::uint32_t begin, const Chosen& before) {
    if (stage == depth_) return value(before);
    for (const Option& option : options_[stage][begin]) {
      ++tries_;
      if (tries_ % kTriesPerLook == 0 && (tries_ >= kMostTries || budget_.expired())) is_over_ = true;
      if (is_over_) return;
      const Cell& cell = *option.cell;
      const Chosen with{std::max(before.longest, option.longest), before.again + cell.again,
                        std::max({before.end, cell.end, regime_.least_end})};
      const double again = with.again + least_again_[stage + 1][option.next];
      if (program_.seconds(with.longest, again) + with.end >= best_.seconds) continue;
      chosen_[stage] = &option;
      if (!is_cut(stage, option, with.end)) descend(stage + 1, option.next, with);
      chosen_[stage] = nullptr;
    }
  }

  void value(const Chosen& all) {
    std::vector<PassSeconds> passes;
    LayoutProgram::Found found;
    std::uint32_t begin = 0;
    for (const Option* option : chosen_) {
      passes.insert(passes.end(), option->cell->passes.begin(), option->cell->passes.end());
      found.layers.push_back(option->next - begin);
      found.counts.push_back(option->cell->count);
      found.parts.push_back(option->cell->part);
      found.end = std::max(found.end, option->cell->end);
      begin = option->next;
    }
    found.longest = all.longest;
    found.again = all.again;
    ScheduleOrder& order = program_.order();
    const double by_formulas = program_.seconds(all.longest, all.again) + found.end;
    const double seconds = program_.seconds_in_order(order.seconds(passes), by_formulas, found.end);
    if (seconds < best_.seconds) program_.take(regime_, found, seconds, best_);
    if (seconds <= by_formulas || cuts_.size() >= kMostCuts) return;
    const PathCounts path = order.critical_path();
    known_.add(size_, path);
    met_.push_back(path);
    add_cut(path);
    // Where layouts trade layers between stages, what all paths have in common bounds more of them than each.
    if (met_.size() > 1 && std::has_single_bit(met_.size())) add_cut(mean_of(met_));
  }

  LayoutProgram& program_;
  const LayoutProgram::Regime& regime_;
  LayoutProgram::Layout& best_;
  ScheduleCuts& known_;
  const Budget& budget_;
  OrderSize size_;
  std::uint32_t depth_;
  std::uint32_t count_;
  std::vector<std::vector<std::vector<Option>>> options_;  ///< by stage and layer
  std::size_t number_of_options_ = 0;
  std::vector<std::vector<double>> least_again_;  ///< by stage and layer: of it and all that follow
  std::vector<Cut> cuts_;
  std::vector<PathCounts> met_;
  std::vector<const Option*> chosen_;
  std::uint64_t tries_ = 0;
  bool is_over_ = false;
};

double LayoutProgram::beside(double end) const { return hops_ + constant_ + end; }

double LayoutProgram::seconds_in_order(double in_order, double by_formulas, double end) const {
  const double seconds = in_order + beside(end);
  return seconds > by_formulas * (1 + kOrderRounding) ? seconds : by_formulas;
}

ScheduleOrder& LayoutProgram::order() {
  if (!order_) order_.emplace(order_size({model_, machines_, run_, mesh_, profile_}));
  return *order_;
}

std::vector<PassSeconds> LayoutProgram::passes_of(const Regime& regime, const std::vector<std::uint32_t>& layers) {
  std::vector<PassSeconds> passes;
  std::uint32_t begin = 0;
  for (std::uint32_t stage = 0; stage < layers.size(); ++stage) {
    const Cell& own = cell(regime, stage, begin, begin + layers[stage]);
    passes.insert(passes.end(), own.passes.begin(), own.passes.end());
    begin += layers[stage];
  }
  return passes;
}

void LayoutProgram::look_through_by_order(const Regime& regime, Layout& best,
                                          const std::function<void(double)>& others) {
  Layout fastest;
  fastest.seconds = best.seconds;
  look_through(regime, fastest);
  const double by_formulas = fastest.seconds;
  if (by_formulas >= best.seconds) return;
  if (is_in_order_) {
    const double in_order = order().seconds(passes_of(regime, fastest.strategy.layers_per_stage));
    fastest.seconds = seconds_in_order(in_order, by_formulas, fastest.end);
  }
  if (fastest.seconds < best.seconds) best = fastest;
  if (fastest.seconds > by_formulas) others(by_formulas);
}

std::optional<LayoutProgram::Layout> LayoutProgram::fastest_by_formulas(double below) {
  return over_regimes(below, [&](const Regime& regime, Layout& best) {
    look_through_by_order(regime, best, [&](double least) { left_ = std::min(left_, least); });
  });
}

std::optional<LayoutProgram::Layout> LayoutProgram::fastest(double below, ScheduleCuts& cuts, const Budget& budget) {
  return over_regimes(below, [&](const Regime& regime, Layout& best) {
    look_through_by_order(regime, best, [&](double least) {
      if (!OrderedLayouts(*this, regime, best, cuts, budget).run()) left_ = std::min(left_, least);
    });
  });
}

}  // namespace opweave::strategy
