/// What Megatron-Bridge's base recipes set, for what a recipe leaves to its base.
#pragma once

#include <cstdint>
#include <string_view>

namespace opweave::io {

/// Version 0.6.2. 0 = not set there. `layers` are the decoder layers of the model.
struct RecipeBase {
  std::string_view name;
  std::uint32_t layers = 0;
  std::uint32_t tensor = 0;
  std::uint32_t pipeline = 0;
  std::uint32_t chunks = 0;
  std::uint32_t context = 0;
  std::uint32_t expert = 0;
  std::uint32_t expert_tensor = 0;
  bool has_sequence_parallelism = false;
  std::int64_t sequence = 0;
  std::int64_t global_batch = 0;
  std::uint32_t micro_batch = 1;
  bool overlaps_data = true;
  bool shares_optimizer = true;             ///< the distributed optimizer
  std::string_view recompute_modules = {};  ///< of a selective one, joined by ","; "full" = whole layers
  std::string_view layout = {};
  bool has_bf16_moments = false;  ///< a precision-aware optimizer with moments in bf16
};

/// Nothing where the base is not known.
[[nodiscard]] const RecipeBase* recipe_base(std::string_view name);

}  // namespace opweave::io
