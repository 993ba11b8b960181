/// Bounds on the period from relaxations with one load per device.
#pragma once

#include "opweave/problem.h"
#include "partition/cover_bound.h"

namespace opweave::partition {

/// Most that one stream of a device does, as a model for bounds: vertices are groups, a device's load is `share` x the
/// work of a stream on it, plus (1 - share) / 2 x the transfers that it sends and receives at least, under endpoint
/// contention. Each of the three is at most the largest load of an iteration, so a bound on this load is one on that
/// (ns).
[[nodiscard]] CutModel period_relaxation(const Problem& problem, std::size_t stream, double share);

/// The best bound on the largest load of an iteration (ns) that simple_bound and, for problems of few groups,
/// cover_bound give for these relaxations. \param upper  largest load of a known schedule, or infinity; without one
/// only simple bounds are looked at
[[nodiscard]] LoadBound period_load_bound(const Problem& problem, double upper, const Budget& budget);

/// The period that a load (ns) of one iteration forces.
[[nodiscard]] Duration period_of(const Problem& problem, double load);

}  // namespace opweave::partition
