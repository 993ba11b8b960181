#include "list_scheduling/in_flight_limit.h"

#include <algorithm>
#include <limits>

namespace opweave {

OperatorId gate_operator(const Problem& problem, double progress) {
  const std::vector<OperatorId>& order = problem.graph().topological_order();
  std::vector<std::int64_t> ends(order.size(), 0);
  std::int64_t longest = 0;
  const auto counts = [&](OperatorId op) {
    const Phase phase = problem.graph().at(op).phase;
    return phase != Phase::kWeightGradient && phase != Phase::kOptimizer;
  };
  for (const OperatorId op : order) {
    if (!counts(op)) continue;
    const TaskId task = problem.task_of(op, 0);
    for (const TaskId p : problem.predecessors(task)) {
      ends[op.index()] = std::max(ends[op.index()], ends[problem.task(p).op.index()]);
    }
    ends[op.index()] += problem.shortest(task).value();
    longest = std::max(longest, ends[op.index()]);
  }
  const double wanted = progress * static_cast<double>(longest);
  OperatorId gate = order.front();
  std::int64_t gate_end = std::numeric_limits<std::int64_t>::max();
  for (const OperatorId op : order) {
    if (counts(op) && static_cast<double>(ends[op.index()]) >= wanted && ends[op.index()] < gate_end) {
      gate = op;
      gate_end = ends[op.index()];
    }
  }
  return gate;
}

std::vector<PlacedProblem::ExtraEdge> in_flight_edges(const Problem& problem, const InFlightLimit& limit) {
  const Training& training = problem.settings().training;
  const OperatorId gate = gate_operator(problem, limit.progress);
  std::vector<OperatorId> sources;
  for (const OperatorId op : problem.graph().topological_order()) {
    const bool per_microbatch = problem.graph().at(op).phase != Phase::kOptimizer;
    if (per_microbatch && problem.predecessors(problem.task_of(op, 0)).empty()) sources.push_back(op);
  }
  std::vector<std::vector<std::uint32_t>> microbatches(training.replicas);
  for (std::uint32_t b = 0; b < training.microbatches; ++b) microbatches[training.replica_of(b)].push_back(b);
  std::vector<PlacedProblem::ExtraEdge> edges;
  for (const std::vector<std::uint32_t>& list : microbatches) {
    for (std::size_t i = limit.microbatches; i < list.size(); ++i) {
      const auto earlier = static_cast<ActivityId>(problem.task_of(gate, list[i - limit.microbatches]).index());
      for (const OperatorId source : sources) {
        edges.push_back({earlier, static_cast<ActivityId>(problem.task_of(source, list[i]).index())});
      }
    }
  }
  return edges;
}

}  // namespace opweave
