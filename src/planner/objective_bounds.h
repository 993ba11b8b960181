/// Lower bounds on objectives other than the makespan, each in its own unit. Proofs: docs/objectives.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "opweave/budget.h"
#include "opweave/problem.h"

namespace opweave {

/// A value that no valid plan goes below, and why. 0 and an empty text = nothing is known.
struct ObjectiveBound {
  std::int64_t value = 0;
  std::string proof;

  /// Takes the other if it is larger.
  void raise(std::int64_t other, std::string why) {
    if (other <= value) return;
    value = other;
    proof = std::move(why);
  }
};

/// It is proven that no valid plan of the problem ends by the deadline (or that there is none at all).
[[nodiscard]] bool is_proven_impossible(const Problem& problem, std::optional<Duration> deadline, const Budget& budget);

/// ns: the work of a stream shared by all devices that have it, and the work of a group on one device.
[[nodiscard]] ObjectiveBound period_bound(const Problem& problem);

/// bytes: the largest memory at which a plan that ends by the deadline is proven impossible, plus one. Bisection
/// between nothing and `known`, the peak of a valid plan.
[[nodiscard]] ObjectiveBound peak_memory_bound(const Problem& problem, std::optional<Duration> deadline, Bytes known,
                                               const Budget& budget);

/// devices: those that some task cannot do without, the work of a stream in the time of the deadline, parameters in the
/// largest memories and, where all devices are alike, the number of them at which a plan is proven impossible, plus
/// one.
[[nodiscard]] ObjectiveBound devices_bound(const Problem& problem, std::optional<Duration> deadline, std::int64_t known,
                                           const Budget& budget);

/// idle-ppb: what the compute streams of all devices cannot fill of a makespan of at least `makespan_bound`.
[[nodiscard]] ObjectiveBound utilisation_bound(const Problem& problem, Duration makespan_bound);

}  // namespace opweave
