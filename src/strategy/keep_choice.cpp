#include "strategy/keep_choice.h"

#include "strategy/modules.h"

namespace opweave::strategy {
namespace {

constexpr double kActivationOffloads[] = {0, 0.25, 0.5, 0.75, 1};
constexpr double kOptimizerOffloads[] = {0, 0.5, 1};

std::vector<ModuleSet> sets_of(const ModelDescription& model, const CalibrationProfile& profile, Target target) {
  std::vector<ModuleSet> sets = {{}};
  if (target != Target::kTorchtitan) sets = module_sets(model, profile);
  if (target != Target::kMegatron) sets.push_back({LayerModule::kAlternateProducts});
  return sets;
}

}  // namespace

KeepChoice keep_choice(const ModelDescription& model, const CalibrationProfile& profile, Target target,
                       const HeldDecisions& held) {
  KeepChoice choice;
  choice.held = held.recompute;
  choice.layers = target == Target::kMegatron     ? RecomputeChoice::kUniform
                  : target == Target::kTorchtitan ? RecomputeChoice::kAllOrNone
                                                  : RecomputeChoice::kPerStage;
  std::vector<ModuleSet> sets = sets_of(model, profile, target);
  if (held.modules) sets = {*held.modules};
  for (const ModuleSet set : sets) {
    if (held.recompute == Recompute::kNone && !set.empty()) continue;
    if (held.recompute == Recompute::kSelective && set.empty()) continue;
    for (const double offload : kActivationOffloads) {
      const double share = held.activation_offload.value_or(offload);
      if (share == 0 || why_not_offloaded(target, model, set).empty()) choice.parts.push_back({set, share});
      if (held.activation_offload) break;
    }
  }
  for (const double offload : kOptimizerOffloads) {
    if (offload > 0 && target == Target::kTorchtitan) break;
    choice.optimizer_offloads.push_back(held.optimizer_offload.value_or(offload));
    if (held.optimizer_offload) break;
  }
  return choice;
}

}  // namespace opweave::strategy
