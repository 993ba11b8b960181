/// Changes of where the bundles of a training step lie.
#pragma once

#include <vector>

#include "core/random.h"
#include "placement_search/step_model.h"

namespace opweave {

/// Draws random moves, small ones and large ones (docs/placement-search.md). A *part* is a longest row of consecutive
/// bundles of one replica on one device.
class PlacementMoves {
 public:
  using Home = std::vector<std::size_t>;  ///< device of each bundle

  /// \pre the model has a bundle that may move, and more than one device
  explicit PlacementMoves(const StepModel& model) : model_(model) {}
  /// False if the move came to nothing; the home is then of no use.
  [[nodiscard]] bool change(Home& home, Random& random) const;

 private:
  struct Part {
    std::size_t first = 0;
    std::size_t end = 0;
  };

  [[nodiscard]] std::size_t random_bundle(Random& random) const;
  [[nodiscard]] Part part_of(const Home& home, std::size_t bundle) const;
  bool put(Home& home, std::size_t bundle, std::size_t device) const;
  bool put(Home& home, Part part, std::size_t device) const;
  // Each of these draws one move.
  bool move_boundary(Home& home, Random& random) const;
  bool shift_parts(Home& home, Random& random) const;
  bool swap_bundles(Home& home, Random& random) const;
  bool swap_parts(Home& home, Random& random) const;
  bool move_bundle(Home& home, Random& random) const;
  bool move_run(Home& home, Random& random) const;
  bool swap_devices(Home& home, Random& random) const;

  const StepModel& model_;
};

}  // namespace opweave
