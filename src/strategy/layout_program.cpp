#include "strategy/layout_program.h"

#include <algorithm>
#include <cmath>

#include "core/infinity.h"
#include "strategy/memory.h"
#include "strategy/products.h"
#include "strategy/step_end.h"
#include "strategy/ways.h"

namespace opweave::strategy {
namespace {

/// Doubles that differ by less than this share are one: sums in another order.
constexpr double kLayoutRounding = 1e-11;
/// Limits on the longest stage are looked for as closely as this.
constexpr double kLimitTolerance = 1e-9;
/// What is asked to be less is so by this share.
constexpr double kLess = 1e-10;
/// Limits on the longest stage that are tried first exceed the least conceivable by this share, and ever more.
constexpr double kFirstStep = 0.01;
constexpr double kStepGrowth = 4;

}  // namespace

LayoutProgram::LayoutProgram(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                             const CalibrationProfile& profile, const Strategy& mesh, const KeepChoice& choice)
    : model_(model),
      machines_(machines),
      run_(run),
      profile_(profile),
      mesh_(mesh),
      choice_(choice),
      busy_before_{0},
      passes_before_(1) {
  mesh_.layers_per_stage.clear();
  const Setting setting{model_, machines_, run_, mesh_, profile_};
  StageTime all;
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    layer_times_.push_back(layer_time(setting, model.layers[i]));
    const LayerTime& time = layer_times_.back();
    for (std::int64_t k = 0; k < model.layers[i].count; ++k) {
      run_of_.push_back(i);
      busy_before_.push_back(busy_before_.back() + time.forward.total() + time.backward.total());
      passes_before_.push_back(passes_before_.back() + passes_in(time));
    }
    const auto count = static_cast<double>(model.layers[i].count);
    all.time.backward += time.backward * count;
    layer_held_.push_back(layer_weights(setting, model.layers[i]));
  }
  head_ = head_time(setting);
  all.time.backward += head_.backward;
  weight_seconds_ = weight_gradient_seconds(all);
  if (mesh_.sharding == Sharding::kWeights) constant_ = sharded_weights_seconds(setting, layer_times_);
  add_meshes(setting);
  add_sets(setting);
  is_in_order_ = is_valued_by_order(setting);
  has_ways_ = is_valued_by_ways(mesh_);
  hops_ = pipeline_time(setting, PipelineLoad{}).hops;
}

void LayoutProgram::add_meshes(const Setting& setting) {
  std::uint32_t of_component = 0;
  for (const LayerRun& layers : model_.layers) {
    if (has_own_mesh(model_, mesh_, layers)) of_component += static_cast<std::uint32_t>(layers.count);
  }
  const auto all = static_cast<std::uint32_t>(run_of_.size());
  if (mesh_.component) meshes_.push_back({0, mesh_.first_stage(), 0, of_component, 0});
  meshes_.push_back({mesh_.first_stage(), mesh_.stages(), of_component, all, 0});
  // What stages hold beside layers is what is left without them.
  const auto held_by = held_weights(setting);
  const auto stage_layers = stages(setting);
  beside_ = held_by;
  for (StageMesh& mesh : meshes_) {
    LayerWeights sum;
    for (std::uint32_t stage = mesh.begin; stage < mesh.end; ++stage) {
      sum = sum + held_by[stage];
      for (const StageLayers& part : stage_layers[stage]) {
        beside_[stage] = beside_[stage] - part.count * layer_weights(setting, model_.layers[part.run]);
      }
      if (stage != mesh.begin && stage + 1 != mesh_.stages()) beside_[stage] = {};
    }
    // Some stage holds its share of all weights at least, be they of one kind or the other.
    mesh.least_held = (sum.common + sum.experts) / (mesh.end - mesh.begin);
  }
}

double LayoutProgram::head_seconds() const { return head_.forward.total() + head_.backward.total(); }

double LayoutProgram::seconds(double longest, double again) const {
  const Setting setting{model_, machines_, run_, mesh_, profile_};
  const double sum = busy_before_.back() + head_seconds() + again;
  const PipelineTime time = pipeline_time(setting, {longest, sum, weight_seconds_});
  return time.busy + time.bubble + time.hops + constant_;
}

double LayoutProgram::least_longest(double again) const {
  const double head = head_seconds();
  double least = (busy_before_.back() + head + again) / mesh_.stages();
  const double last = busy_before_.back() - busy_before_[busy_before_.size() - 1 - least_layers(mesh_.stages() - 1)];
  // The stages of a mesh share its own layers alone.
  for (const StageMesh& mesh : meshes_) {
    if (meshes_.size() == 1) break;
    const double busy = busy_before_[mesh.last_layer] - busy_before_[mesh.first_layer];
    const double all = busy + (mesh.end == mesh_.stages() ? head : 0);
    const double stages = mesh.end - mesh.begin;
    least = std::max(least, all / stages);
    if (!has_ways_) continue;
    double share = 1;
    for (std::uint32_t i = mesh.first_layer; i < mesh.last_layer; ++i) {
      const LayerTime& time = layer_times_[run_of_[i]];
      share = std::min(share, time.forward.total() / (time.forward.total() + time.backward.total()));
    }
    const auto count = static_cast<double>(microbatches(run_, mesh_));
    const double before = passes_before_[mesh.first_layer].forward;
    least = std::max(least, least_longest_way(all, share, before, stages, count) / count);
  }
  return std::max(least, head + last);
}

double LayoutProgram::least_end(double optimizer_offload) const {
  double least = 0;
  for (const StageMesh& mesh : meshes_) {
    Strategy own = mesh_.component ? mesh_.of_stage(mesh.begin) : mesh_;
    own.optimizer_offload = optimizer_offload;
    const Setting setting{model_, machines_, run_, own, profile_};
    least = std::max(least,
                     std::min(end_seconds(setting, {mesh.least_held, 0}), end_seconds(setting, {0, mesh.least_held})));
  }
  return least;
}

double LayoutProgram::bound() const {
  double end = kInfinity;
  for (const double offload : choice_.optimizer_offloads) end = std::min(end, least_end(offload));
  return seconds(least_longest(0), 0) + end;
}

std::uint32_t LayoutProgram::least_layers(std::uint32_t stage) const {
  // Embedding and head may be chunks of their own.
  const bool has_table = mesh_.pipeline > 1 && (stage == mesh_.first_stage() || stage + 1 == mesh_.stages());
  return has_table ? mesh_.chunks - 1 : mesh_.chunks;
}

bool LayoutProgram::is_on_other_mesh(std::uint32_t stage, std::uint32_t next) const {
  const std::uint32_t of_component = meshes_.back().first_layer;
  if (stage < mesh_.first_stage() && next > of_component) return true;
  return stage + 1 == mesh_.first_stage() && next < of_component;
}

std::vector<StageLayers> LayoutProgram::parts(std::uint32_t begin, std::uint32_t end) const {
  std::vector<StageLayers> result;
  for (std::uint32_t i = begin; i < end; ++i) {
    if (result.empty() || result.back().run != run_of_[i]) result.push_back({run_of_[i], 0});
    result.back().count += 1;
  }
  return result;
}

const LayoutProgram::Cell& LayoutProgram::cell(const Regime& regime, std::uint32_t stage, std::uint32_t begin,
                                               std::uint32_t end) {
  // Equal layers are alike wherever they begin.
  const bool is_uniform = begin < end && run_of_[begin] == run_of_[end - 1];
  const std::uint64_t from = is_uniform ? run_of_.size() + run_of_[begin] : begin;
  const std::uint64_t key = (std::uint64_t{stage} << 42U) | (from << 21U) | (end - begin);
  const auto [place, is_new] = cells_.try_emplace(key);
  if (is_new) place->second = make_cell(regime, stage, begin, end);
  return place->second;
}

double LayoutProgram::longest_of(const Cell& cell, std::uint32_t stage, std::uint32_t begin, std::uint32_t end) const {
  if (!has_ways_) return cell.busy;
  const PassSeconds head = passes_in(head_);
  const PassSeconds all = passes_before_.back() + head;
  PassSeconds work = passes_before_[end] - passes_before_[begin];
  if (stage + 1 == mesh_.stages()) work = work + head;
  const PassSeconds before = passes_before_[begin];
  PassSeconds own = work;
  own.backward += cell.again;
  const auto count = static_cast<double>(microbatches(run_, mesh_));
  return longest_way(own, {before, all - before - work}, count) / count;
}

std::optional<LayoutProgram::Found> LayoutProgram::least_again(const Regime& regime, double longest, double end) {
  struct Entry {
    double again = kInfinity;
    std::uint32_t begin = 0;
  };
  const auto count = static_cast<std::uint32_t>(run_of_.size());
  const std::uint32_t depth = mesh_.stages();
  const double head = head_seconds();
  std::vector<std::vector<Entry>> table(depth + 1, std::vector<Entry>(count + 1));
  table[0][0].again = 0;
  const double limit = longest * (1 + kLayoutRounding);
  for (std::uint32_t stage = 0; stage < depth; ++stage) {
    const double behind = (depth - stage - 1) * limit;
    for (std::uint32_t begin = 0; begin <= count; ++begin) {
      if (!std::isfinite(table[stage][begin].again)) continue;
      for (std::uint32_t next = begin + least_layers(stage); next <= count; ++next) {
        if (stage + 1 == depth && next < count) continue;
        if (is_on_other_mesh(stage, next)) continue;
        const double busy = busy_before_[next] - busy_before_[begin];
        if (busy > limit) break;
        // What is left must be done by the stages behind.
        if (stage + 1 < depth && busy_before_[count] - busy_before_[next] + head > behind * (1 + kLayoutRounding))
          continue;
        const Cell& made = cell(regime, stage, begin, next);
        if (!made.fits || made.end > end || longest_of(made, stage, begin, next) > limit) continue;
        Entry& entry = table[stage + 1][next];
        const double again = table[stage][begin].again + made.again;
        if (again < entry.again) entry = {again, begin};
      }
    }
  }
  if (!std::isfinite(table[depth][count].again)) return std::nullopt;
  Found found;
  found.layers.resize(depth);
  found.counts.resize(depth);
  found.parts.resize(depth);
  found.again = table[depth][count].again;
  std::uint32_t next = count;
  for (std::uint32_t stage = depth; stage-- > 0;) {
    const std::uint32_t begin = table[stage + 1][next].begin;
    const Cell& made = cell(regime, stage, begin, next);
    found.layers[stage] = next - begin;
    found.counts[stage] = made.count;
    found.parts[stage] = made.part;
    found.longest = std::max(found.longest, longest_of(made, stage, begin, next));
    found.end = std::max(found.end, made.end);
    next = begin;
  }
  return found;
}

void LayoutProgram::consider(const Regime& regime, const Found& found, Layout& best) const {
  const double value = seconds(found.longest, found.again) + found.end;
  if (value < best.seconds) take(regime, found, value, best);
}

void LayoutProgram::take(const Regime& regime, const Found& found, double seconds, Layout& best) const {
  best.seconds = seconds;
  best.end = found.end;
  Strategy& s = best.strategy = own_of(regime);
  s.layers_per_stage = found.layers;
  if (!regime.is_free) return;
  const auto alike = [](const auto& values) {
    return std::ranges::all_of(values, [&](const auto& one) { return one == values.front(); });
  };
  std::vector<ModuleSet> modules;
  std::vector<double> offloads;
  for (std::size_t i = 0; i < found.parts.size(); ++i) {
    // Where all is made again whole there is nothing else.
    const bool is_whole = found.counts[i] > 0 && found.counts[i] >= found.layers[i];
    modules.push_back(is_whole ? ModuleSet() : found.parts[i].modules);
    offloads.push_back(found.parts[i].offload);
  }
  s.recomputed_modules = modules.front();
  if (!alike(modules)) s.modules_per_stage = std::move(modules);
  s.activation_offload = offloads.front();
  if (!alike(offloads)) s.offload_per_stage = std::move(offloads);
  const auto is_none = [](std::uint32_t count) { return count == 0; };
  if (std::ranges::all_of(found.counts, is_none)) {
    const bool makes_modules_again = !s.recomputed_modules.empty() || !s.modules_per_stage.empty();
    s.recompute = makes_modules_again ? Recompute::kSelective : Recompute::kNone;
    return;
  }
  s.recompute = Recompute::kFull;
  if (std::ranges::equal(found.counts, found.layers)) {
    s.recomputed_modules = {};  // of stages without layers
    s.modules_per_stage.clear();
    return;
  }
  if (alike(found.counts)) {
    s.recomputed_layers = found.counts.front();
  } else {
    s.recomputed_per_stage = found.counts;
  }
}

std::optional<LayoutProgram::Found> LayoutProgram::shortest_longest(const Regime& regime, double end,
                                                                    const Layout& best) {
  double below = least_longest(0);
  std::optional<Found> shortest;
  for (double step = kFirstStep; !shortest; step *= kStepGrowth) {
    if (seconds(below, 0) + regime.least_end >= best.seconds || below > most_longest_) return std::nullopt;
    const double limit = least_longest(0) * (1 + step);
    shortest = least_again(regime, limit, end);
    if (!shortest) below = limit;
  }
  while (shortest->longest - below > kLimitTolerance * shortest->longest) {
    const double middle = (below + shortest->longest) / 2;
    if (auto found = least_again(regime, middle, end)) {
      shortest = std::move(found);
    } else {
      below = middle;
    }
  }
  return shortest;
}

double LayoutProgram::longest_worth(double again, double value) const {
  double low = least_longest(again);
  double high = low;
  while (seconds(high, again) <= value) high *= 2;
  while (high - low > kLimitTolerance * high) {
    const double middle = (low + high) / 2;
    (seconds(middle, again) <= value ? low : high) = middle;
  }
  return high;
}

std::optional<LayoutProgram::Found> LayoutProgram::fastest_before_end(const Regime& regime, double end, Layout& best) {
  const auto shortest = shortest_longest(regime, end, best);
  if (!shortest) return std::nullopt;
  consider(regime, *shortest, best);
  Found fastest = *shortest;
  const auto value = [&](const Found& found) { return seconds(found.longest, found.again); };
  // A longer stage pays where less is made again: from the longest that still could, each step down at the least price.
  double least = 0;
  for (double limit = longest_worth(0, value(fastest)); limit > shortest->longest * (1 + kLayoutRounding);) {
    const auto found = least_again(regime, limit, end);
    if (!found) break;
    consider(regime, *found, best);
    if (value(*found) < value(fastest)) fastest = *found;
    if (least == 0) least = found->again;
    if (shortest->again <= least * (1 + kLayoutRounding)) break;  // nothing makes less again
    limit = std::min(found->longest * (1 - kLess), longest_worth(least, value(fastest)));
  }
  return fastest;
}

void LayoutProgram::look_through(const Regime& regime, Layout& best) {
  cells_.clear();
  for (double end = kInfinity; true;) {
    const auto found = fastest_before_end(regime, end, best);
    if (!found) return;
    // Earlier ends leave fewer layouts, which are no faster before their end.
    if (seconds(found->longest, found->again) + regime.least_end >= best.seconds * (1 - kLayoutRounding)) return;
    end = found->end * (1 - kLess);
  }
}

std::optional<LayoutProgram::Layout> LayoutProgram::over_regimes(
    double below, const std::function<void(const Regime&, Layout&)>& look) {
  Layout best;
  best.seconds = below;
  left_ = kInfinity;
  for (const StageMesh& mesh : meshes_) {
    std::uint32_t least = 0;
    for (std::uint32_t stage = mesh.begin; stage < mesh.end; ++stage) least += least_layers(stage);
    if (mesh.last_layer - mesh.first_layer < least) return std::nullopt;
  }
  for (const Regime& regime : regimes()) {
    // Those that follow promise no more.
    if (seconds(least_longest(regime.least_again), regime.least_again) + regime.least_end >= best.seconds) break;
    if (may_fit(regime)) look(regime, best);
  }
  if (left_ >= best.seconds) left_ = kInfinity;
  if (best.seconds >= below) return std::nullopt;
  return best;
}

}  // namespace opweave::strategy
