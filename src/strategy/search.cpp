#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/infinity.h"
#include "opweave/error.h"
#include "opweave/strategy_search.h"
#include "opweave/strategy_targets.h"
#include "strategy/component_meshes.h"
#include "strategy/layout_program.h"
#include "strategy/ranking.h"
#include "strategy/search_limits.h"

namespace opweave {
namespace {

using strategy::divisors;
using strategy::held_or;
using strategy::KeepChoice;
using strategy::LayoutProgram;

/// Seconds as double and nanoseconds as integer differ by less than this share.
constexpr double kSecondsRounding = 1e-9;
/// Seconds by which a step, whose parts are each rounded to a nanosecond, differs at most from the time of the program
/// that found it. What is excluded takes longer by more than that, so that the ranking, which goes by nanoseconds, does
/// not depend on what was known when.
constexpr double kSlack = 20e-9;
constexpr std::array<std::string_view, 3> kTargets = {"any", "megatron", "torchtitan"};

/// A walk over the space, with the best of each set of degrees.
class Search {
 public:
  Search(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
         const CalibrationProfile& profile, Target target, const HeldDecisions& held, const Budget& budget,
         const SearchShare& share)
      : model_(model),
        machines_(machines),
        run_(run),
        profile_(profile),
        target_(target),
        held_(held),
        budget_(budget),
        choice_(strategy::keep_choice(model, profile, target, held)),
        share_(share) {
    for (const LayerRun& layers : model.layers) {
      if (layers.experts) experts_ = std::max(experts_, static_cast<std::uint64_t>(layers.experts->count));
    }
  }

  void walk() {
    const bool wants_mesh = held_.component && held_.component->wants_mesh();
    if (held_.component) strategy::expect_component(model_, *held_.component);
    if (!wants_mesh) walk_shared();
    // Targets have one mesh; where another is held, they say so.
    if (!wants_mesh && (held_.component || target_ != Target::kAny)) return;
    for (const Strategy& strategy : strategy::component_meshes(model_, machines_, run_, held_)) {
      if (!result_.is_complete) return;
      with_experts(strategy);
    }
  }

  /// Strategies with one mesh for all layers.
  void walk_shared() {
    const std::uint64_t devices = machines_.devices();
    for (const std::uint32_t tensor : held_or(held_.tensor, divisors(devices, machines_.devices_per_node))) {
      for (const std::uint32_t context : held_or(held_.context, divisors(devices, strategy::kMostContext))) {
        if (!held_.context && context > 1 && run_.sequence / context < strategy::kLeastTokensOfContext) continue;
        const auto most_stages = static_cast<std::uint64_t>(model_.layer_count());
        for (const std::uint32_t pipeline : held_or(held_.pipeline, divisors(devices, most_stages))) {
          const std::uint64_t others = std::uint64_t{tensor} * context * pipeline;
          if (devices % others != 0 || (held_.data && *held_.data != devices / others)) {
            exclude_degrees(tensor, context, pipeline);
            continue;
          }
          Strategy strategy;
          strategy.tensor = tensor;
          strategy.has_sequence_parallelism = tensor > 1;
          strategy.context = context;
          strategy.pipeline = pipeline;
          strategy.data = static_cast<std::uint32_t>(devices / others);
          with_experts(strategy);
          if (!result_.is_complete) return;
        }
      }
    }
  }

  /// Looks into the meshes, the most promising first, until those that are left are proven to be no better than the
  /// `most` that are known.
  StrategySearchResult finish(std::size_t most, const std::function<void(const StrategyProgress&)>& tell) {
    std::ranges::stable_sort(meshes_, {}, &Mesh::bound);
    result_.meshes = meshes_.size();
    known_below_.assign(meshes_.size(), -1);
    value_even_layouts(most);
    double least_left = look_into_all(most, tell);
    if (best_.empty() && result_.is_complete && std::isinf(outside())) {
      for (std::size_t i = share_.part; i < meshes_.size(); i += share_.parts) note_memory(i);
    }
    result_.ranked = best_.first(most);
    if (!result_.ranked.empty()) least_left = std::min(least_left, seconds_of(result_.ranked.front().value.time.step));
    if (std::isfinite(least_left) && !stopped_early_) {
      result_.bound = Duration(static_cast<std::int64_t>(std::floor(least_left * 1e9 * (1 - kSecondsRounding))));
    }
    if (share_.parts == 1) look_for_others(most, tell);
    return std::move(result_);
  }
  [[nodiscard]] const std::string& why_excluded() const { return why_.empty() ? why_degrees_ : why_; }

 private:
  /// All of a strategy but layers on stages and what is made again.
  struct Mesh {
    Strategy strategy;
    double bound;  ///< seconds
  };

  /// Seconds that all take at least which are neither valued nor excluded.
  double look_into_all(std::size_t most, const std::function<void(const StrategyProgress&)>& tell) {
    double least_left = kInfinity;
    rest_.clear();
    for (std::size_t i = share_.part; i < meshes_.size(); i += share_.parts) {
      const Mesh& mesh = meshes_[i];
      const double below = std::min(worst_of_best(most), outside()) + kSlack;
      if (mesh.bound >= below) {
        least_left = mesh.bound;
        break;
      }
      if (budget_.expired()) {
        result_.is_complete = false;
        least_left = mesh.bound;
        break;
      }
      look_into(i, below);
      if (tell) tell(progress(mesh.bound));
    }
    return std::min(least_left, look_into_rest(most, tell));
  }

  /// Where some of the first `most` are alike: as many more as it takes until so many are not. What is known of the
  /// fastest stays as it is.
  void look_for_others(std::size_t most, const std::function<void(const StrategyProgress&)>& tell) {
    const bool is_complete = result_.is_complete;
    auto more = strategy::more_to_look_for(result_.ranked, most, most);
    while (more && !budget_.expired()) {
      (void)look_into_all(*more, tell);
      result_.ranked = best_.first(*more);
      more = strategy::more_to_look_for(result_.ranked, most, *more);
    }
    if (result_.ranked.size() > most) result_.ranked.resize(most);
    result_.is_complete = is_complete;
  }

  static double seconds_of(Duration step) { return static_cast<double>(step.value()) * 1e-9; }

  /// Seconds of the last of the `most` best known; infinite as long as there are fewer.
  [[nodiscard]] double worst_of_best(std::size_t most) const {
    const std::optional<Duration> last = best_.last_of(most);
    return last ? seconds_of(*last) : kInfinity;
  }

  /// Seconds that a strategy must not take more than, as others know enough that do not.
  [[nodiscard]] double outside() const {
    const std::int64_t none = std::numeric_limits<std::int64_t>::max();
    const std::int64_t cutoff = share_.cutoff == nullptr ? none : share_.cutoff->load();
    return cutoff == none ? kInfinity : seconds_of(Duration(cutoff));
  }

  void with_experts(Strategy strategy) {
    const std::uint64_t ranks = std::uint64_t{strategy.tensor} * strategy.context * strategy.data;
    const auto choices = experts_ == 0 ? std::vector<std::uint32_t>{1} : divisors(experts_, ranks);
    for (const std::uint32_t expert : held_or(held_.expert, choices)) {
      strategy.expert = expert;
      for (std::uint32_t micro_batch = 1; micro_batch <= strategy::kMostMicroBatch; micro_batch *= 2) {
        if (held_.micro_batch && micro_batch > 1) break;
        strategy.micro_batch = held_.micro_batch.value_or(micro_batch);
        if (run_.global_batch % (std::int64_t{strategy.data} * strategy.micro_batch) != 0) {
          // Of microbatches that nobody holds, the smallest tells why there is none.
          if (held_.micro_batch || micro_batch == 1) exclude(why_no_whole_batch(run_, strategy));
          continue;
        }
        with_schedules(strategy);
        if (budget_.expired()) {
          result_.is_complete = false;
          stopped_early_ = true;
          return;
        }
      }
    }
  }

  /// Schedules that the target can say, with their numbers of chunks.
  void with_schedules(Strategy strategy) {
    strategy.schedule = PipelineKind::k1F1B;
    strategy.chunks = 1;
    if (is_wanted(strategy)) with_sharding(strategy);
    if (strategy.component) {
      // Chunks would take turns on devices of two meshes.
      if (held_.schedule == PipelineKind::kInterleaved) {
        exclude("schedule is Interleaved-1F1B, expected 1F1B, ZB1P or ZB-2P where a component has a mesh of its own");
      }
      with_zero_bubble(strategy);
      return;
    }
    if (strategy.pipeline == 1) return;
    strategy.schedule = PipelineKind::kInterleaved;
    const auto layers = static_cast<std::uint64_t>(model_.layer_count());
    // Interleaving needs groups of as many microbatches as there are stages.
    const std::int64_t count = run_.global_batch / (std::int64_t{strategy.data} * strategy.micro_batch);
    if (count % strategy.pipeline != 0 && (held_.chunks || held_.schedule == PipelineKind::kInterleaved)) {
      exclude(fmt::format("{} microbatches are no multiple of pipeline {}, as interleaving needs", count,
                          strategy.pipeline));
    }
    const std::uint32_t most_chunks = std::max(strategy::kMostChunks, held_.chunks.value_or(1));
    for (std::uint32_t chunks = 2; chunks <= most_chunks && count % strategy.pipeline == 0; ++chunks) {
      if (std::uint64_t{strategy.pipeline} * chunks > layers + 2) {
        if (held_.chunks) {
          exclude(fmt::format("pipeline {} x vpp {} are more stages than the {} layers with embedding and head",
                              strategy.pipeline, *held_.chunks, layers));
        }
        break;
      }
      strategy.chunks = chunks;
      if (is_wanted(strategy)) with_sharding(strategy);
    }
    strategy.chunks = 1;
    with_zero_bubble(strategy);
  }

  void with_zero_bubble(Strategy strategy) {
    if (target_ == Target::kMegatron) {
      if (held_.schedule == PipelineKind::kZeroBubble1 || held_.schedule == PipelineKind::kZeroBubble2) {
        exclude(fmt::format("{} has no schedule {}", to_string(target_), opweave::to_string(*held_.schedule)));
      }
      return;
    }
    for (const PipelineKind kind : {PipelineKind::kZeroBubble1, PipelineKind::kZeroBubble2}) {
      strategy.schedule = kind;
      if (is_wanted(strategy)) with_sharding(strategy);
    }
  }

  [[nodiscard]] bool is_wanted(const Strategy& strategy) const {
    return (!held_.schedule || *held_.schedule == strategy.schedule) &&
           (!held_.chunks || *held_.chunks == strategy.chunks);
  }

  void with_sharding(Strategy strategy) {
    std::vector<Sharding> shardings;
    if (target_ != Target::kTorchtitan) shardings.push_back(Sharding::kOptimizer);
    if (target_ != Target::kMegatron) shardings.push_back(Sharding::kWeights);
    const bool has_copies = strategy.data * strategy.context > 1 ||
                            (strategy.component && strategy.component->data * strategy.component->context > 1);
    if (!has_copies) shardings = {Sharding::kNone};
    for (const Sharding sharding : held_or(held_.sharding, shardings)) {
      strategy.sharding = sharding;
      std::string why = why_impossible(model_, machines_, run_, strategy);
      if (why.empty()) why = why_inexpressible(target_, model_, run_, asked(strategy));
      if (!why.empty()) {
        exclude(why);
        continue;
      }
      with_overlap(strategy);
    }
  }

  /// Collectives of the tensor axis beside products, and not: the first take buffers of their own.
  void with_overlap(Strategy strategy) {
    for (const bool overlaps : {true, false}) {
      if (held_.overlaps_tensor && *held_.overlaps_tensor != overlaps) continue;
      const bool has_messages = (strategy.tensor > 1 && strategy.has_sequence_parallelism) ||
                                (strategy.component && strategy.component->has_sequence_parallelism);
      if (overlaps && !has_messages) continue;
      strategy.overlaps_tensor = overlaps;
      add_mesh(strategy);
    }
  }

  /// With what is held of the decisions that a mesh leaves open.
  [[nodiscard]] Strategy asked(Strategy strategy) const {
    strategy.recomputed_modules = held_.modules.value_or(ModuleSet());
    strategy.recompute =
        held_.recompute.value_or(strategy.recomputed_modules.empty() ? Recompute::kNone : Recompute::kSelective);
    strategy.activation_offload = held_.activation_offload.value_or(0);
    strategy.optimizer_offload = held_.optimizer_offload.value_or(0);
    return strategy;
  }

  /// To be looked into once all meshes are known.
  void add_mesh(const Strategy& strategy) {
    LayoutProgram program(model_, machines_, run_, profile_, strategy, choice_);
    meshes_.push_back({strategy, program.bound()});
  }

  /// Values meshes with layers shared out evenly, of which all are kept or all made again: within moments there is an
  /// answer no worse than the usual ones, whatever time is left for better ones.
  void value_even_layouts(std::size_t most) {
    for (std::size_t i = share_.part; i < meshes_.size() && !budget_.expired(); i += share_.parts) {
      if (meshes_[i].bound >= std::min(worst_of_best(most), outside())) return;
      for (const Recompute recompute : {Recompute::kNone, Recompute::kFull}) {
        if ((held_.recompute && *held_.recompute != recompute) || held_.modules || held_.activation_offload) continue;
        Strategy even = meshes_[i].strategy;
        even.recompute = recompute;
        even.optimizer_offload = choice_.optimizer_offloads.front();
        even.layers_per_stage.assign(even.stages(), 0);
        const std::vector<std::uint32_t> by_stage = layers_of_stages(model_, meshes_[i].strategy);
        for (std::size_t s = 0; s < by_stage.size(); ++s) even.layers_per_stage[s % even.stages()] += by_stage[s];
        const RankedStrategy ranked{even, evaluate(model_, machines_, run_, even, profile_), i};
        if (!ranked.value.fits || seconds_of(ranked.value.time.step) >= worst_of_best(most)) continue;
        if (best_.offer(ranked) && share_.on_found) share_.on_found(ranked);
      }
    }
  }

  /// Seconds that a strategy with the degrees of a mesh has to stay below, to be of use.
  [[nodiscard]] double worth(const Mesh& mesh, double below) const {
    const std::optional<Duration> known = best_.known(mesh.strategy);
    return known ? std::min(below, seconds_of(*known) + kSlack) : below;
  }

  void offer(const std::optional<LayoutProgram::Layout>& layout, std::size_t i) {
    if (!layout) return;
    const RankedStrategy ranked{layout->strategy, evaluate(model_, machines_, run_, layout->strategy, profile_), i};
    if (best_.offer(ranked) && share_.on_found) share_.on_found(ranked);
  }

  void look_into(std::size_t i, double below) {
    const Mesh& mesh = meshes_[i];
    const double limit = worth(mesh, below);
    if (limit <= known_below_[i]) return;
    if (known_below_[i] < 0) ++result_.valued;
    LayoutProgram program(model_, machines_, run_, profile_, mesh.strategy, choice_);
    const auto layout = program.fastest_by_formulas(limit);
    offer(layout, i);
    const bool is_rest = std::isfinite(program.left());
    if (is_rest) rest_.push_back({i, program.left()});
    known_below_[i] = layout && !is_rest ? kInfinity : limit;
  }

  /// Layouts whose formulas are too good, once the best by the formulas are known. Seconds that those take at least
  /// which are neither valued nor excluded.
  double look_into_rest(std::size_t most, const std::function<void(const StrategyProgress&)>& tell) {
    strategy::ScheduleCuts cuts;
    std::ranges::stable_sort(rest_, {}, &Rest::least);
    double left = kInfinity;
    for (const Rest& rest : rest_) {
      const Mesh& mesh = meshes_[rest.mesh];
      const double below = worth(mesh, std::min(worst_of_best(most), outside()) + kSlack);
      if (rest.least >= below) continue;
      if (budget_.expired()) {
        left = std::min(left, rest.least);
        break;  // those that follow take no less
      }
      LayoutProgram program(model_, machines_, run_, profile_, mesh.strategy, choice_);
      offer(program.fastest(below, cuts, budget_), rest.mesh);
      left = std::min(left, program.left());
      if (tell) tell(progress(std::min(left, rest.least)));
    }
    // Those that might be among the first, but not the first, leave it the fastest of the space.
    if (left < worst_of_best(1)) result_.is_complete = false;
    return left;
  }

  [[nodiscard]] StrategyProgress progress(double bound) const {
    StrategyProgress state{budget_.elapsed(), result_.meshes, result_.valued, best_.last_of(1), {}};
    state.bound = Duration(static_cast<std::int64_t>(bound * 1e9));
    if (state.best) state.bound = std::min(state.bound, *state.best);
    return state;
  }

  /// The leanest way to run a mesh, to tell what is missing where nothing fits.
  void note_memory(std::size_t i) {
    Strategy lean = asked(meshes_[i].strategy);
    if (!held_.recompute && !held_.modules) lean.recompute = Recompute::kFull;
    if (!held_.optimizer_offload) lean.optimizer_offload = choice_.optimizer_offloads.back();
    if (!held_.activation_offload && target_ == Target::kAny) lean.activation_offload = 1;
    const RankedStrategy ranked{lean, evaluate(model_, machines_, run_, lean, profile_), i};
    const bool is_less =
        !result_.least_memory || ranked.value.memory.total() < result_.least_memory->value.memory.total();
    if (is_less) result_.least_memory = ranked;
  }

  /// Where degrees are held: those of the space divide the devices.
  void exclude_degrees(std::uint32_t tensor, std::uint32_t context, std::uint32_t pipeline) {
    if (!held_.tensor && !held_.context && !held_.pipeline && !held_.data) return;
    if (!why_degrees_.empty()) return;
    why_degrees_ = fmt::format("tensor {} x context {} x pipeline {}{} does not make {} devices", tensor, context,
                               pipeline, held_.data ? fmt::format(" x data {}", *held_.data) : "", machines_.devices());
  }

  void exclude(std::string why) {
    if (why_.empty()) why_ = std::move(why);
  }

  const ModelDescription& model_;
  const Machines& machines_;
  const TrainingRun& run_;
  const CalibrationProfile& profile_;
  Target target_;
  const HeldDecisions& held_;
  const Budget& budget_;
  const KeepChoice choice_;
  const SearchShare& share_;
  std::uint64_t experts_ = 0;
  std::vector<Mesh> meshes_;
  /// A mesh with layouts that have not been valued by the order of their passes.
  struct Rest {
    std::size_t mesh;
    double least;  ///< seconds that they take at least
  };
  std::vector<Rest> rest_;
  /// Of each mesh: seconds below which its fastest layout is known, if there is one; negative before it is looked into.
  std::vector<double> known_below_;
  bool stopped_early_ = false;  ///< before all meshes were listed
  strategy::Ranking best_;
  StrategySearchResult result_;
  std::string why_;
  std::string why_degrees_;  ///< where no degrees make the devices
};

}  // namespace

std::string_view to_string(Target target) { return kTargets.at(static_cast<std::size_t>(target)); }

std::optional<Target> target_from_string(std::string_view text) {
  const auto found = std::ranges::find(kTargets, text);
  if (found == kTargets.end()) return std::nullopt;
  return static_cast<Target>(found - kTargets.begin());
}

StrategySearchResult search_strategies(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                                       const CalibrationProfile& profile, Target target, const HeldDecisions& held,
                                       std::size_t most, const Budget& budget,
                                       const std::function<void(const StrategyProgress&)>& tell,
                                       const SearchShare& share) {
  if (const std::string why = strategy::why_not_held(model, held); !why.empty()) throw InputError(why);
  Search search(model, machines, run, profile, target, held, budget, share);
  search.walk();
  StrategySearchResult result = search.finish(most, tell);
  if (result.meshes == 0 && result.is_complete) {
    const std::string& why = search.why_excluded();
    throw InputError(fmt::format("no strategy is possible on {} devices{}", machines.devices(),
                                 why.empty() ? ": what is held does not divide them" : ", for example: " + why));
  }
  return result;
}

}  // namespace opweave
