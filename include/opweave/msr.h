/// Placement instances of Tarnawski et al. (NeurIPS 2020, arXiv 2006.16423), valued by their own objective.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/io.h"

namespace opweave {

/// One instance in the terms of its file. Times are milliseconds as double, as published: the values
/// of this suite are sums that are compared with published decimals, not schedules of ours.
struct MsrInstance {
  struct Node {
    std::int64_t id = 0;
    bool accelerator_supported = true;
    bool is_backward = false;
    double accelerator_ms = 0;
    double cpu_ms = 0;
    double size_bytes = 0;
    std::optional<std::int64_t> color_class;
    std::string name;
    double output_ms = 0;  ///< time to move its output between an accelerator and CPU memory
  };
  std::vector<Node> nodes;
  std::vector<std::vector<std::uint32_t>> successors;  ///< by node index, ascending, without repeats
  std::uint32_t accelerators = 0;
  std::uint32_t cpus = 0;
  double accelerator_memory_bytes = 0;
};

/// \throws InputError with file, pointer and value.
[[nodiscard]] MsrInstance parse_msr(std::string_view json, const std::string& source);

/// Device of each node: 0 .. accelerators - 1, then CPUs.
using MsrPlacement = std::vector<std::uint32_t>;

/// Why a placement is infeasible (unsupported node, memory, colour class, device out of range); empty if feasible.
[[nodiscard]] std::string msr_infeasibility(const MsrInstance& instance, const MsrPlacement& placement);
/// Largest load of a device in ms per sample: the suite's throughput objective.
[[nodiscard]] double msr_max_load(const MsrInstance& instance, const MsrPlacement& placement);
/// Latest finish in ms: the suite's latency objective (one subgraph per accelerator). Nothing if the
/// subgraphs are not convex or depend on each other in a circle.
[[nodiscard]] std::optional<double> msr_latency(const MsrInstance& instance, const MsrPlacement& placement);

/// The instance as a graph and a cluster in our terms (accelerators and CPUs as devices, transfers
/// through the given output times), to be planned for makespan.
[[nodiscard]] ImportedProblem to_problem(const MsrInstance& instance, const std::string& name);

}  // namespace opweave
