// What stages of a layout may keep, and which of it is worth a look.
#include <algorithm>
#include <cmath>

#include "core/infinity.h"
#include "strategy/layout_program.h"
#include "strategy/memory.h"
#include "strategy/modules.h"
#include "strategy/step_end.h"
#include "strategy/ways.h"

namespace opweave::strategy {
namespace {

/// Bytes that are left where a stage is said not to fit: its parts are rounded to bytes one by one.
constexpr double kRoundedBytes = 64;

/// Where the earlier chunks have the more layers, which are in flight longer, no fewer are than of equal chunks; only
/// the embedding may be alone in the first.
double least_in_flight(const Setting& setting, std::uint32_t stage) {
  const double even = in_flight(setting, stage);
  const Strategy& strategy = setting.strategy;
  if (stage > 0 || strategy.chunks == 1) return even;
  return std::min(even, in_flight(setting, stage, layers_of_chunks(strategy, stage, strategy.chunks - 1)));
}

/// What one stage keeps, with so many layers made again whole.
void set_kept(Strategy& own, const KeptPart& part, std::uint32_t made_again) {
  own.recomputed_modules = part.modules;
  own.activation_offload = part.offload;
  own.recomputed_layers = made_again;
  own.recompute = made_again > 0 ? Recompute::kFull : part.modules.empty() ? Recompute::kNone : Recompute::kSelective;
}

}  // namespace

void LayoutProgram::add_sets(const Setting& setting) {
  double copies = 0;
  for (std::size_t i = 0; i < model_.layers.size(); ++i) {
    memory_.push_back(layer_memory(setting, model_.layers[i]));
    copies += static_cast<double>(model_.layers[i].count) * memory_.back().all / machines_.device.host_bandwidth;
  }
  // Everything is made again, and copied there and back beside nothing.
  most_longest_ = 2 * busy_before_.back() + head_seconds() + 2 * copies;
  // A way goes through all other stages once beside.
  if (is_valued_by_ways(mesh_)) most_longest_ += busy_before_.back() + head_seconds();
  std::vector<SetKept> all;
  for (const KeptPart& part : choice_.parts) {
    const auto is_same = [&](const SetKept& set) { return set.modules == part.modules; };
    if (std::ranges::any_of(all, is_same)) continue;
    SetKept& set = all.emplace_back(SetKept{part.modules, {}, {}});
    Strategy own = mesh_;
    own.recomputed_modules = part.modules;
    for (std::size_t i = 0; i < model_.layers.size(); ++i) {
      const LayerMemory memory = layer_memory({model_, machines_, run_, own, profile_}, model_.layers[i]);
      set.kinds.push_back({seconds_of(part.modules, layer_times_[i].modules), memory.kept});
      set.memory.push_back(memory);
    }
  }
  const auto beats = [](const SetKept& a, const SetKept& b) {
    bool is_less = false;
    for (std::size_t i = 0; i < a.kinds.size(); ++i) {
      if (a.kinds[i].again > b.kinds[i].again || a.kinds[i].kept > b.kinds[i].kept) return false;
      is_less |= a.kinds[i].again < b.kinds[i].again || a.kinds[i].kept < b.kinds[i].kept;
    }
    return is_less;
  };
  for (const SetKept& set : all) {
    if (std::ranges::none_of(all, [&](const SetKept& other) { return beats(other, set); })) sets_.push_back(set);
  }
}

std::vector<LayoutProgram::Regime> LayoutProgram::regimes() const {
  std::vector<Regime> result;
  for (const double optimizer_offload : choice_.optimizer_offloads) {
    const double end = least_end(optimizer_offload);
    const auto add = [&](Recompute recompute, std::optional<std::uint32_t> count, KeptPart part, bool is_free) {
      Regime regime{recompute, count, part, optimizer_offload, is_free, end, 0};
      regime.least_again = least_of(regime);
      result.push_back(regime);
    };
    if (choice_.layers == RecomputeChoice::kPerStage) {
      add(Recompute::kFull, std::nullopt, {}, true);
      continue;
    }
    bool can_be_whole = choice_.held == Recompute::kFull;
    for (const KeptPart& part : choice_.parts) {
      const auto is_same = [&](const SetKept& set) { return set.modules == part.modules; };
      // Made again whole is what says nothing of modules and the host.
      if (!choice_.held && part.modules.empty() && part.offload == 0) can_be_whole = true;
      if (choice_.held == Recompute::kFull || std::ranges::none_of(sets_, is_same)) continue;
      add(part.modules.empty() ? Recompute::kNone : Recompute::kSelective, std::nullopt, part, false);
    }
    if (!can_be_whole) continue;
    add(Recompute::kFull, std::nullopt, {}, false);
    if (choice_.layers != RecomputeChoice::kUniform || choice_.held) continue;
    for (std::uint32_t count = mesh_.chunks; count < run_of_.size(); count += mesh_.chunks) {
      add(Recompute::kFull, count, {}, false);
    }
  }
  std::ranges::stable_sort(result, {}, [&](const Regime& regime) {
    return seconds(least_longest(regime.least_again), regime.least_again) + regime.least_end;
  });
  return result;
}

double LayoutProgram::least_of(const Regime& regime) const {
  if (regime.is_free) return 0;
  double forward = 0;
  double backward = 0;
  double again = 0;
  double copied = 0;
  for (std::size_t i = 0; i < model_.layers.size(); ++i) {
    const auto count = static_cast<double>(model_.layers[i].count);
    forward += count * layer_times_[i].forward.total();
    backward += count * layer_times_[i].backward.total();
    again += count * seconds_of(regime.part.modules, layer_times_[i].modules);
    const auto set = std::ranges::find(sets_, regime.part.modules, &SetKept::modules);
    if (regime.recompute != Recompute::kFull) copied += count * regime.part.offload * set->kinds[i].kept;
  }
  // What copies exceed on all stages together is no less than what they exceed in all.
  if (regime.recompute != Recompute::kFull) {
    return again + exposed_copy_seconds(machines_, copied, forward, backward);
  }
  if (!regime.count) return forward;
  // The same number on every stage is no smaller a share of any layer than on the longest stage that there can be.
  const auto of = [](const LayerTime& time) { return time.forward.total(); };
  const double fastest = of(*std::ranges::min_element(layer_times_, {}, of));
  std::size_t others = 0;
  std::uint32_t most_at_least = 0;
  for (std::uint32_t stage = 0; stage < mesh_.stages(); ++stage) {
    others += least_layers(stage);
    most_at_least = std::max(most_at_least, least_layers(stage));
  }
  others -= most_at_least;
  const auto most = static_cast<double>(run_of_.size() - others);
  return fastest * static_cast<double>(run_of_.size()) * std::min(1.0, static_cast<double>(*regime.count) / most);
}

Strategy LayoutProgram::own_of(const Regime& regime) const {
  Strategy own = mesh_;
  own.recompute = regime.recompute;
  own.recomputed_layers = regime.count;
  own.recomputed_modules = regime.part.modules;
  own.activation_offload = regime.part.offload;
  own.optimizer_offload = regime.optimizer_offload;
  return own;
}

Strategy LayoutProgram::own_of(const Regime& regime, std::uint32_t stage) const {
  const Strategy own = own_of(regime);
  return own.component ? own.of_stage(stage) : own;
}

bool LayoutProgram::may_fit(const Regime& regime) const {
  return std::ranges::all_of(meshes_, [&](const StageMesh& mesh) { return may_fit(regime, mesh); });
}

/// Could all stages of a mesh together hold its layers, if each held the leanest kind of them?
bool LayoutProgram::may_fit(const Regime& regime, const StageMesh& mesh) const {
  const Strategy own = own_of(regime, mesh.begin);
  const Setting setting{model_, machines_, run_, own, profile_};
  const auto set = std::ranges::find(sets_, regime.part.modules, &SetKept::modules);
  double offload = regime.part.offload;
  if (regime.is_free) {
    for (const KeptPart& part : choice_.parts) offload = std::max(offload, part.offload);
  }
  double states = kInfinity;
  double kept = kInfinity;
  double input = kInfinity;
  double lean = kInfinity;  // under any set, or whole
  for (std::size_t i = run_of_[mesh.first_layer]; i <= run_of_[mesh.last_layer - 1]; ++i) {
    const StepMemory memory = stage_memory(setting, mesh.begin, {}, layer_weights(setting, model_.layers[i]));
    states = std::min(states, static_cast<double>((memory.weights + memory.gradients + memory.optimizer).value()));
    kept = std::min(kept, regime.is_free || regime.recompute == Recompute::kFull ? memory_[i].all : set->kinds[i].kept);
    input = std::min(input, memory_[i].input);
    for (const SetKept& any : sets_) lean = std::min(lean, any.kinds[i].kept);
  }
  lean = std::min(lean, input);
  double layers = 0;
  for (std::uint32_t stage = mesh.begin; stage < mesh.end; ++stage) {
    const double empty = static_cast<double>(stage_memory(setting, stage, {}, beside_[stage]).total().value());
    const double room = static_cast<double>(machines_.device.memory.value()) - empty + kRoundedBytes;
    const double flights = least_in_flight(setting, stage) * (1 + kFragmentation) * (1 - offload);
    double most = room / (states + flights * (regime.is_free ? lean : kept));
    if (!regime.is_free && regime.recompute == Recompute::kFull) {
      const double whole = regime.count ? static_cast<double>(*regime.count) : kInfinity;
      most = room / (states + flights * input);
      if (most > whole) most = whole + (room - whole * (states + flights * input)) / (states + flights * kept);
    }
    layers += std::max(0.0, std::floor(most));
  }
  return layers >= static_cast<double>(mesh.last_layer - mesh.first_layer);
}

bool LayoutProgram::fits_in(const Strategy& own, std::uint32_t stage, const std::vector<StageLayers>& parts,
                            const LayerWeights& held, double flights, const SetKept& set) const {
  const Setting setting{model_, machines_, run_, own, profile_};
  return fits(stage_memory(setting, stage, parts, held, flights, {set.memory, layer_held_}), machines_);
}

double LayoutProgram::flights_of(std::uint32_t stage, std::uint32_t layers) {
  const auto [place, is_new] = flights_.try_emplace((std::uint64_t{stage} << 32U) | layers);
  if (is_new) {
    const Setting setting{model_, machines_, run_, mesh_, profile_};
    place->second = in_flight(setting, stage, layers_of_chunks(mesh_, stage, layers));
  }
  return place->second;
}

void LayoutProgram::choose_kept(Strategy own, std::uint32_t stage, const std::vector<StageLayers>& layers,
                                const LayerWeights& held, double flights, Cell& cell) const {
  double count = 0;
  double forward = 0;
  double backward = 0;
  double input = 0;
  for (const StageLayers& part : layers) {
    count += part.count;
    forward += part.count * layer_times_[part.run].forward.total();
    backward += part.count * layer_times_[part.run].backward.total();
    input += part.count * memory_[part.run].input;
  }
  const auto most = static_cast<std::uint32_t>(std::llround(count));
  const std::uint32_t least = choice_.held == Recompute::kFull ? most : 0;
  double best = kInfinity;
  for (const KeptPart& part : choice_.parts) {
    const auto set = std::ranges::find(sets_, part.modules, &SetKept::modules);
    if (set == sets_.end()) continue;
    const auto fits_with = [&](std::uint32_t made_again) {
      set_kept(own, part, made_again);
      return fits_in(own, stage, layers, held, flights, *set);
    };
    double again = 0;
    double kept = 0;
    for (const StageLayers& layer : layers) {
      again += layer.count * set->kinds[layer.run].again;
      kept += layer.count * set->kinds[layer.run].kept;
    }
    const auto extra = [&](std::uint32_t made_again) {
      const double share = count > 0 ? made_again / count : 0;
      const double copied = part.offload * (kept * (1 - share) + input * share);
      return again * (1 - share) + forward * share + exposed_copy_seconds(machines_, copied, forward, backward);
    };
    // Convex in what is made again, with bends where copies are as long as a pass: the least is at one of these.
    std::vector<std::uint32_t> bends = {1, most};
    for (const double pass : {forward, backward}) {
      const double copied = pass * machines_.device.host_bandwidth;
      const double share = part.offload > 0 ? (kept - copied / part.offload) / (kept - input) : 0;
      if (share > 0 && share < 1) {
        bends.push_back(static_cast<std::uint32_t>(std::floor(share * count)));
        bends.push_back(static_cast<std::uint32_t>(std::ceil(share * count)));
      }
    }
    const auto is_worth = [&](std::uint32_t made_again) { return extra(made_again) < best; };
    const auto consider = [&](std::uint32_t made_again) {
      if (!is_worth(made_again) || !fits_with(made_again)) return;
      best = extra(made_again);
      cell.fits = true;
      cell.count = made_again;
      cell.part = part;
    };
    consider(least);
    if (choice_.held || most == 0 || std::ranges::none_of(bends, is_worth) || !fits_with(most)) continue;
    // One layer made again needs room of its own, so only from one on more of them need less.
    std::uint32_t from = 1;
    for (std::uint32_t to = most; from < to;) {
      const std::uint32_t middle = (from + to) / 2;
      if (fits_with(middle)) {
        to = middle;
      } else {
        from = middle + 1;
      }
    }
    consider(from);
    for (const std::uint32_t bend : bends) consider(std::max(bend, from));
  }
}

LayoutProgram::Cell LayoutProgram::make_cell(const Regime& regime, std::uint32_t stage, std::uint32_t begin,
                                             std::uint32_t end) {
  const std::vector<StageLayers> layers = parts(begin, end);
  LayerWeights held;
  Strategy own = own_of(regime, stage);
  for (const StageLayers& part : layers) held = held + part.count * layer_held_[part.run];
  held = held + beside_[stage];
  Cell cell;
  const double flights = flights_of(stage, end - begin);
  if (regime.is_free) {
    choose_kept(own, stage, layers, held, flights, cell);
    set_kept(own, cell.part, cell.count);
  } else {
    cell.part = regime.part;
    const Setting setting{model_, machines_, run_, own, profile_};
    cell.fits = fits(stage_memory(setting, stage, layers, held, flights), machines_);
  }
  const StageTime time = stage_time({model_, machines_, run_, own, profile_}, layer_times_, layers);
  cell.again = time.recompute + time.offload;
  cell.busy = time.total();
  if (stage + 1 == mesh_.stages()) cell.busy += head_seconds();
  if (is_in_order_) {
    const Setting setting{model_, machines_, run_, own, profile_};
    cell.passes = chunk_passes(setting, layer_times_, layers, layers_of_chunks(mesh_, stage, end - begin), cell.again);
    if (stage + 1 == mesh_.stages()) add_head(setting, head_, cell.passes.back());
  }
  cell.end = end_seconds({model_, machines_, run_, own, profile_}, held);
  return cell;
}

}  // namespace opweave::strategy
