#include <algorithm>

#include "explain/explanation.h"
#include "opweave/error.h"

namespace opweave::explaining {

/// Latest ends, backwards through the graph whose nodes are the tasks and then the transfers, and whose arcs are
/// the conditions of their starts.
std::vector<Duration> slack(const Timeline& timeline) {
  const std::size_t task_count = timeline.problem.task_count();
  const std::size_t nodes = task_count + timeline.schedule.transfers.size();
  const auto node_of = [&](const Condition& condition) {
    return condition.transfer ? task_count + *condition.transfer : condition.task->index();
  };
  std::vector<std::vector<std::size_t>> before(nodes);
  std::vector<std::size_t> followers(nodes, 0);
  for (std::size_t node = 0; node < nodes; ++node) {
    const auto all =
        node < task_count ? conditions(timeline, TaskId(node)) : transfer_conditions(timeline, node - task_count);
    for (const Condition& condition : all) before[node].push_back(node_of(condition));
    std::ranges::sort(before[node]);
    before[node].erase(std::unique(before[node].begin(), before[node].end()), before[node].end());
    for (const std::size_t earlier : before[node]) ++followers[earlier];
  }
  const auto duration = [&](std::size_t node) {
    if (node < task_count) return timeline.mode(TaskId(node)).duration;
    const Transfer& transfer = timeline.schedule.transfers[node - task_count];
    return transfer.end - transfer.start;
  };

  std::vector<Duration> latest_end(nodes, timeline.makespan);
  std::vector<std::size_t> ready;
  for (std::size_t node = 0; node < nodes; ++node) {
    if (followers[node] == 0) ready.push_back(node);
  }
  std::size_t done = 0;
  for (; !ready.empty(); ++done) {
    const std::size_t node = ready.back();
    ready.pop_back();
    const Duration latest_start = latest_end[node] - duration(node);
    for (const std::size_t earlier : before[node]) {
      latest_end[earlier] = std::min(latest_end[earlier], latest_start);
      if (--followers[earlier] == 0) ready.push_back(earlier);
    }
  }
  if (done != nodes) throw InternalError("slack of a schedule whose tasks wait for each other");

  std::vector<Duration> result(task_count);
  for (std::size_t t = 0; t < task_count; ++t) result[t] = latest_end[t] - timeline.end(TaskId(t));
  return result;
}

}  // namespace opweave::explaining
