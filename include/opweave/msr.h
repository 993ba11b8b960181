/// Placement instances of Tarnawski et al. (NeurIPS 2020, arXiv 2006.16423), valued by their own objective.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "opweave/budget.h"
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

/// How what a device holds must hang together. Every ordered placement is convex.
enum class Contiguity : std::uint8_t {
  kNone,     ///< not at all
  kConvex,   ///< no path of forward edges leaves a device's forward nodes and comes back
  kOrdered,  ///< the devices can be lined up so that every forward edge goes the same way
};
/// "none", "convex", "ordered".
[[nodiscard]] std::string_view to_string(Contiguity contiguity);

/// Pairs (a, b) of node indices: where devices are lined up, the device of a is that of b or comes before it. They
/// follow forward edges; where a color class has no forward node, backward edges in reverse, as in the programs
/// published with the suite.
[[nodiscard]] std::vector<std::pair<std::uint32_t, std::uint32_t>> msr_precedence(const MsrInstance& instance);
/// The most that a placement fulfils. O(edges x accelerators / 64).
[[nodiscard]] Contiguity msr_contiguity(const MsrInstance& instance, const MsrPlacement& placement);

/// What place_msr makes small.
enum class MsrObjective : std::uint8_t {
  kThroughput,  ///< msr_max_load
  kLatency,     ///< msr_latency
};
/// "throughput", "latency".
[[nodiscard]] std::string_view to_string(MsrObjective objective);

struct MsrOptions {
  MsrObjective objective = MsrObjective::kThroughput;
  Contiguity contiguity = Contiguity::kNone;  ///< for throughput; subgraphs of the latency objective are always convex
  std::uint64_t seed = 1;
};

/// A placement with what is proven about it.
struct MsrAnswer {
  MsrPlacement placement;  ///< empty if none was found
  double value = 0;        ///< of the placement under the suite's own objective, ms
  double bound = 0;        ///< no placement of this contiguity is below, ms
  std::string bound_name;  ///< what proves the bound (docs/partition.md)
  std::string method;      ///< what found the placement
  bool proven = false;     ///< the value is the least possible; without a placement: none exists
  std::uint64_t work = 0;  ///< sets, moves and placements that were looked at

  /// (value - bound) / value; 0 without a placement.
  [[nodiscard]] double gap() const { return value > 0 ? (value - bound) / value : 0; }
};

/// Places the nodes for the least throughput value or latency, within the budget (its work limit holds for each phase:
/// dynamic program, search, bound). The same instance, options and work limit give the same placement.
[[nodiscard]] MsrAnswer place_msr(const MsrInstance& instance, const Budget& budget, const MsrOptions& options = {});

/// The placement by node ids and device names, with value, bound and options: docs/formats.md.
[[nodiscard]] std::string msr_answer_to_json(const MsrInstance& instance, const MsrAnswer& answer,
                                             const MsrOptions& options);

/// The instance as a graph and a cluster in our terms (accelerators and CPUs as devices, transfers
/// through the given output times), to be planned for makespan.
[[nodiscard]] ImportedProblem to_problem(const MsrInstance& instance, const std::string& name);

}  // namespace opweave
