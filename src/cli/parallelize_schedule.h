/// The last level of `opweave parallelize`: the pipeline of a strategy, planned operator by operator.
#pragma once

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/strategy.h"

namespace opweave::cli {

/// What goes into the folder of a schedule.
inline constexpr std::array kScheduleFiles = {"graph.json", "cluster.json", "plan.json"};

struct ScheduleRequest {
  std::filesystem::path folder;  ///< where kScheduleFiles go
  std::uint64_t seed = 1;
  unsigned threads = 1;
};

/// What the planner made of a strategy's pipeline, beside the published schedules of every shape that its layers allow.
struct PlannedSchedule {
  std::string text;             ///< a table for people
  nlohmann::ordered_json json;  ///< the same for programs
};

/// Plans within the budget and writes the files of the best. \throws InputError if the strategy has no pipeline, or a
/// file cannot be written
[[nodiscard]] PlannedSchedule plan_schedule(const ModelDescription& model, const Machines& machines,
                                            const TrainingRun& run, const Strategy& strategy,
                                            const CalibrationProfile& profile, const ScheduleRequest& request,
                                            const Budget& budget);

}  // namespace opweave::cli
