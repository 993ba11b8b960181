// Shapes: which device holds which stage.
#include <algorithm>
#include <array>
#include <utility>

#include "opweave/error.h"
#include "opweave/pipeline.h"

namespace opweave {

namespace {
constexpr std::array<std::pair<PipelineShape, std::string_view>, 5> kShapeNames = {{{PipelineShape::kLinear, "linear"},
                                                                                    {PipelineShape::kV, "V"},
                                                                                    {PipelineShape::kLoop, "loop"},
                                                                                    {PipelineShape::kTwoWay, "two-way"},
                                                                                    {PipelineShape::kFree, "free"}}};
}  // namespace

std::string_view to_string(PipelineShape shape) {
  for (const auto& [value, name] : kShapeNames) {
    if (value == shape) return name;
  }
  throw InternalError("pipeline shape without a name");
}

std::optional<PipelineShape> shape_from_string(std::string_view text) {
  for (const auto& [value, name] : kShapeNames) {
    if (name == text) return value;
  }
  return std::nullopt;
}

std::uint32_t device_of_stage(PipelineShape shape, std::uint32_t stage, std::uint32_t replica, std::uint32_t devices) {
  switch (shape) {
    case PipelineShape::kLinear:
      return stage;
    case PipelineShape::kV:
      return std::min(stage, 2 * devices - 1 - stage);
    case PipelineShape::kLoop:
      return stage % devices;
    case PipelineShape::kTwoWay:
      return replica == 0 ? stage : devices - 1 - stage;
    case PipelineShape::kFree:
      break;
  }
  throw InternalError("a free pipeline has no device for a stage");
}

std::vector<std::uint32_t> even_stages(std::uint32_t layers, std::uint32_t stages) {
  std::vector<std::uint32_t> result(layers);
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    // The inverse of "stage s begins at ceil(s * layers / stages)".
    result[layer] = static_cast<std::uint32_t>(std::uint64_t{layer} * stages / layers);
  }
  return result;
}

}  // namespace opweave
