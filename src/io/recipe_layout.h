/// Where a recipe puts its layers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "opweave/recipe.h"

namespace opweave::io {

struct LayoutFacts {
  std::string text;  ///< a layout of Megatron, "map default", or a call that makes one
  std::optional<std::int64_t> first;
  std::optional<std::int64_t> last;
  bool counts_embedding = false;  ///< as a layer, where layers are shared out evenly
  bool counts_loss = false;
  std::uint32_t layers = 0;  ///< of the model, 0 = not known
};

/// Sets layers_per_stage; a line of `unstated` for what it cannot say. \pre degrees are set
void apply_layout(Recipe& recipe, const LayoutFacts& facts);

}  // namespace opweave::io
