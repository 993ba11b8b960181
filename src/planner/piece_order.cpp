#include "planner/piece_order.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "opweave/problem.h"
#include "planner/minimise_makespan.h"

namespace opweave {
namespace {

/// Evaluations for one piece: its operators are few, and every microbatch runs it.
constexpr std::uint64_t kWork = 300;

PieceOrder one_after_the_other(const PieceWork& work) {
  PieceOrder order;
  for (const Duration duration : work.durations) {
    order.starts.push_back(order.length);
    order.length += duration;
  }
  return order;
}

/// The operators on a device of their own, without memory.
Problem alone(const PieceWork& work) {
  std::uint32_t used = 0;
  std::vector<Operator> operators(work.durations.size());
  for (std::size_t i = 0; i < operators.size(); ++i) {
    Operator& op = operators[i];
    op.name = fmt::format("operator {}", i);
    op.durations = {{"", work.durations[i]}};
    op.streams.clear();
    for (std::uint32_t s = 0; s < 32; ++s) {
      if ((work.streams[i] >> s & 1U) != 0) op.streams.push_back(s == 0 ? "compute" : fmt::format("stream {}", s));
    }
    for (const std::uint32_t earlier : work.predecessors[i]) op.after.emplace_back(earlier);
    used |= work.streams[i];
  }
  Device device;
  device.name = "device";
  for (std::uint32_t s = 1; s < 32; ++s) {
    if ((used >> s & 1U) != 0) device.streams.push_back(fmt::format("stream {}", s));
  }
  ClusterParts parts;
  parts.devices = {device};
  return Problem::create(ComputationGraph::create("piece", std::move(operators), {}, {}),
                         Cluster::create(std::move(parts)));
}

}  // namespace

PieceOrder order_piece(const PieceWork& work, const Budget& budget) {
  const std::uint32_t shared = std::accumulate(work.streams.begin(), work.streams.end(), ~std::uint32_t{0},
                                               [](std::uint32_t a, std::uint32_t b) { return a & b; });
  PieceOrder order = one_after_the_other(work);
  if (shared != 0) {
    order.shortest = order.length;
    return order;
  }
  const Problem problem = alone(work);
  const Finding finding = minimise_makespan(problem, budget.with_work(kWork), {});
  for (const LowerBound& bound : finding.bounds) order.shortest = std::max(order.shortest, bound.value);
  if (!finding.schedule) return order;
  order.length = finding.schedule->makespan(problem);
  // The operators are in topological order, but not necessarily in that of the tasks.
  for (std::size_t i = 0; i < order.starts.size(); ++i) {
    order.starts[i] = finding.schedule->tasks[problem.task_of(OperatorId(i), 0).index()].start;
  }
  return order;
}

}  // namespace opweave
