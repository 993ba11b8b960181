#include "strategy/ranking.h"

#include <algorithm>

namespace opweave::strategy {
namespace {

bool is_before(const RankedStrategy& a, const RankedStrategy& b) {
  return std::pair(a.value.time.step, a.mesh) < std::pair(b.value.time.step, b.mesh);
}

}  // namespace

bool Ranking::offer(const RankedStrategy& ranked) {
  const auto [place, is_new] = best_.try_emplace(degrees_of(ranked.strategy), ranked);
  if (is_new) return true;
  if (!is_before(ranked, place->second)) return false;
  place->second = ranked;
  return true;
}

std::optional<Duration> Ranking::last_of(std::size_t most) const {
  if (best_.size() < most || most == 0) return std::nullopt;
  std::vector<Duration> steps;
  for (const auto& [degrees, ranked] : best_) steps.push_back(ranked.value.time.step);
  std::ranges::nth_element(steps, steps.begin() + static_cast<std::ptrdiff_t>(most) - 1);
  return steps[most - 1];
}

std::optional<Duration> Ranking::known(const Strategy& strategy) const {
  const auto found = best_.find(degrees_of(strategy));
  return found == best_.end() ? std::nullopt : std::optional(found->second.value.time.step);
}

std::vector<RankedStrategy> Ranking::first(std::size_t most) const {
  std::vector<RankedStrategy> ranked;
  for (const auto& [degrees, one] : best_) ranked.push_back(one);
  std::ranges::sort(ranked, is_before);
  if (ranked.size() > most) ranked.resize(most);
  return ranked;
}

}  // namespace opweave::strategy
