/// A plan as it is written to a file: a schedule with everything needed to judge and to run it.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/objective.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// A value that no valid plan can go below, and the argument that proves it.
struct LowerBound {
  std::string name;  ///< as in docs/bounds.md: "critical-path", "load", "memory-ramp", ...
  Duration value;
  std::string detail;  ///< where it binds, e.g. the device; may be empty
};

/// One operator instance in a plan. `copy` as in Task.
struct PlannedTask {
  OperatorId op;
  std::uint32_t copy = 0;
  std::vector<DeviceId> devices;  ///< ascending
  Duration start;
  Duration end;
};

/// One transfer in a plan. `copy` is the microbatch of the tensor (or the replica that made it).
struct PlannedTransfer {
  TensorId tensor;
  std::uint32_t copy = 0;
  DeviceId source;
  DeviceId destination;
  Duration start;
  Duration end;
  bool again = false;  ///< of the value as it came back after it had been dropped or copied to a host
};

/// The memory mode of a value, where it is not kKeep. `copy` as in PlannedTransfer.
struct PlannedMode {
  TensorId tensor;
  std::uint32_t copy = 0;
  MemoryMode mode = MemoryMode::kKeep;
};

/// What brings a value back, or sums gradients.
struct PlannedMovement {
  MovementKind kind = MovementKind::kRecompute;
  OperatorId op;    ///< what runs again; of copies: what made the value
  TensorId tensor;  ///< of copies: what is copied
  std::uint32_t copy = 0;
  std::vector<DeviceId> devices;  ///< ascending
  Duration start;
  Duration end;
  ParameterId parameter = {};  ///< of kAllReduce: whose gradients; it has no operator, tensor and copy
};

/// How far the plan is known to be from the best.
enum class PlanStatus : std::uint8_t {
  kOptimal,   ///< makespan equals the lower bound; with objectives, each of them equals its bound
  kFeasible,  ///< a limit was reached first
};
[[nodiscard]] std::string_view to_string(PlanStatus status);

/// Figures per device that follow from the plan; recomputed by `simulate`, never trusted by `check`.
struct DeviceStatistics {
  Duration compute_busy;    ///< time in which the compute stream runs an operator
  Duration bubble;          ///< makespan - compute_busy
  Duration span_idle;       ///< idle of the compute stream between its own first start and last end
  Bytes peak_memory;        ///< persistent + live tensors + workspaces, at its highest
  Bytes persistent_memory;  ///< parameters that live here
  Bytes bytes_sent;
  Bytes bytes_received;
  Bytes host_peak = {};  ///< values on its host, at their highest
};

/// Figures of the whole plan.
struct PlanStatistics {
  Duration makespan;
  Duration period;          ///< largest load of a stream (or link) over one iteration / microbatches
  double bubble_ratio = 0;  ///< sum of bubbles / (devices x makespan); 0 for an empty plan
  double utilisation = 0;   ///< 1 - bubble_ratio
  Bytes bytes_moved;
  std::uint32_t parameter_copies = 0;  ///< largest number of devices that hold one parameter
  Duration recomputed = {};            ///< sum of the durations of everything that runs again
  Bytes bytes_copied_out = {};         ///< to hosts, over all devices
  std::vector<DeviceStatistics> devices;
};

/// An improvement seen while planning.
struct Improvement {
  double seconds = 0;  ///< since planning began
  Duration makespan;
  std::string method;
};

// Methods of plans that others made: a schedule of PyTorch's format, a solver's answer to a model file.
inline constexpr std::string_view kReadSchedule = "csv";
inline constexpr std::string_view kReadSolution = "solution of ";

/// Where a plan comes from. Identical runs give identical bytes, so wall-clock values are only
/// written when the run was limited by time (`trajectory` and `seconds` are empty otherwise).
struct Provenance {
  std::string version;
  std::string method;  ///< what found the plan
  std::uint64_t seed = 0;
  std::string limit;       ///< "work 1000", "time 60 s", or "none"
  std::string graph_hash;  ///< 16 hex digits of the graph's canonical content
  std::string cluster_hash;
  std::string command;  ///< the command line, without what the plan does not depend on; empty for library calls
  std::optional<double> seconds;
  std::vector<Improvement> trajectory;
};

/// The product.
struct Plan {
  std::string graph_name;
  std::string cluster_name;
  ProblemSettings settings;
  PlanStatus status = PlanStatus::kFeasible;
  std::vector<PlannedTask> tasks;               ///< by start, then operator, then copy
  std::vector<PlannedTransfer> transfers;       ///< by start, then tensor, copy, destination
  std::vector<PlannedMode> modes = {};          ///< of the values that do not stay; by tensor, then copy
  std::vector<PlannedMovement> movements = {};  ///< by start, then kind, operator, tensor, copy
  PlanStatistics statistics;
  std::vector<LowerBound> bounds;           ///< largest first
  std::vector<ObjectiveFigure> objectives;  ///< in order of importance; empty = the makespan alone, without deadline
  std::optional<Duration> deadline;         ///< the plan ends by then
  Provenance provenance;

  /// Largest of `bounds`; 0 without any.
  [[nodiscard]] Duration lower_bound() const;
  /// (makespan - lower bound) / makespan; 0 for an empty plan.
  [[nodiscard]] double gap() const;
};

/// Turns a schedule into a plan: names, order, statistics (by simulation of the given times).
/// \param listed  the tasks of so many operators, the first, are listed; the figures are of all
[[nodiscard]] Plan make_plan(const Problem& problem, const Schedule& schedule, std::vector<LowerBound> bounds,
                             Provenance provenance, std::size_t listed = std::numeric_limits<std::size_t>::max());

/// The schedule of a plan in the ids of a problem with the same graph, cluster and settings.
/// \throws InputError if a task is missing, repeated, or runs on devices that are no mode of it, or if the plan has
///   memory modes: it has more than a schedule says (with_movements in memory_modes.h).
[[nodiscard]] Schedule to_schedule(const Problem& problem, const Plan& plan);

/// Figures of a schedule taken at face value. O(n log n).
/// \param task_ends  by TaskId, where tasks last longer or shorter than their modes say (a simulation
///   with other durations); empty = start + duration of the mode.
[[nodiscard]] PlanStatistics statistics(const Problem& problem, const Schedule& schedule,
                                        std::span<const Duration> task_ends = {});

/// The parameters that live on each device, ascending. O(n log n).
[[nodiscard]] std::vector<std::vector<ParameterId>> parameters_on_devices(const Problem& problem,
                                                                          const Schedule& schedule);
/// Bytes of the parameters that live on each device, with gradients and optimizer state: once per parameter and device.
[[nodiscard]] std::vector<Bytes> persistent_memory(const Problem& problem, const Schedule& schedule);

/// Memory of each device at its fullest. O(n). \param task_ends  as for statistics().
[[nodiscard]] std::vector<Bytes> peak_memory(const Problem& problem, const Schedule& schedule,
                                             std::span<const Duration> task_ends = {});

/// One step of a memory curve.
struct MemoryStep {
  Duration time;
  Bytes bytes;  ///< from `time` until the next step
};
/// Memory of each device over time, starting at time 0 with the persistent bytes; O(n).
/// \param task_ends  as for statistics().
[[nodiscard]] std::vector<std::vector<MemoryStep>> memory_curves(const Problem& problem, const Schedule& schedule,
                                                                 std::span<const Duration> task_ends = {});

}  // namespace opweave
