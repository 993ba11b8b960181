#include "strategy/profiled_stage.h"

#include <algorithm>
#include <set>

#include "core/infinity.h"
#include "strategy/choice_knapsack.h"
#include "strategy/profiled_operators.h"

namespace opweave::strategy {
namespace {

/// Nodes of branch and bound per knapsack: equal layers make ties that more would not resolve.
constexpr std::size_t kNodes = 60;

/// Consecutive operators of one layer.
struct LayerSpan {
  std::size_t begin;  ///< operators of the model
  std::size_t end;
};

}  // namespace

const std::vector<ProfiledStages::Again>& ProfiledStages::choices(const ProfileKey& key, std::size_t first,
                                                                  std::size_t last) {
  auto& kept = choices_[{key, first, last}];
  if (!kept.empty()) return kept;
  const std::vector<OperatorProfile>& table = profiles_.tables.at(key);
  std::vector<Again> all;
  const std::size_t count = last - first;
  const bool ends_layer = last == profiles_.head + profiles_.layer;
  for (std::uint32_t mask = 0; mask < 1U << count; ++mask) {
    Again again{mask, 0, 0, 0};
    double run_mb = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const OperatorProfile& op = table[first + i];
      const bool is_made_again = ((mask >> i) & 1U) != 0;
      if (is_made_again) again.ms += op.forward_ms;
      const bool goes_on = is_made_again && ((mask >> (i + 1)) & 1U) != 0;
      if (goes_on) again.saved_mb += kept_mb(op);
      // Whether the next layer is made again from its start is not known here.
      run_mb = goes_on || (is_made_again && ends_layer && i + 1 == count) ? run_mb + kept_mb(op) : 0;
      again.peak_mb = std::max(again.peak_mb, run_mb);
    }
    all.push_back(again);
  }
  std::ranges::stable_sort(all, {}, &Again::ms);
  for (const Again& again : all) {
    const auto is_no_worse = [&](const Again& other) {
      return other.saved_mb >= again.saved_mb && other.peak_mb <= again.peak_mb;
    };
    if (std::ranges::none_of(kept, is_no_worse)) kept.push_back(again);
  }
  return kept;
}

ProfiledStage ProfiledStages::with_degrees(std::size_t begin, std::size_t end, const ProfileKey& key,
                                           std::uint32_t data, std::size_t behind) {
  const std::vector<OperatorProfile>& table = profiles_.tables.at(key);
  ProfiledStage stage{begin, end, key.tensor, data, std::vector<bool>(end - begin), kInfinity, 0};
  const bool has_nodes = task_.devices > task_.devices_per_node;
  const OperatorProfile& first = table[profiles_.row(begin)];
  const auto flights = static_cast<double>(behind + 1);
  double ms = transfer_ms(profiles_, first.input_mb, has_nodes) +
              transfer_ms(profiles_, table[profiles_.row(end - 1)].output_mb, has_nodes);
  double weights = 0;
  double kept = first.input_mb;
  double reserved_forward = 0;
  double reserved_backward = 0;
  std::vector<LayerSpan> runs;
  std::vector<const std::vector<Again>*> lists;
  for (std::size_t i = begin; i < end; ++i) {
    const std::size_t row = profiles_.row(i);
    const OperatorProfile& op = table[row];
    ms += op.forward_ms + op.backward_ms;
    weights += op.weights_mb;
    kept += kept_mb(op);
    if (i + 1 < end) {
      reserved_forward = std::max(reserved_forward, op.forward_reserved_mb);
      reserved_backward = std::max(reserved_backward, op.backward_reserved_mb);
    }
    if (row < profiles_.head || row >= profiles_.head + profiles_.layer) continue;
    if (runs.empty() || row == profiles_.head) runs.push_back({i, i});
    runs.back().end = i + 1;
  }
  std::set<double> peaks;
  for (const LayerSpan& run : runs) {
    const std::size_t row = profiles_.row(run.begin);
    lists.push_back(&choices(key, row, row + run.end - run.begin));
    for (const Again& again : *lists.back()) peaks.insert(again.peak_mb);
  }
  if (peaks.empty()) peaks.insert(0);
  const double left = task_.memory_mb - kStatesPerWeight * weights - kept * flights -
                      std::max(reserved_forward + reserved_backward, weights);
  for (const double peak : peaks) {
    std::vector<Choices> items;
    for (const auto* list : lists) {
      Choices& item = items.emplace_back();
      for (const Again& again : *list) {
        // Beyond the peak nothing fits.
        item.push_back({again.ms, again.peak_mb <= peak ? -again.saved_mb * flights : kInfinity});
      }
    }
    const Selection selection = select_choices(items, left - peak, kNodes);
    if (ms + selection.time >= stage.ms || (selection.chosen.size() != items.size())) continue;
    stage.ms = ms + selection.time;
    for (std::size_t u = 0; u < runs.size(); ++u) {
      const std::uint32_t mask = (*lists[u])[selection.chosen[u]].mask;
      for (std::size_t i = runs[u].begin; i < runs[u].end; ++i) {
        stage.made_again[i - begin] = ((mask >> (i - runs[u].begin)) & 1U) != 0;
      }
    }
  }
  return stage;
}

const ProfiledStage& ProfiledStages::fastest(std::size_t begin, std::size_t end, std::uint32_t devices,
                                             std::size_t behind) {
  const auto [place, is_new] = stages_.try_emplace({begin, end, devices, behind});
  ProfiledStage& best = place->second;
  if (!is_new) return best;
  best.ms = kInfinity;
  for (const auto& [key, table] : profiles_.tables) {
    if (key.algorithm != 0 || devices % key.tensor != 0) continue;
    const std::uint32_t data = devices / key.tensor;
    if (key.sequences * data != sequences_) continue;
    ProfiledStage stage = with_degrees(begin, end, key, data, behind);
    if (stage.ms < best.ms) best = std::move(stage);
  }
  return best;
}

}  // namespace opweave::strategy
