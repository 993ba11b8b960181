#include "strategy/ranking.h"

#include <algorithm>
#include <iterator>
#include <set>
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

std::optional<Duration> Ranking::last_of(std::size_t most) const {
  if (best_.size() < most || most == 0) return std::nullopt;
  std::set<decltype(figures_of(best_.begin()->second))> figures;
  for (const auto& [degrees, ranked] : best_) {
    figures.insert(figures_of(ranked));
    if (figures.size() > most) figures.erase(std::prev(figures.end()));
  }
  if (figures.size() < most) return std::nullopt;
  return std::get<0>(*figures.rbegin());
}

std::optional<Duration> Ranking::known(const Strategy& strategy) const {
  const auto found = best_.find(degrees_of(strategy));
  return found == best_.end() ? std::nullopt : std::optional(found->second.value.time.step);
}

std::vector<RankedStrategy> Ranking::first(std::size_t most) const {
  std::vector<RankedStrategy> all;
  for (const auto& [degrees, one] : best_) all.push_back(one);
  std::ranges::sort(all, is_before);
  std::vector<RankedStrategy> ranked;
  for (const RankedStrategy& one : all) {
    const auto alike = std::ranges::find(ranked, figures_of(one), figures_of);
    if (alike != ranked.end()) {
      ++alike->alike;
    } else if (ranked.size() < most) {
      ranked.push_back(one);
    }
  }
  return ranked;
}

}  // namespace opweave::strategy
