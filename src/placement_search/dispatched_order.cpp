#include "placement_search/dispatched_order.h"

#include <algorithm>

#include "order_search/schedule_in_order.h"
#include "placement_search/step_model.h"

namespace opweave {

std::optional<std::vector<std::int64_t>> schedule_as_dispatched(const PlacedProblem& placed,
                                                                const StepDispatch& dispatch) {
  const Problem& problem = placed.problem();
  const Training& training = problem.settings().training;
  const std::vector<StepModel::Replica>& replicas = dispatch.model().replicas();
  // What is not dispatched, the optimizers, comes last.
  std::vector<std::int64_t> wishes(placed.activity_count(), StepModel::kNever);
  std::vector<std::uint32_t> next(replicas.size(), 0);
  for (std::uint32_t microbatch = 0; microbatch < training.microbatches; ++microbatch) {
    const std::uint32_t replica = training.replica_of(microbatch);
    const std::uint32_t copy = next[replica]++;
    if (copy >= dispatch.copies(replica)) return std::nullopt;
    const std::vector<StepModel::Step>& steps = replicas[replica].steps;
    for (std::uint32_t s = 0; s < steps.size(); ++s) {
      wishes[problem.task_of(steps[s].op, microbatch).index()] = dispatch.start(replica, s, copy);
    }
  }
  for (auto each = static_cast<ActivityId>(placed.task_count()); each < placed.activity_count(); ++each) {
    for (const ActivityId user : placed.successors(each)) wishes[each] = std::min(wishes[each], wishes[user]);
    wishes[each] -= placed.duration(each);
  }
  const std::optional<Schedule> schedule = schedule_in_order(placed, wishes);
  return schedule ? std::optional(placed.starts(*schedule)) : std::nullopt;
}

}  // namespace opweave
