#include "placement_search/routing_timing.h"

#include <algorithm>
#include <tuple>

namespace opweave::routing {

bool ExactTiming::place(const Graph& graph) {
  std::vector<ModeIndex> modes(graph.model().task_count());
  for (Node task = 0; task < modes.size(); ++task) modes[task] = graph.model().mode(task, graph.option(task));
  if (network_ && modes == modes_) return true;
  network_ = nullptr;
  timing_ = nullptr;
  modes_ = modes;
  placed_ = PlacedProblem::create(problem_, std::move(modes));
  if (!placed_) return false;
  for (std::size_t d = 0; d < placed_->capacity().size(); ++d) {
    if (placed_->persistent()[d] > placed_->capacity()[d]) return false;
  }
  network_ = std::make_unique<order_search::Network>(order_search::build_network(*placed_));
  network_->order_fillers();
  timing_ = std::make_unique<order_search::Timing>(*network_, 0.0);
  return true;
}

std::optional<Time> ExactTiming::evaluate(const Graph& graph) {
  if (!place(graph)) return std::nullopt;
  // Transfers are due when their producer ends, and go where the tasks of that moment are.
  struct Entry {
    Time start;
    Time end;
    std::uint32_t rank;
    order_search::Node node;
  };
  std::vector<std::uint32_t> rank(graph.model().task_count());
  for (std::uint32_t r = 0; r < rank.size(); ++r) rank[graph.order()[r]] = r;
  std::vector<Entry> entries;
  for (order_search::Node node = 0; node < network_->node_count; ++node) {
    const ActivityId activity = network_->activity_of_node[node];
    if (placed_->is_task(activity)) {
      entries.push_back({graph.start(activity), graph.end(activity), 2 * rank[activity], node});
    } else {
      const auto producer = static_cast<Node>(problem_.producer(placed_->transfer(activity).value)->index());
      entries.push_back({graph.end(producer), graph.end(producer), 2 * rank[producer] + 1, node});
    }
  }
  // A rank keeps the precedence among those that start and end at the same moment.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.start, a.end, a.rank, a.node) < std::tie(b.start, b.end, b.rank, b.node);
  });
  std::vector<order_search::Node> order;
  order.reserve(entries.size());
  for (const Entry& entry : entries) order.push_back(entry.node);
  if (!timing_->evaluate(order, 0)) {
    timing_->reject();
    return std::nullopt;
  }
  const Time makespan = timing_->cost().makespan;
  timing_->accept();
  return makespan;
}

Schedule ExactTiming::schedule() const {
  return placed_->schedule(order_search::activity_starts(*placed_, *network_, timing_->ends()));
}

}  // namespace opweave::routing
