#include "layouts/gangs.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace opweave {

Gangs::Gangs(const LayoutProblem& problem) : sets_(problem.gangs()) {
  for (std::uint32_t i = 0; i < sets_.size(); ++i) number_.emplace(sets_[i], i);
}

std::uint32_t Gangs::united(std::uint32_t a, std::uint32_t b) {
  if (a == b) return a;
  const auto [entry, is_new] = united_.try_emplace((std::uint64_t{a} << 32U) | b, a);
  if (!is_new) return entry->second;
  std::vector<DeviceId> both;
  std::ranges::set_union(sets_[a], sets_[b], std::back_inserter(both));
  const auto [known, is_new_set] = number_.try_emplace(both, static_cast<std::uint32_t>(sets_.size()));
  if (is_new_set) sets_.push_back(std::move(both));
  entry->second = known->second;
  return entry->second;
}

}  // namespace opweave
