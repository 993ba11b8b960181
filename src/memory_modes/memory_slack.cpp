#include "memory_modes/memory_slack.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "list_scheduling/placed_problem.h"

namespace opweave {

MemorySlack::MemorySlack(const ProblemWithMovements& derived, const Schedule& schedule)
    : derived_(derived),
      schedule_(schedule),
      free_(derived.problem().cluster().device_count()),
      first_(derived.original().task_count()) {
  const Problem& problem = derived.problem();
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const ProblemWithMovements::Origin origin = derived.origin(TaskId(t));
    if (!origin.is_movement) first_[origin.task.index()] = TaskId(t);
    if (origin.is_movement && origin.kind == MovementKind::kRecompute) again_[origin.task] = TaskId(t);
    if (origin.is_movement && origin.kind == MovementKind::kCopyIn) copied_in_[origin.value] = TaskId(t);
  }
  const auto placed = PlacedProblem::create(problem, schedule.modes());
  for (std::size_t d = 0; d < free_.size(); ++d) {
    free_[d][std::numeric_limits<std::int64_t>::min()] = placed->capacity()[d] - placed->persistent()[d];
  }
  const std::vector<std::int64_t> starts = placed->starts(schedule);
  const auto end = [&](ActivityId item) { return starts[item] + placed->duration(item); };
  for (std::uint32_t r = 0; r < placed->residence_count(); ++r) {
    const Residence& residence = placed->residence(r);
    std::int64_t from = residence.is_graph_input ? std::numeric_limits<std::int64_t>::max() : starts[residence.maker];
    std::int64_t to = residence.is_graph_input ? 0 : end(residence.maker);
    for (const ActivityId user : placed->users(r)) {
      if (residence.is_graph_input) from = std::min(from, starts[user]);
      to = std::max(to, end(user));
    }
    add({residence.device, from, to, residence.bytes});
  }
  for (ActivityId task = 0; task < placed->task_count(); ++task) {
    if (placed->workspace(task) == 0) continue;
    for (const DeviceId device : placed->devices(task)) {
      add({device, starts[task], end(task), placed->workspace(task)});
    }
  }
}

std::vector<MemorySlack::Gap> MemorySlack::gaps(ValueId value) const {
  const Problem& original = derived_.original();
  const MemoryMode mode = derived_.choice()[value.index()];
  if (mode == MemoryMode::kKeep) return {};
  const Problem& problem = derived_.problem();
  const TaskId maker = *original.producer(value);
  const TaskId first = first_[maker.index()];
  const TaskId back = mode == MemoryMode::kDrop ? again_.at(maker) : copied_in_.at(value);
  const auto outputs = original.outputs(maker);
  const auto place = static_cast<std::size_t>(std::ranges::find(outputs, value) - outputs.begin());
  std::int64_t from = schedule_.end(problem, first).value();
  for (const TaskId reader : problem.consumers(problem.outputs(first)[place])) {
    from = std::max(from, schedule_.end(problem, reader).value());
  }
  const std::int64_t to = schedule_.tasks[back.index()].start.value();
  std::vector<Gap> result;
  for (const DeviceId device : problem.mode(first, schedule_.tasks[first.index()].mode).devices) {
    result.push_back({device, from, to, original.size(value).value()});
  }
  return result;
}

bool MemorySlack::take(const std::vector<Gap>& gaps) {
  for (std::size_t i = 0; i < gaps.size(); ++i) {
    if (fits(gaps[i])) {
      add(gaps[i]);
      continue;
    }
    while (i-- > 0) add({gaps[i].device, gaps[i].from, gaps[i].to, -gaps[i].bytes});
    return false;
  }
  return true;
}

MemorySlack::Levels::iterator MemorySlack::split(Levels& levels, std::int64_t time) const {
  const auto after = levels.upper_bound(time);
  return levels.try_emplace(after, time, std::prev(after)->second);
}

void MemorySlack::add(const Gap& gap) {
  if (gap.from >= gap.to || gap.bytes == 0) return;
  Levels& levels = free_[gap.device.index()];
  const auto end = split(levels, gap.to);
  for (auto level = split(levels, gap.from); level != end; ++level) level->second -= gap.bytes;
}

bool MemorySlack::fits(const Gap& gap) const {
  const Levels& levels = free_[gap.device.index()];
  for (auto level = std::prev(levels.upper_bound(gap.from)); level != levels.end() && level->first < gap.to; ++level) {
    if (level->second < gap.bytes) return false;
  }
  return true;
}

}  // namespace opweave
