#include <algorithm>
#include <numeric>
#include <tuple>

#include "opweave/simulate.h"

namespace opweave {
namespace {

/// Tasks that run as one: a task alone, or a piece where the problem asks for blocks.
struct TimedRun {
  std::vector<TaskId> tasks;  ///< ascending
  Duration start;
  Duration end;
};

std::vector<TimedRun> single_tasks(const Problem& problem, const Schedule& schedule) {
  std::vector<TimedRun> runs;
  runs.reserve(schedule.tasks.size());
  for (std::size_t t = 0; t < schedule.tasks.size(); ++t) {
    runs.push_back({{TaskId(t)}, schedule.tasks[t].start, schedule.end(problem, TaskId(t))});
  }
  return runs;
}

std::vector<TimedRun> pieces(const Problem& problem, const Schedule& schedule) {
  const Training& training = problem.settings().training;
  std::vector<TimedRun> runs;
  for (const Piece& piece : pieces_of(problem.graph(), problem.settings().blocks)) {
    const std::uint32_t copies = piece.phase == Phase::kOptimizer ? training.replicas : training.microbatches;
    for (std::uint32_t copy = 0; copy < copies; ++copy) {
      TimedRun run;
      for (const OperatorId op : piece.operators) run.tasks.push_back(problem.task_of(op, copy));
      std::ranges::sort(run.tasks);
      run.start = schedule.tasks[run.tasks.front().index()].start;
      for (const TaskId task : run.tasks) {
        run.start = std::min(run.start, schedule.tasks[task.index()].start);
        run.end = std::max(run.end, schedule.end(problem, task));
      }
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

}  // namespace

ExecutionOrder execution_order(const Problem& problem, const Schedule& schedule) {
  ExecutionOrder order;
  order.devices.resize(problem.cluster().device_count());
  order.modes = schedule.modes();

  // One order for all devices, so that no two of them can wait for each other. Ids are topological:
  // among tasks of the same start, those of zero duration come before what they make possible.
  const bool has_blocks = problem.settings().blocks != Blocks::kNone;
  std::vector<TimedRun> runs = has_blocks ? pieces(problem, schedule) : single_tasks(problem, schedule);
  std::ranges::sort(runs, [](const TimedRun& a, const TimedRun& b) {
    return std::tuple(a.start, a.tasks.front()) < std::tuple(b.start, b.tasks.front());
  });
  for (const TimedRun& run : runs) {
    std::vector<Duration> offsets;
    for (const TaskId task : run.tasks) offsets.push_back(schedule.tasks[task.index()].start - run.start);
    for (const DeviceId device : problem.mode(run.tasks.front(), order.modes[run.tasks.front().index()]).devices) {
      order.devices[device.index()].push_back({run.tasks, offsets, run.end - run.start, false});
    }
  }
  return order;
}

}  // namespace opweave
