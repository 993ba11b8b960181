// Cutting a row of layers into stages of about equal time.
#include <algorithm>
#include <cstdint>

#include "opweave/pipeline.h"

namespace opweave {
namespace {

/// Ends of as many layers as fit into `limit`, from each stage's start on; greedy from the front needs the
/// fewest stages.
bool fits(std::span<const std::int64_t> before, std::uint32_t stages, std::int64_t limit) {
  std::size_t start = 0;
  for (std::uint32_t stage = 0; stage < stages && start + 1 < before.size(); ++stage) {
    start = static_cast<std::size_t>(std::upper_bound(before.begin(), before.end(), before[start] + limit) -
                                     before.begin()) -
            1;
  }
  return start + 1 == before.size();
}

}  // namespace

std::vector<std::uint32_t> stages_of_equal_time(std::span<const Duration> times, std::uint32_t stages) {
  const std::size_t layers = times.size();
  std::vector<std::int64_t> before(layers + 1, 0);  // time of the layers before each
  std::int64_t low = 0;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    before[layer + 1] = before[layer] + times[layer].value();
    low = std::max(low, times[layer].value());
  }
  const std::int64_t total = before[layers];
  if (total == 0) return even_stages(static_cast<std::uint32_t>(layers), stages);
  std::int64_t high = total;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (fits(before, stages, middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }

  // Stage s may begin no earlier than earliest[s], or what is left would not fit into the stages that are left.
  std::vector<std::size_t> earliest(stages + 1, layers);
  for (std::uint32_t stage = stages; stage-- > 0;) {
    earliest[stage] = static_cast<std::size_t>(
        std::lower_bound(before.begin(), before.end(), before[earliest[stage + 1]] - high) - before.begin());
  }
  std::vector<std::uint32_t> result(layers);
  std::size_t begin = 0;
  for (std::uint32_t stage = 0; stage < stages; ++stage) {
    const std::size_t fill = static_cast<std::size_t>(
        std::upper_bound(before.begin(), before.end(), before[begin] + high) - before.begin() - 1);
    const std::size_t least = std::max(earliest[stage + 1], begin + 1);
    const std::size_t most = std::min(fill, layers - (stages - 1 - stage));
    const auto share = static_cast<double>(total) * static_cast<double>(stage + 1) / static_cast<double>(stages);
    const auto distance = [&](std::size_t end) { return std::abs(static_cast<double>(before[end]) - share); };
    std::size_t end = least;
    while (end < most && distance(end + 1) <= distance(end)) ++end;
    for (std::size_t layer = begin; layer < end; ++layer) result[layer] = stage;
    begin = end;
  }
  return result;
}

Duration total_time(const Layer& layer) {
  Duration sum;
  for (const LayerOperator& op : layer.operators) {
    for (const auto& time : {op.forward, op.input_gradient, op.weight_gradient}) {
      if (time) sum += *time;
    }
  }
  return sum;
}

}  // namespace opweave
