/// Lower bounds on the largest load, for placements without contiguity and so for all.
#pragma once

#include <cstdint>
#include <string>

#include "opweave/budget.h"
#include "partition/cut_model.h"

namespace opweave::partition {

/// A value that the largest load of no assignment is below, and what proves it.
struct LoadBound {
  double value = 0;
  std::string name;  ///< "work", "unit", "cover"
};

/// The work of all vertices spread over all devices at their best, and the least load of a device that holds a vertex,
/// whichever is larger: for a vertex, the least work and cut of a set around it is a minimum cut. Polynomial.
[[nodiscard]] LoadBound simple_bound(const CutModel& model);

struct CoverOptions {
  double upper = std::numeric_limits<double>::infinity();  ///< value of a known assignment
  std::vector<Assignment> samples;                         ///< good assignments: their sets begin the program
};

/// Raises the simple bound by proofs that no convex combination of sets, each within T, covers all vertices with the
/// devices there are (the relaxation of the set partitioning program, Gilmore and Gomory 1961), for the largest T
/// found by bisection (docs/partition.md). Needs the HiGHS engine; without it, and for more than
/// a thousand vertices, the simple bound stays.
[[nodiscard]] LoadBound cover_bound(const CutModel& model, const CoverOptions& options, const Budget& budget);

}  // namespace opweave::partition
