/// The best strategies that are known, of equal degrees and microbatch only the fastest.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "opweave/strategy_search.h"

namespace opweave::strategy {

/// Of equal times the mesh that comes first in the order of the search wins, so the ranking does not depend on the
/// order in which strategies are offered.
class Ranking {
 public:
  /// False if one of the same degrees is at least as good.
  bool offer(const RankedStrategy& ranked);
  [[nodiscard]] bool empty() const { return best_.empty(); }
  /// Time of the last of the first `most`, nothing as long as there are fewer.
  [[nodiscard]] std::optional<Duration> last_of(std::size_t most) const;
  /// Time of the best with the degrees and microbatch of `strategy`.
  [[nodiscard]] std::optional<Duration> known(const Strategy& strategy) const;
  /// The first `most`, fastest first; of those alike among them the one that comes first in the order of the search.
  [[nodiscard]] std::vector<RankedStrategy> first(std::size_t most) const;

 private:
  /// Those of a mesh of a component's own are all 0 where there is none.
  using Degrees = std::array<std::uint32_t, 9>;
  static Degrees degrees_of(const Strategy& s) {
    const auto own = [&](std::uint32_t ComponentMesh::*degree) { return s.component ? (*s.component).*degree : 0; };
    return {s.tensor,
            s.context,
            s.pipeline,
            s.expert,
            s.micro_batch,
            own(&ComponentMesh::tensor),
            own(&ComponentMesh::context),
            own(&ComponentMesh::data),
            own(&ComponentMesh::pipeline)};
  }

  std::map<Degrees, RankedStrategy> best_;
};

/// As many as are to be looked for next, so that `wanted` that are not alike are among them; nothing where there are,
/// or where no more are known than were looked for. \param ranked  the first `looked_for` of a ranking
[[nodiscard]] std::optional<std::size_t> more_to_look_for(const std::vector<RankedStrategy>& ranked, std::size_t wanted,
                                                          std::size_t looked_for);

}  // namespace opweave::strategy
