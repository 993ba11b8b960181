/// The placement program without contiguity as a constraint program, solved by CP-SAT.
#pragma once

#include <cstdint>
#include <functional>

#include "opweave/budget.h"
#include "partition/cut_model.h"

namespace opweave::partition {

struct CutProgramOptions {
  double bound = 0;  ///< no assignment has a smaller largest load
  std::uint64_t seed = 1;
  /// Called with every assignment better than the start and those before.
  std::function<void(const Assignment&)> on_improvement;
};

/// Looks for assignments better than `start` until it is proven that there is none, or the budget ends (its work
/// limit holds for each improvement; a million moves count as a deterministic second of CP-SAT). Values that differ by
/// less than vertices and nets in trillionths are the same (docs/partition.md). \return a value that the largest load
/// of no assignment is below, as good as the solver's word: at least `bound`, at
///   most the least known load. `bound` itself without the solver's library or for more than some thousand vertices.
/// \pre `start` obeys the model.
[[nodiscard]] double solve_cut_program(const CutModel& model, const Assignment& start, const Budget& budget,
                                       const CutProgramOptions& options);

}  // namespace opweave::partition
