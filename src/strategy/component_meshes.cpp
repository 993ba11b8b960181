#include "strategy/component_meshes.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "opweave/error.h"
#include "strategy/search_limits.h"

namespace opweave::strategy {
namespace {

std::int64_t layers_of(const ModelDescription& model, std::size_t component) {
  std::int64_t layers = 0;
  for (const LayerRun& run : model.layers) {
    if (run.component == component) layers += run.count;
  }
  return layers;
}

/// Ways to split the tokens of a sequence.
std::vector<std::uint32_t> contexts(std::int64_t tokens, std::uint64_t devices) {
  std::vector<std::uint32_t> result;
  for (const std::uint32_t parts :
       divisors(static_cast<std::uint64_t>(tokens), std::min<std::uint64_t>(devices, kMostContext))) {
    if (parts == 1 || tokens / parts >= kLeastTokensOfContext) result.push_back(parts);
  }
  return result;
}

class ComponentMeshes {
 public:
  ComponentMeshes(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                  const HeldDecisions& held, const ModelComponent& component)
      : machines_(machines), run_(run), held_(held), component_(component) {
    if (held.component) held_component_ = *held.component;
    const auto index = static_cast<std::size_t>(&component - model.components.data());
    layers_ = layers_of(model, index);
    other_layers_ = model.layer_count() - layers_;
    tokens_ = component.tokens.value_or(run.sequence);
  }

  std::vector<Strategy> all() {
    const std::uint64_t devices = machines_.devices();
    // Tensor axes within a node, wherever the node begins.
    const std::uint64_t one_node = machines_.devices_per_node;
    const std::vector<std::uint32_t> tensors = divisors(one_node, one_node);
    for (const std::uint32_t data :
         held_or(held_.data, divisors(static_cast<std::uint64_t>(run_.global_batch), devices))) {
      for (const std::uint32_t tensor : held_or(held_.tensor, tensors)) {
        for (const std::uint32_t context : held_or(held_.context, contexts(run_.sequence, devices))) {
          Strategy strategy;
          strategy.tensor = tensor;
          strategy.has_sequence_parallelism = tensor > 1;
          strategy.context = context;
          strategy.data = data;
          const std::uint64_t ranks = std::uint64_t{tensor} * context * data;
          for (std::uint64_t pipeline = held_.pipeline.value_or(1); pipeline * ranks < devices; ++pipeline) {
            if (pipeline > static_cast<std::uint64_t>(other_layers_)) break;
            strategy.pipeline = static_cast<std::uint32_t>(pipeline);
            before(strategy, ranks, devices - pipeline * ranks, tensors);
            if (held_.pipeline) break;
          }
        }
      }
    }
    return std::move(found_);
  }

 private:
  /// Meshes of the component on `devices`, where a stage of the others has `ranks`.
  void before(Strategy strategy, std::uint64_t ranks, std::uint64_t devices,
              const std::vector<std::uint32_t>& tensors) {
    if (2 * devices > machines_.devices()) return;
    for (const std::uint32_t tensor : held_or(held_component_.tensor, tensors)) {
      for (const std::uint32_t context : held_or(held_component_.context, contexts(tokens_, devices))) {
        const std::uint64_t split = std::uint64_t{tensor} * context;
        // As many data ranks as the others, or as many ranks in a stage.
        std::vector<std::uint32_t> copies = {strategy.data};
        if (ranks % split == 0 && ranks / split != strategy.data) {
          copies.push_back(static_cast<std::uint32_t>(ranks / split));
        }
        for (const std::uint32_t data : held_or(held_component_.data, copies)) {
          const std::uint64_t stages = devices / (split * data);
          if (devices % (split * data) != 0 || stages > static_cast<std::uint64_t>(layers_)) continue;
          if (held_component_.pipeline && *held_component_.pipeline != stages) continue;
          const bool splits_tokens = tensor > 1 && tokens_ % static_cast<std::int64_t>(split) == 0;
          strategy.component =
              ComponentMesh{component_.name, tensor, splits_tokens, context, data, static_cast<std::uint32_t>(stages)};
          found_.push_back(strategy);
        }
      }
    }
  }

  const Machines& machines_;
  const TrainingRun& run_;
  const HeldDecisions& held_;
  const ModelComponent& component_;
  HeldComponent held_component_;
  std::int64_t layers_ = 0;        ///< of the component
  std::int64_t other_layers_ = 0;  ///< of all others
  std::int64_t tokens_ = 0;        ///< of the component, per sequence
  std::vector<Strategy> found_;
};

}  // namespace

const ModelComponent* first_component(const ModelDescription& model) {
  const std::optional<std::size_t> first = model.layers.front().component;
  if (!first) return nullptr;
  const auto is_other = [&](const LayerRun& run) { return run.component != first; };
  const auto end = std::ranges::find_if(model.layers, is_other);
  const bool is_together = std::all_of(end, model.layers.end(), is_other);
  return is_together ? &model.components[*first] : nullptr;
}

void expect_component(const ModelDescription& model, const HeldComponent& held) {
  const ModelComponent* first = first_component(model);
  if (first != nullptr && first->name == held.name) return;
  throw InputError(
      first == nullptr
          ? fmt::format("component \"{}\" has no mesh of its own: no component has the first layers of the model",
                        held.name)
          : fmt::format("component \"{}\" has no mesh of its own, expected \"{}\", whose layers are the first",
                        held.name, first->name));
}

std::vector<Strategy> component_meshes(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                                       const HeldDecisions& held) {
  const ModelComponent* component = first_component(model);
  if (component == nullptr) return {};
  return ComponentMeshes(model, machines, run, held, *component).all();
}

}  // namespace opweave::strategy
