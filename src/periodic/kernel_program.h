/// The kernel of a given period as a constraint program.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "exact/engine.h"
#include "opweave/budget.h"
#include "periodic/kernel.h"

namespace opweave::periodic {

struct KernelProgramOptions {
  std::shared_ptr<const exact::CpEngine> engine = exact::cp_sat_engine();
  /// Repetitions in flight at a time, at most.
  std::uint32_t laps = 16;
  std::uint64_t seed = 1;
  /// As in exact::EngineLimits; with it the answer is the same on every run.
  std::optional<double> work = {};
  /// Asked now and then; true ends the search.
  std::function<bool()> should_stop = {};
};

struct KernelAnswer {
  enum class Status : std::uint8_t {
    kFound,
    kImpossible,   ///< there is no kernel of this period with so few laps
    kUnknown,      ///< the budget ended first
    kTooLarge,     ///< nothing was built
    kUnavailable,  ///< no solver, or it failed
  };
  Status status = Status::kUnknown;
  std::optional<Kernel> kernel;  ///< valid
};

/// Intervals of the program: two per node and resource, one per value and lap.
[[nodiscard]] std::size_t kernel_program_size(const LoopBody& body, std::uint32_t laps);

/// Decides whether the body has a kernel of this period (docs/periodic.md).
/// \param hint  a kernel, of any period and perhaps too much memory, whose times are suggested; may be null
[[nodiscard]] KernelAnswer solve_kernel(const std::shared_ptr<const LoopBody>& body, Time period, const Kernel* hint,
                                        const Budget& budget, const KernelProgramOptions& options = {});

}  // namespace opweave::periodic
