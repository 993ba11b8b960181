/// A model with a component that feeds it, for tests of meshes of its own.
#pragma once

#include <cstdint>

#include "opweave/model.h"

namespace opweave {

/// A tower of `before` layers that see 1024 tokens, and `behind` layers behind it.
inline ModelDescription model_with_tower(std::int64_t before, std::int64_t behind, bool attends) {
  ModelDescription model;
  model.hidden = 2048;
  model.vocabulary = 8192;
  model.components = {{.name = "tower", .hidden = 1024, .tokens = 1024, .other_parameters = 3'000'000}};
  LayerRun tower;
  tower.count = before;
  tower.component = 0;
  tower.attention = {8, 8, 128, {}, {}, false};
  tower.mlp = {4096, false};
  LayerRun layers;
  layers.count = behind;
  layers.attention = {16, 8, 128, {}, {}, true};
  layers.mlp = {8192, true};
  if (attends) layers.cross = CrossAttention{{16, 16, 128, {}, {}, false}, 0};
  model.layers = {tower, layers};
  return model;
}

}  // namespace opweave
