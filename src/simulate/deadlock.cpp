#include "simulate/deadlock.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "opweave/error.h"

namespace opweave::simulation {
namespace {

/// One reason of one run.
struct Wait {
  std::optional<std::uint32_t> run;  ///< that must end or start first; nothing = it will never be
  std::string text;
};

std::string name(const Deadlock& deadlock, TaskId task) {
  return fmt::format("\"{}\"", deadlock.problem.task_name(task));
}
std::string name(const Deadlock& deadlock, DeviceId device) {
  return fmt::format("\"{}\"", deadlock.problem.cluster().at(device).name);
}

std::optional<Wait> wait_for_input(const Deadlock& deadlock, std::uint32_t run, TaskId task) {
  const Problem& problem = deadlock.problem;
  for (const ValueId value : problem.inputs(task)) {
    const std::optional<TaskId> producer = problem.producer(value);
    if (!producer) continue;
    const std::uint32_t other = deadlock.runs.run_of[producer->index()];
    const auto made_on = deadlock.runs.devices[producer->index()];
    for (const DeviceId device : deadlock.runs.devices[task.index()]) {
      const bool local = std::binary_search(made_on.begin(), made_on.end(), device);
      if (deadlock.ended[other] ? local : (local && other == run)) continue;
      const std::string tensor = problem.graph().at(problem.tensor_of(value)).name;
      if (!deadlock.ended[other]) {
        return Wait{other,
                    fmt::format("{} waits for \"{}\" of {}", name(deadlock, task), tensor, name(deadlock, *producer))};
      }
      const bool has_route = std::any_of(made_on.begin(), made_on.end(), [&](DeviceId source) {
        return problem.transfer_time(value, source, device).has_value();
      });
      if (has_route && deadlock.waits_for_turn(value, device)) {
        return Wait{std::nullopt, fmt::format("{} waits for \"{}\" of {}, whose message has not had its turn",
                                              name(deadlock, task), tensor, name(deadlock, *producer))};
      }
      if (has_route) continue;  // it arrived
      return Wait{std::nullopt,
                  fmt::format("{} waits for \"{}\" of {}, but no route joins {} to {}", name(deadlock, task), tensor,
                              name(deadlock, *producer), name(deadlock, made_on.front()), name(deadlock, device))};
    }
  }
  return std::nullopt;
}

std::optional<Wait> wait_for_control(const Deadlock& deadlock, std::uint32_t run, TaskId task) {
  for (const TaskId before : deadlock.problem.control_predecessors(task)) {
    const std::uint32_t other = deadlock.runs.run_of[before.index()];
    if (other == run || deadlock.ended[other]) continue;
    return Wait{other, fmt::format("{} waits for the end of {}", name(deadlock, task), name(deadlock, before))};
  }
  return std::nullopt;
}

std::optional<Wait> wait_for_turn(const Deadlock& deadlock, std::uint32_t run) {
  const std::vector<std::string>& streams = deadlock.problem.cluster().stream_names();
  for (const std::uint32_t queue : deadlock.runs.slots_of(run)) {
    const std::uint32_t first = deadlock.runs.queue_runs[deadlock.next_index[queue]];
    if (first == run) continue;
    return Wait{first, fmt::format("{} comes after {} on stream \"{}\" of {}",
                                   name(deadlock, deadlock.runs.members_of(run).front().task),
                                   name(deadlock, deadlock.runs.members_of(first).front().task),
                                   streams[queue % streams.size()], name(deadlock, DeviceId(queue / streams.size())))};
  }
  return std::nullopt;
}

Wait reason(const Deadlock& deadlock, std::uint32_t run) {
  for (const Member& member : deadlock.runs.members_of(run)) {
    if (auto wait = wait_for_input(deadlock, run, member.task)) return *wait;
    if (auto wait = wait_for_control(deadlock, run, member.task)) return *wait;
  }
  if (auto wait = wait_for_turn(deadlock, run)) return *wait;
  throw InternalError("a simulation stopped although nothing was missing");
}

}  // namespace

std::string explain(const Deadlock& deadlock) {
  constexpr std::uint32_t kUnseen = static_cast<std::uint32_t>(-1);
  std::vector<std::uint32_t> seen(deadlock.runs.runs.size(), kUnseen);
  std::vector<std::string> steps;
  std::optional<std::uint32_t> run = static_cast<std::uint32_t>(
      std::find(deadlock.ended.begin(), deadlock.ended.end(), false) - deadlock.ended.begin());
  std::size_t cycle_start = 0;
  while (true) {
    seen[*run] = static_cast<std::uint32_t>(steps.size());
    const Wait wait = reason(deadlock, *run);
    steps.push_back(wait.text);
    run = wait.run;
    if (!run) {
      cycle_start = steps.size() - 1;
      break;
    }
    if (seen[*run] != kUnseen) {
      cycle_start = seen[*run];
      break;
    }
  }
  constexpr std::size_t kShown = 8;
  std::string text;
  for (std::size_t i = cycle_start; i < steps.size(); ++i) {
    if (i - cycle_start == kShown && steps.size() - i > 1) {
      return text + fmt::format("; ... ({} more)", steps.size() - i);
    }
    if (!text.empty()) text += "; ";
    text += steps[i];
  }
  return text;
}

}  // namespace opweave::simulation
