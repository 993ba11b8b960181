/// Layers on stages, and what each stage keeps of them, so that a step is shortest.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <unordered_map>
#include <vector>

#include "opweave/budget.h"
#include "opweave/strategy.h"
#include "strategy/keep_choice.h"
#include "strategy/layer_memory.h"
#include "strategy/schedule_cuts.h"
#include "strategy/stages.h"

namespace opweave::strategy {

/// The exact program over the layouts of one mesh (docs/strategies.md): every stage has a run of layers - all but the
/// last at least one per chunk -, and the time of a step depends on the longest stage, on the sum over stages, and on
/// the end of the stage that holds most.
class LayoutProgram {
 public:
  /// `mesh` says all but layers and what is kept of them, `choice` what may be said of that; both are referred to.
  LayoutProgram(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                const CalibrationProfile& profile, const Strategy& mesh, const KeepChoice& choice);

  /// Seconds that no layout of this mesh takes less than, whatever the memory.
  [[nodiscard]] double bound() const;

  struct Layout {
    Strategy strategy;
    double seconds = std::numeric_limits<double>::infinity();
    double end = 0;  ///< those of the step's end
  };
  /// The fastest by the formulas that fits in memory and takes less than `below`, valued by the order of its passes;
  /// nothing if that is no less than `below`.
  [[nodiscard]] std::optional<Layout> fastest_by_formulas(double below);
  /// The fastest of all that fit and take less than `below`, by the order of their passes.
  [[nodiscard]] std::optional<Layout> fastest(double below, ScheduleCuts& cuts, const Budget& budget = {});
  /// Seconds that layouts take at least which the last call did not value, and might be faster than what it found;
  /// infinite if there are none. Of `fastest` only if the budget ended.
  [[nodiscard]] double left() const { return left_; }

 private:
  friend class OrderedLayouts;
  /// What is kept: the regime of one run of the dynamic program.
  struct Regime {
    Recompute recompute = Recompute::kNone;
    std::optional<std::uint32_t> count;  ///< layers per stage; without it all
    KeptPart part;
    double optimizer_offload = 0;
    bool is_free = false;  ///< each stage whatever of `choice` costs least time and fits
    double least_end = 0;  ///< seconds of the step's end, of any layout
    double least_again = 0;
  };
  /// One stage in one regime.
  struct Cell {
    bool fits = false;
    std::uint32_t count = 0;  ///< layers made again
    KeptPart part;
    double busy = 0;                  ///< seconds of a microbatch, with what is made again and exposed copies
    double again = 0;                 ///< seconds of these two
    double end = 0;                   ///< seconds of the step's end
    std::vector<PassSeconds> passes;  ///< by chunk, where the order of the schedule values them
  };
  struct Found {
    std::vector<std::uint32_t> layers;
    std::vector<std::uint32_t> counts;
    std::vector<KeptPart> parts;
    double longest = 0;
    double again = 0;
    double end = 0;
  };
  /// A kind of layer under one set of modules: seconds in which they are made again, bytes that a microbatch keeps.
  struct KindKept {
    double again = 0;
    double kept = 0;
  };
  /// A set of modules, by kind of layer.
  struct SetKept {
    ModuleSet modules;
    std::vector<KindKept> kinds;
    std::vector<LayerMemory> memory;
  };

  /// The stages of one mesh, and its layers: half-open ranges.
  struct StageMesh {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::uint32_t first_layer = 0;
    std::uint32_t last_layer = 0;
    double least_held = 0;  ///< weights that some stage of it holds at least
  };

  /// The most promising first.
  [[nodiscard]] std::vector<Regime> regimes() const;
  void add_meshes(const Setting& setting);
  void add_sets(const Setting& setting);
  [[nodiscard]] bool may_fit(const Regime& regime) const;
  /// The same for the stages and layers of one mesh.
  [[nodiscard]] bool may_fit(const Regime& regime, const StageMesh& mesh) const;
  [[nodiscard]] Strategy own_of(const Regime& regime) const;
  /// On the mesh of a stage.
  [[nodiscard]] Strategy own_of(const Regime& regime, std::uint32_t stage) const;
  [[nodiscard]] std::uint32_t least_layers(std::uint32_t stage) const;
  const Cell& cell(const Regime& regime, std::uint32_t stage, std::uint32_t begin, std::uint32_t end);
  [[nodiscard]] Cell make_cell(const Regime& regime, std::uint32_t stage, std::uint32_t begin, std::uint32_t end);
  /// The least time in which a stage can keep what fits; nothing if nothing fits.
  void choose_kept(Strategy own, std::uint32_t stage, const std::vector<StageLayers>& layers, const LayerWeights& held,
                   double flights, Cell& cell) const;
  /// `set`: that of the modules of `own`.
  [[nodiscard]] bool fits_in(const Strategy& own, std::uint32_t stage, const std::vector<StageLayers>& parts,
                             const LayerWeights& held, double flights, const SetKept& set) const;
  /// Microbatches in flight on a stage with so many layers.
  [[nodiscard]] double flights_of(std::uint32_t stage, std::uint32_t layers);
  /// What counts as a stage's time where layers up to `end` are on it: that of its passes, or a microbatch's share of
  /// the longest way through it.
  [[nodiscard]] double longest_of(const Cell& cell, std::uint32_t stage, std::uint32_t begin, std::uint32_t end) const;
  /// Would a stage that ends before layer `next` have layers of both meshes on it, or behind it?
  [[nodiscard]] bool is_on_other_mesh(std::uint32_t stage, std::uint32_t next) const;
  [[nodiscard]] std::vector<StageLayers> parts(std::uint32_t begin, std::uint32_t end) const;
  /// Least `again` with no stage longer than `longest` and no end later than `end`.
  std::optional<Found> least_again(const Regime& regime, double longest, double end);
  /// All layouts of a regime that may be the fastest, down to the last.
  void look_through(const Regime& regime, Layout& best);
  /// The fastest of those with ends of at most `end`, without counting the end; nothing if none is better than `best`.
  std::optional<Found> fastest_before_end(const Regime& regime, double end, Layout& best);
  /// The one whose longest stage is shortest; nothing if none can be better than `best`.
  std::optional<Found> shortest_longest(const Regime& regime, double end, const Layout& best);
  void consider(const Regime& regime, const Found& found, Layout& best) const;
  /// Makes `found`, which takes so many seconds, the best.
  void take(const Regime& regime, const Found& found, double seconds, Layout& best) const;
  /// Where valued by order, the best of the regime by the formulas takes their time, or longer: calls `others` with
  /// what others take at least if these might be faster.
  void look_through_by_order(const Regime& regime, Layout& best, const std::function<void(double)>& others);
  /// All regimes that may have the fastest.
  std::optional<Layout> over_regimes(double below, const std::function<void(const Regime&, Layout&)>& look);
  /// Seconds that layouts with such an end take beside the pipeline.
  [[nodiscard]] double beside(double end) const;
  /// Seconds of a layout by the order of its passes, no less than by the formulas.
  [[nodiscard]] double seconds_in_order(double in_order, double by_formulas, double end) const;
  /// The cells of a layout that has been found.
  [[nodiscard]] std::vector<PassSeconds> passes_of(const Regime& regime, const std::vector<std::uint32_t>& layers);
  [[nodiscard]] ScheduleOrder& order();
  /// Without the end of the step.
  [[nodiscard]] double seconds(double longest, double again) const;
  [[nodiscard]] double least_longest(double again) const;
  /// The longest stage with which so much made again still takes at most `value`, or little more.
  [[nodiscard]] double longest_worth(double again, double value) const;
  /// What any layout of a regime makes again at least.
  [[nodiscard]] double least_of(const Regime& regime) const;
  [[nodiscard]] double least_end(double optimizer_offload) const;
  [[nodiscard]] double head_seconds() const;

  const ModelDescription& model_;
  const Machines& machines_;
  const TrainingRun& run_;
  const CalibrationProfile& profile_;
  Strategy mesh_;
  const KeepChoice& choice_;
  std::vector<LayerTime> layer_times_;    ///< by run
  std::vector<LayerWeights> layer_held_;  ///< by run
  LayerTime head_;
  std::vector<std::size_t> run_of_;         ///< by layer
  std::vector<double> busy_before_;         ///< seconds of all layers before one, forward and backward
  std::vector<PassSeconds> passes_before_;  ///< the same, by kind of pass
  double weight_seconds_ = 0;               ///< weight gradients of all
  double constant_ = 0;                     ///< of every layout: gathers of sharded weights
  double most_longest_ = 0;                 ///< no stage takes longer
  std::vector<LayerMemory> memory_;         ///< by run, with nothing made again
  std::vector<SetKept> sets_;               ///< those of `choice_`, none that another beats in all
  std::vector<StageMesh> meshes_;  ///< in the order of their stages: one, or that of a component and that of the others
  std::vector<LayerWeights> beside_;  ///< by stage, what it holds beside layers: embedding, head, a component's own
  bool has_ways_ = false;             ///< valued by the longest way through its stages
  bool is_in_order_ = false;          ///< valued by the order of passes
  double hops_ = 0;                   ///< of every layout: exposed transfers
  std::unordered_map<std::uint64_t, Cell> cells_;
  std::unordered_map<std::uint64_t, double> flights_;  ///< by stage and number of layers
  std::optional<ScheduleOrder> order_;
  double left_ = std::numeric_limits<double>::infinity();
};

}  // namespace opweave::strategy
