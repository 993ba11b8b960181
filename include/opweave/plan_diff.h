/// What moved between two plans, and what it cost or saved (docs/explain.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "opweave/explain.h"
#include "opweave/plan_alone.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// Tasks that run elsewhere in the second plan.
struct MovedTasks {
  std::string from;  ///< names of devices; those of a gang joined by "+"
  std::string to;
  std::size_t tasks = 0;
  std::vector<std::string> operators;  ///< by name
};

/// How much of a device's order changed among the tasks that it keeps.
struct OrderChange {
  std::string device;
  std::size_t stayed = 0;     ///< tasks that run on it in both plans, on the same devices
  std::uint64_t swapped = 0;  ///< pairs of them that start in the other order
  double share = 0;           ///< of all pairs
};

/// A task with another start.
struct ShiftedTask {
  std::string task;  ///< "head.F#1"
  Duration first;    ///< start in the first plan
  Duration second;
};

/// From what the plans say alone; tasks are matched by operator and copy.
struct PlanDiff {
  bool is_same_problem = false;  ///< the plans state the same graph and cluster
  bool is_same_settings = false;
  std::size_t in_both = 0;
  std::size_t only_first = 0;
  std::size_t only_second = 0;
  std::vector<MovedTasks> moved;     ///< most tasks first
  std::vector<OrderChange> orders;   ///< by name of the device
  std::vector<ShiftedTask> shifted;  ///< largest change first
};
/// O(n log n).
[[nodiscard]] PlanDiff diff_plans(const PlanAlone& first, const PlanAlone& second);

/// The change of the makespan in two parts that add up, by simulation: the places of the second plan in the starting
/// order of the first, then the order of the second; and each moved group on its own.
struct DiffCosts {
  IdleByCause idle_first{};  ///< summed over the devices
  IdleByCause idle_second{};
  Duration first;
  Duration with_places;
  Duration second;
  struct Move {
    std::string group;  ///< its first task, and how many more
    Duration makespan;  ///< of the first plan with this group alone where the second has it
  };
  std::vector<Move> alone;       ///< shortest makespan first
  std::size_t moved_groups = 0;  ///< of all, the first ones are simulated: of large plans not every one
};
/// \pre both are valid schedules of the problem
[[nodiscard]] DiffCosts diff_costs(const Problem& problem, const Schedule& first, const Schedule& second);

/// Both, and the figures of the plans.
[[nodiscard]] std::string diff_to_json(const PlanAlone& first, const PlanAlone& second, const PlanDiff& diff,
                                       const std::optional<DiffCosts>& costs);

}  // namespace opweave
