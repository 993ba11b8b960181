// Aceso's cost model, from its definition alone.
#include <algorithm>
#include <cmath>

#include "opweave/operator_profiles.h"
#include "strategy/profiled_operators.h"

namespace opweave {
namespace {

using strategy::keeps_nothing;
using strategy::kept_mb;

/// What a stage keeps less of for each microbatch, and the most that one unit makes again at once.
struct MadeAgain {
  double ms = 0;
  double saved_mb = 0;
  double peak_mb = 0;
};

MadeAgain made_again(const std::vector<const OperatorProfile*>& operators, const std::vector<bool>& flags,
                     const std::vector<bool>& starts_layer) {
  MadeAgain result;
  double unit = 0;
  for (std::size_t i = 0; i < operators.size(); ++i) {
    if (flags[i]) result.ms += operators[i]->forward_ms;
    if (i + 1 == operators.size()) break;
    if (!flags[i] || !flags[i + 1]) {
      unit = 0;
      continue;
    }
    // The input of a layer is always kept, and units end with layers.
    if (!starts_layer[i + 1]) result.saved_mb += kept_mb(*operators[i]);
    if (!keeps_nothing(*operators[i])) unit += kept_mb(*operators[i]);
    result.peak_mb = std::max(result.peak_mb, unit);
    if (starts_layer[i + 1]) unit = 0;
  }
  return result;
}

}  // namespace

double value_profiled(const OperatorProfiles& profiles, const ProfileTask& task, std::uint32_t sequences,
                      std::vector<ProfiledStage>& stages) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  double longest = 0;
  double sum = 0;
  std::uint32_t devices = 0;
  std::size_t begin = 0;
  for (std::size_t number = 0; number < stages.size(); ++number) {
    ProfiledStage& stage = stages[number];
    const auto table = profiles.tables.find({sequences / stage.data, stage.tensor, 0});
    const bool is_next = stage.begin == begin && stage.end > begin && stage.made_again.size() == stage.end - begin;
    if (!is_next || sequences % stage.data != 0 || table == profiles.tables.end()) return kNever;
    std::vector<const OperatorProfile*> operators;
    std::vector<bool> starts_layer;
    for (std::size_t i = stage.begin; i < stage.end; ++i) {
      operators.push_back(&table->second[profiles.row(i)]);
      starts_layer.push_back(profiles.row(i) == profiles.head);
      const bool may_be_made_again = profiles.row(i) >= profiles.head && i + 1 < profiles.operators();
      if (stage.made_again[i - begin] && !may_be_made_again) return kNever;
    }
    const bool comes_from_other_node = devices > 0 && devices % task.devices_per_node == 0;
    devices += stage.tensor * stage.data;
    const bool goes_to_other_node = devices % task.devices_per_node == 0;
    const MadeAgain again = made_again(operators, stage.made_again, starts_layer);
    double weights = 0;
    double kept = operators.front()->input_mb - again.saved_mb;
    double reserved_forward = 0;
    double reserved_backward = 0;
    stage.ms = again.ms + strategy::transfer_ms(profiles, operators.front()->input_mb, comes_from_other_node) +
               strategy::transfer_ms(profiles, operators.back()->output_mb, goes_to_other_node);
    for (std::size_t i = 0; i < operators.size(); ++i) {
      stage.ms += operators[i]->forward_ms + operators[i]->backward_ms;
      weights += operators[i]->weights_mb;
      kept += kept_mb(*operators[i]);
      if (i + 1 == operators.size()) break;
      reserved_forward = std::max(reserved_forward, operators[i]->forward_reserved_mb);
      reserved_backward = std::max(reserved_backward, operators[i]->backward_reserved_mb);
    }
    const auto behind = static_cast<double>(stages.size() - 1 - number);
    stage.memory_mb = strategy::kStatesPerWeight * weights + kept * (behind + 1) + again.peak_mb +
                      std::max(reserved_forward + reserved_backward, weights);
    if (stage.memory_mb > task.memory_mb * (1 + 1e-9)) return kNever;
    longest = std::max(longest, stage.ms);
    sum += stage.ms;
    begin = stage.end;
  }
  if (begin != profiles.operators() || devices > task.devices) return kNever;
  return longest * (std::floor(static_cast<double>(task.batch) / sequences) - 1) + sum;
}

}  // namespace opweave
