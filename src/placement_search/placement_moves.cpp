#include "placement_search/placement_moves.h"

#include <algorithm>
#include <utility>

namespace opweave {
namespace {

constexpr std::size_t kStays = StepModel::kStays;
/// Bundles of a row that moves together, at most.
constexpr std::size_t kLongestRun = 6;

}  // namespace

std::size_t PlacementMoves::random_bundle(Random& random) const {
  return model_.movable()[random.below(model_.movable().size())];
}

PlacementMoves::Part PlacementMoves::part_of(const Home& home, std::size_t bundle) const {
  Part part{bundle, bundle + 1};
  while (model_.bundles()[part.first].follows && home[part.first - 1] == home[bundle]) --part.first;
  while (part.end < home.size() && model_.bundles()[part.end].follows && home[part.end] == home[bundle]) ++part.end;
  return part;
}

bool PlacementMoves::put(Home& home, std::size_t bundle, std::size_t device) const {
  if (home[bundle] == kStays || device == kStays || !model_.may_run(bundle, device)) return false;
  home[bundle] = device;
  return true;
}

bool PlacementMoves::put(Home& home, Part part, std::size_t device) const {
  for (std::size_t bundle = part.first; bundle < part.end; ++bundle) {
    if (!put(home, bundle, device)) return false;
  }
  return true;
}

/// The end of a part goes to the part beside it: mostly a bundle, now and then up to half of it.
bool PlacementMoves::move_boundary(Home& home, Random& random) const {
  const Part part = part_of(home, random_bundle(random));
  const bool forward = random.below(2) == 0;
  const bool has_neighbour =
      forward ? part.end < home.size() && model_.bundles()[part.end].follows : model_.bundles()[part.first].follows;
  if (!has_neighbour) return false;
  const std::size_t to = home[forward ? part.end : part.first - 1];
  const std::size_t most = random.below(3) == 0 ? (part.end - part.first + 1) / 2 : 1;
  const std::size_t count = 1 + random.below(most);
  return put(home, forward ? Part{part.end - count, part.end} : Part{part.first, part.first + count}, to);
}

/// All boundaries between parts of one replica that lie between two random bundles move by one bundle.
bool PlacementMoves::shift_parts(Home& home, Random& random) const {
  std::size_t first = random_bundle(random);
  std::size_t last = random_bundle(random);
  if (first > last) std::swap(first, last);
  if (model_.bundles()[first].replica != model_.bundles()[last].replica) return false;
  const bool grows_at_front = random.below(2) == 0;  // the part before each boundary takes a bundle
  const Home before = home;
  bool changed = false;
  for (std::size_t u = first + 1; u <= last; ++u) {
    if (before[u] == before[u - 1] || before[u] == kStays || before[u - 1] == kStays) continue;
    if (!(grows_at_front ? put(home, u, before[u - 1]) : put(home, u - 1, before[u]))) return false;
    changed = true;
  }
  return changed;
}

bool PlacementMoves::swap_bundles(Home& home, Random& random) const {
  const std::size_t a = random_bundle(random);
  const std::size_t b = random_bundle(random);
  const std::size_t to = home[b];
  return home[a] != to && put(home, b, home[a]) && put(home, a, to);
}

bool PlacementMoves::swap_parts(Home& home, Random& random) const {
  const std::size_t a = random_bundle(random);
  const std::size_t b = random_bundle(random);
  if (home[a] == home[b]) return false;
  const Part one = part_of(home, a);
  const Part other = part_of(home, b);
  const std::size_t to = home[b];
  return put(home, other, home[a]) && put(home, one, to);
}

bool PlacementMoves::move_bundle(Home& home, Random& random) const {
  const std::size_t u = random_bundle(random);
  const std::size_t to = random.below(model_.devices());
  return to != home[u] && put(home, u, to);
}

/// Consecutive bundles of a part go to one device, which may be that of another bundle near by.
bool PlacementMoves::move_run(Home& home, Random& random) const {
  const std::size_t u = random_bundle(random);
  const Part part = part_of(home, u);
  const std::size_t to = random.below(2) == 0 ? random.below(model_.devices()) : home[random_bundle(random)];
  if (to == home[u]) return false;
  return put(home, {u, std::min(part.end, u + 1 + random.below(kLongestRun))}, to);
}

bool PlacementMoves::swap_devices(Home& home, Random& random) const {
  const std::size_t a = random.below(model_.devices());
  const std::size_t b = random.below(model_.devices());
  if (a == b) return false;
  bool changed = false;
  for (const std::size_t u : model_.movable()) {
    if (home[u] != a && home[u] != b) continue;
    if (!put(home, u, home[u] == a ? b : a)) return false;
    changed = true;
  }
  return changed;
}

bool PlacementMoves::change(Home& home, Random& random) const {
  const std::uint32_t dice = random.below(100);
  if (dice < 30) return move_boundary(home, random);
  if (dice < 45) return shift_parts(home, random);
  if (dice < 62) return swap_bundles(home, random);
  if (dice < 70) return swap_parts(home, random);
  if (dice < 82) return move_bundle(home, random);
  if (dice < 92 || model_.devices_are_alike()) return move_run(home, random);
  return swap_devices(home, random);
}

}  // namespace opweave
