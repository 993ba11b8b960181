#include "opweave/objective.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "opweave/error.h"
#include "opweave/plan.h"

namespace opweave {
namespace {

struct Entry {
  Objective objective;
  std::string_view name;
  std::string_view unit;
};
constexpr Entry kEntries[] = {
    {Objective::kMakespan, "makespan", "ns"},
    {Objective::kPeriod, "period", "ns"},
    {Objective::kPeakMemory, "peak-memory", "bytes"},
    {Objective::kDevices, "devices", "devices"},
    {Objective::kCommunication, "communication", "bytes"},
    {Objective::kUtilisation, "utilisation", "idle-ppb"},
};

const Entry& entry_of(Objective objective) {
  for (const Entry& entry : kEntries) {
    if (entry.objective == objective) return entry;
  }
  throw InternalError("unknown objective");
}

std::int64_t devices_used(const Problem& problem, const Schedule& schedule) {
  std::vector<bool> used(problem.cluster().device_count(), false);
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    for (const DeviceId device : problem.mode(TaskId(t), schedule.tasks[t].mode).devices) used[device.index()] = true;
  }
  return std::count(used.begin(), used.end(), true);
}

std::int64_t idle_ppb(const PlanStatistics& statistics) {
  __extension__ using Wide = __int128;
  const Wide whole = Wide{statistics.makespan.value()} * static_cast<std::int64_t>(statistics.devices.size());
  if (whole == 0) return 0;
  Wide idle = 0;
  for (const DeviceStatistics& device : statistics.devices) idle += device.bubble.value();
  return static_cast<std::int64_t>(idle * 1'000'000'000 / whole);
}

}  // namespace

std::string_view to_string(Objective objective) { return entry_of(objective).name; }

std::string_view unit_of(Objective objective) { return entry_of(objective).unit; }

std::optional<Objective> objective_from_string(std::string_view text) {
  const auto found =
      std::find_if(std::begin(kEntries), std::end(kEntries), [&](const Entry& e) { return e.name == text; });
  return found == std::end(kEntries) ? std::nullopt : std::optional(found->objective);
}

std::vector<Objective> parse_objectives(std::string_view text) {
  std::vector<Objective> result;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view name = text.substr(begin, end - begin);
    const std::optional<Objective> objective = objective_from_string(name);
    if (!objective) {
      throw InputError(fmt::format(
          "objective is \"{}\", expected makespan, period, peak-memory, devices, communication or utilisation", name));
    }
    if (std::find(result.begin(), result.end(), *objective) != result.end()) {
      throw InputError(fmt::format("objective \"{}\" is given twice", name));
    }
    result.push_back(*objective);
    begin = end + 1;
  }
  return result;
}

std::int64_t objective_value(Objective objective, const Problem& problem, const Schedule& schedule,
                             const PlanStatistics& statistics) {
  switch (objective) {
    case Objective::kMakespan:
      return statistics.makespan.value();
    case Objective::kPeriod:
      return statistics.period.value();
    case Objective::kPeakMemory: {
      Bytes peak;
      for (const DeviceStatistics& device : statistics.devices) peak = std::max(peak, device.peak_memory);
      return peak.value();
    }
    case Objective::kDevices:
      return devices_used(problem, schedule);
    case Objective::kCommunication:
      return statistics.bytes_moved.value();
    case Objective::kUtilisation:
      return idle_ppb(statistics);
  }
  throw InternalError("unknown objective");
}

}  // namespace opweave
