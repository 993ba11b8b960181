/// The stages of a problem as a pipeline schedule sees them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "opweave/cut.h"
#include "opweave/experts.h"

namespace opweave::detail {

/// A part of the work of one stage for one microbatch.
enum class Work : std::uint8_t {
  kForward,         ///< F, and operators without a phase
  kInputGradient,   ///< I, and B where it is not split
  kWeightGradient,  ///< W
  kBackward,        ///< all of I, B and W
};

/// Operators by stage of a schedule, where consecutive stages of the problem make one of the schedule. A stage may be
/// empty.
class StageLayout {
 public:
  /// Nothing if an operator (other than of the optimizer) has no stage, or none is repeated at all.
  static std::optional<StageLayout> of(const Problem& problem);

  /// Different stages of the problem.
  [[nodiscard]] std::uint32_t problem_stages() const { return problem_stages_; }
  [[nodiscard]] std::uint32_t stages() const { return stages_; }

  /// Adds empty stages at the end until there are so many.
  void add_empty(std::uint32_t stages);
  /// Every stage of the problem is one of the schedule.
  void keep_apart();
  /// Joins consecutive stages of the problem to those of a schedule. \pre the cut has problem_stages() layers.
  void join(const StageCut& cut);

  /// The stages of the problem with the times that their operators take on each type among the devices (the shortest
  /// where they may not run there), and `hop` between any two of them.
  [[nodiscard]] LayerRow row(const std::vector<DeviceId>& devices, Duration hop) const;
  /// Row of row().times for each of the devices.
  [[nodiscard]] std::vector<std::uint32_t> kinds(const std::vector<DeviceId>& devices) const;

  /// Operators of a stage of the schedule for some work, such that what comes first is listed first.
  [[nodiscard]] const std::vector<OperatorId>& operators(std::uint32_t stage, Work work) const {
    return operators_[stage][static_cast<std::size_t>(work)];
  }
  /// Sum of the shortest times of all operators of some work, for one microbatch.
  [[nodiscard]] Duration total_time(Work work) const;

 private:
  explicit StageLayout(const Problem& problem) : problem_(&problem) {}
  void join_by(const std::vector<std::uint32_t>& joined, std::uint32_t stages);
  [[nodiscard]] Duration time(OperatorId op) const;

  const Problem* problem_;
  std::uint32_t problem_stages_ = 0;
  std::uint32_t stages_ = 0;
  std::vector<std::optional<std::uint32_t>> stage_of_operator_;  // of the problem, counted without holes
  std::vector<std::array<std::vector<OperatorId>, 4>> operators_;
};

/// The device on which each row of a schedule runs.
struct RowPlacement {
  std::vector<DeviceId> devices;                           ///< by row, all different
  std::vector<std::optional<std::uint32_t>> row_of_group;  ///< by group; nothing for groups that no action runs
};

/// Finds devices for the rows such that every action is allowed where it runs; row r gets device r where that
/// is possible. Nothing, and `reason` set, where there is no such assignment.
[[nodiscard]] std::optional<RowPlacement> place_rows(const Problem& problem, const StageLayout& layout,
                                                     const PipelineSchedule& schedule, std::string& reason);

/// How the stages of a schedule lie on devices, of which row r uses the one in place r. A schedule that is free in this
/// (or fits no shape) counts as one round over as many devices as it has stages.
[[nodiscard]] StageRounds rounds_of(const Problem& problem, const StageLayout& layout, const PipelineSchedule& schedule,
                                    const std::vector<DeviceId>& devices);

/// The cut that is best under the schedule. Where the operators share one stream the schedule's makespan is known of
/// every cut and comes first; where they overlap on several, loads do.
/// \pre schedule.stages <= layout.problem_stages().
[[nodiscard]] StageCut cut_for(const Problem& problem, const StageLayout& layout, const PipelineSchedule& schedule,
                               const std::vector<DeviceId>& devices, Duration hop);

/// The cut of least longest stage, wherever the stages lie.
[[nodiscard]] StageCut even_cut(const StageLayout& layout, const PipelineSchedule& schedule,
                                const std::vector<DeviceId>& devices);

/// Devices that some operator may use, ascending.
[[nodiscard]] std::vector<DeviceId> used_devices(const Problem& problem);

/// Longest transfer of the first microbatch between two stages of the problem, between the first two devices.
[[nodiscard]] Duration hop_latency(const Problem& problem, const StageLayout& layout,
                                   const std::vector<DeviceId>& devices);

/// The order of a schedule over a layout that has as many stages; nothing, and `reason` set, where the two do
/// not fit.
[[nodiscard]] std::optional<ExecutionOrder> order_of(const Problem& problem, const StageLayout& layout,
                                                     const PipelineSchedule& schedule, PairMode pairs,
                                                     std::string& reason);

/// The (stage, microbatch, work) triples of an action in the order in which it delivers them.
struct ActionPart {
  std::uint32_t stage;
  std::uint32_t microbatch;
  Work work;
};
[[nodiscard]] std::vector<ActionPart> parts_of(const PipelineAction& action);

}  // namespace opweave::detail
