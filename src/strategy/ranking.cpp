#include "strategy/ranking.h"

#include <algorithm>
#include <tuple>

namespace opweave::strategy {
namespace {

bool is_before(const RankedStrategy& a, const RankedStrategy& b) {
  return std::pair(a.value.time.step, a.mesh) < std::pair(b.value.time.step, b.mesh);
}

/// What people see of a strategy's value. Those in which it is equal are alike, as long as degrees trade ranks for
/// nothing.
auto figures_of(const RankedStrategy& ranked) {
  const StepTime& t = ranked.value.time;
  return std::tuple(t.step, ranked.value.memory.total(), t.bubble, t.tensor + t.expert + t.data + t.hops + t.offload,
                    t.recompute);
}

}  // namespace

bool Ranking::offer(const RankedStrategy& ranked) {
  const auto [place, is_new] = best_.try_emplace(degrees_of(ranked.strategy), ranked);
  if (is_new) return true;
  if (!is_before(ranked, place->second)) return false;
  place->second = ranked;
  return true;
}

// Those alike count each: what is alike may change as long as the search goes on, and a limit must never rise again.
// Where too many are alike, the search goes on for more with a limit of its own (more_to_look_for).
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
  std::vector<RankedStrategy> all;
  for (const auto& [degrees, one] : best_) all.push_back(one);
  std::ranges::sort(all, is_before);
  if (all.size() > most) all.resize(most);
  std::vector<RankedStrategy> ranked;
  for (const RankedStrategy& one : all) {
    const auto alike = std::ranges::find(ranked, figures_of(one), figures_of);
    if (alike != ranked.end()) {
      ++alike->alike;
    } else {
      ranked.push_back(one);
    }
  }
  return ranked;
}

std::optional<std::size_t> more_to_look_for(const std::vector<RankedStrategy>& ranked, std::size_t wanted,
                                            std::size_t looked_for) {
  std::size_t found = ranked.size();
  for (const RankedStrategy& one : ranked) found += one.alike;
  if (ranked.size() >= wanted || found < looked_for) return std::nullopt;
  return 2 * looked_for;
}

}  // namespace opweave::strategy
