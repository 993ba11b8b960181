#include "order_search/order_search_network.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace opweave::order_search {
namespace {

class Builder {
 public:
  Builder(const PlacedProblem& placed, std::size_t repeats, std::span<const Likeness> likeness)
      : placed_(placed), problem_(placed.problem()), repeats_(repeats), likeness_(likeness) {}

  Network build() {
    network_.device_count = problem_.cluster().device_count();
    number_nodes();
    connect();
    collect_memory();
    label();
    mark_fillers();
    return std::move(network_);
  }

 private:
  /// Dense number of a stream (kind 0), sending port (1), receiving port (2) or direction of a link (3, 4).
  std::uint32_t resource(int kind, std::size_t first, std::size_t second, std::size_t device) {
    const auto [entry, is_new] =
        resources_.try_emplace({kind, first, second}, static_cast<std::uint32_t>(network_.resource_device.size()));
    if (is_new) network_.resource_device.push_back(static_cast<std::uint32_t>(device));
    return entry->second;
  }

  std::vector<std::uint32_t> resources_of(ActivityId activity) {
    std::vector<std::uint32_t> result;
    if (placed_.is_task(activity)) {
      for (const DeviceId device : placed_.devices(activity)) {
        for (std::uint32_t mask = problem_.streams(TaskId(activity)); mask != 0; mask &= mask - 1) {
          const auto stream = static_cast<std::size_t>(__builtin_ctz(mask));
          result.push_back(resource(0, device.index(), stream, device.index()));
        }
      }
    } else if (placed_.duration(activity) > 0) {  // an instant occupies nothing
      const NecessaryTransfer& transfer = placed_.transfer(activity);
      const std::size_t no_device = network_.device_count;
      if (problem_.settings().contention == Contention::kEndpoint) {
        result.push_back(resource(1, transfer.source.index(), 0, no_device));
        result.push_back(resource(2, transfer.destination.index(), 0, no_device));
      } else if (problem_.settings().contention == Contention::kLink) {
        const std::optional<Route> route = problem_.cluster().route(transfer.source, transfer.destination);
        for (const Hop& hop : route->hops) {
          const bool forward = hop.forward || !problem_.cluster().links()[hop.link.index()].full_duplex;
          result.push_back(resource(3, hop.link.index(), forward ? 0 : 1, no_device));
        }
        // The default link belongs to its pair of devices, in each direction.
        if (result.empty()) {
          result.push_back(resource(4, transfer.source.index(), transfer.destination.index(), no_device));
        }
      }
    }
    return result;
  }

  void number_nodes() {
    // Residences on devices whose memory can never run out are not followed.
    std::vector<std::int64_t> most(network_.device_count, 0);
    for (std::uint32_t r = 0; r < placed_.residence_count(); ++r) {
      most[placed_.residence(r).device.index()] += placed_.residence(r).bytes;
    }
    for (ActivityId task = 0; task < placed_.task_count(); ++task) {
      for (const DeviceId device : placed_.devices(task)) most[device.index()] += placed_.workspace(task);
    }
    pool_of_device_.assign(network_.device_count, kNone);
    for (std::size_t d = 0; d < network_.device_count; ++d) {
      const std::int64_t capacity = placed_.capacity()[d] - placed_.persistent()[d];
      if (capacity >= 0 && most[d] <= capacity / static_cast<std::int64_t>(repeats_)) continue;
      pool_of_device_[d] = static_cast<std::uint32_t>(network_.pools.size());
      network_.pools.push_back({capacity, false});
    }

    network_.node_of_activity.assign(placed_.activity_count(), kNone);
    for (ActivityId activity = 0; activity < placed_.activity_count(); ++activity) {
      const std::vector<std::uint32_t> resources = resources_of(activity);
      if (!placed_.is_task(activity) && placed_.duration(activity) == 0 && resources.empty() && !touches_pool(activity))
        continue;
      network_.node_of_activity[activity] = static_cast<Node>(network_.activity_of_node.size());
      network_.activity_of_node.push_back(activity);
      network_.duration.push_back(placed_.duration(activity));
      network_.resources.items.insert(network_.resources.items.end(), resources.begin(), resources.end());
      network_.resources.close_list();
    }
    network_.node_count = network_.activity_of_node.size();
    network_.resource_count = network_.resource_device.size();
  }

  [[nodiscard]] bool touches_pool(ActivityId activity) const {
    const auto limited = [this](std::uint32_t r) {
      return pool_of_device_[placed_.residence(r).device.index()] != kNone;
    };
    return std::ranges::any_of(placed_.made(activity), limited) || std::ranges::any_of(placed_.used(activity), limited);
  }

  void connect() {
    std::vector<std::vector<Node>> predecessors(network_.node_count);
    std::vector<std::vector<Node>> successors(network_.node_count);
    for (Node node = 0; node < network_.node_count; ++node) {
      for (const ActivityId activity : placed_.predecessors(network_.activity_of_node[node])) {
        // A dropped transfer leaves the edge from its producer, which is always there beside it.
        const Node before = network_.node_of_activity[activity];
        if (before == kNone) continue;
        predecessors[node].push_back(before);
        successors[before].push_back(node);
      }
    }
    sort_topologically(predecessors, successors);
    drop_implied(predecessors);
    for (std::vector<Node>& list : successors) list.clear();
    for (Node node = 0; node < network_.node_count; ++node) {
      for (const Node before : predecessors[node]) successors[before].push_back(node);
    }
    network_.predecessors = flatten(predecessors);
    network_.successors = flatten(successors);
  }

  static detail::Lists<Node> flatten(const std::vector<std::vector<Node>>& lists) {
    detail::Lists<Node> result;
    for (const std::vector<Node>& list : lists) {
      result.items.insert(result.items.end(), list.begin(), list.end());
      result.close_list();
    }
    return result;
  }

  void sort_topologically(const std::vector<std::vector<Node>>& predecessors,
                          const std::vector<std::vector<Node>>& successors) {
    std::vector<std::size_t> missing(network_.node_count);
    std::vector<Node>& order = network_.topological_order;
    for (Node node = 0; node < network_.node_count; ++node) {
      missing[node] = predecessors[node].size();
      if (missing[node] == 0) order.push_back(node);
    }
    for (std::size_t i = 0; i < order.size(); ++i) {
      for (const Node later : successors[order[i]]) {
        if (--missing[later] == 0) order.push_back(later);
      }
    }
  }

  /// Drops edges that a path of others implies, as far as a limited walk finds them: fewer edges to look at in every
  /// evaluation, and a weight gradient then waits for one node rather than for all that its inputs come from.
  void drop_implied(std::vector<std::vector<Node>>& predecessors) const {
    constexpr std::size_t kMostSteps = 2000;  // per node
    constexpr std::size_t kMostStepsOfAll = 40'000'000;
    constexpr std::size_t kMostPredecessors = 16;
    const std::size_t most_steps = std::min(kMostSteps, kMostStepsOfAll / (network_.node_count + 1));
    std::vector<std::uint32_t> place(network_.node_count);
    for (std::size_t i = 0; i < network_.topological_order.size(); ++i) {
      place[network_.topological_order[i]] = static_cast<std::uint32_t>(i);
    }
    std::vector<Node> seen_for(network_.node_count, kNone);
    std::vector<Node> stack;
    for (const Node node : network_.topological_order) {
      std::vector<Node>& before = predecessors[node];
      if (before.size() < 2 || before.size() > kMostPredecessors) continue;
      std::uint32_t earliest = kNone;
      for (const Node other : before) earliest = std::min(earliest, place[other]);
      stack.clear();
      for (const Node other : before) {
        for (const Node ancestor : predecessors[other]) stack.push_back(ancestor);
      }
      for (std::size_t steps = 0; !stack.empty() && steps < most_steps; ++steps) {
        const Node ancestor = stack.back();
        stack.pop_back();
        if (seen_for[ancestor] == node || place[ancestor] < earliest) continue;
        seen_for[ancestor] = node;
        for (const Node further : predecessors[ancestor]) stack.push_back(further);
      }
      std::erase_if(before, [&](Node other) { return seen_for[other] == node; });
    }
  }

  void collect_memory() {
    std::vector<std::uint32_t> holding_of(placed_.residence_count(), kNone);
    for (std::uint32_t r = 0; r < placed_.residence_count(); ++r) {
      const Residence& residence = placed_.residence(r);
      const std::uint32_t pool = pool_of_device_[residence.device.index()];
      if (pool == kNone || placed_.users(r).empty()) continue;
      holding_of[r] = static_cast<std::uint32_t>(network_.holdings.size());
      const Node maker = residence.is_graph_input ? kNone : network_.node_of_activity[residence.maker];
      network_.holdings.push_back({pool, residence.bytes, residence.is_graph_input, maker});
      for (const ActivityId user : placed_.users(r)) network_.users.items.push_back(network_.node_of_activity[user]);
      network_.users.close_list();
    }
    std::map<std::uint32_t, std::int64_t> claimed;
    std::map<std::uint32_t, std::int64_t> released;
    for (Node node = 0; node < network_.node_count; ++node) {
      const ActivityId activity = network_.activity_of_node[node];
      claimed.clear();
      released.clear();
      for (const std::uint32_t r : placed_.made(activity)) {
        const Residence& residence = placed_.residence(r);
        const std::uint32_t pool = pool_of_device_[residence.device.index()];
        if (pool == kNone) continue;
        if (holding_of[r] == kNone && placed_.duration(activity) == 0) continue;  // an empty lifetime
        claimed[pool] += residence.bytes;
        if (holding_of[r] == kNone) released[pool] += residence.bytes;
      }
      if (placed_.is_task(activity) && placed_.workspace(activity) > 0 && placed_.duration(activity) > 0) {
        for (const DeviceId device : placed_.devices(activity)) {
          const std::uint32_t pool = pool_of_device_[device.index()];
          if (pool == kNone) continue;
          claimed[pool] += placed_.workspace(activity);
          released[pool] += placed_.workspace(activity);
        }
      }
      for (const auto& [pool, bytes] : claimed) network_.claims.items.push_back({pool, bytes});
      network_.claims.close_list();
      for (const auto& [pool, bytes] : released) network_.own_release.items.push_back({pool, bytes});
      network_.own_release.close_list();
      for (const std::uint32_t r : placed_.used(activity)) {
        if (holding_of[r] != kNone) network_.used.items.push_back(holding_of[r]);
      }
      network_.used.close_list();
    }
    find_serial_pools();
  }

  void find_serial_pools() {
    constexpr std::uint32_t kUnseen = kNone - 1;
    std::vector<std::uint32_t> common(network_.pools.size(), kUnseen);
    const auto meet = [&](std::uint32_t pool, Node node) {
      const auto resources = network_.resources[node];
      if (common[pool] == kUnseen && !resources.empty()) {
        common[pool] = resources.front();
      } else if (std::ranges::find(resources, common[pool]) == resources.end()) {
        common[pool] = kNone;
      }
    };
    for (Node node = 0; node < network_.node_count; ++node) {
      for (const Claim& claim : network_.claims[node]) meet(claim.pool, node);
      for (const std::uint32_t holding : network_.used[node]) meet(network_.holdings[holding].pool, node);
    }
    for (std::size_t p = 0; p < network_.pools.size(); ++p) network_.pools[p].is_serial = common[p] != kNone;
  }

  void label() {
    std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::size_t>, std::uint32_t> chunks;
    std::map<std::tuple<std::uint32_t, std::uint32_t>, std::uint32_t> kinds;
    std::map<std::pair<std::uint32_t, std::size_t>, std::uint32_t> twins;
    const auto number = [](auto& known, const auto& key) {
      return known.try_emplace(key, static_cast<std::uint32_t>(known.size())).first->second;
    };
    std::uint32_t copies = 1;
    constexpr std::uint32_t kTransferPhase = 255;
    constexpr std::uint32_t kBringingBack = 254;
    for (Node node = 0; node < network_.node_count; ++node) {
      const ActivityId activity = network_.activity_of_node[node];
      Label label;
      std::uint32_t phase = kTransferPhase;
      std::size_t stage = 0;
      std::size_t what = 0;
      if (placed_.is_task(activity)) {
        const TaskId task(activity);
        const Operator& op = problem_.op(task);
        label.device = static_cast<std::uint32_t>(placed_.devices(activity).front().index());
        const Likeness like = likeness_of(task);
        label.copy = like.copy;
        phase = like.brings_back ? kBringingBack : static_cast<std::uint32_t>(op.phase);
        stage = op.stage ? op.stage->index() + 1 : 0;
        what = like.kind;
      } else {
        const NecessaryTransfer& transfer = placed_.transfer(activity);
        label.device = static_cast<std::uint32_t>(transfer.destination.index());
        label.copy = problem_.copy_of(transfer.value);
        stage = transfer.source.index() + 1;
        what = problem_.graph().operators().size() + problem_.tensor_of(transfer.value).index();
        if (const auto producer = problem_.producer(transfer.value); producer && !likeness_.empty()) {
          label.copy = likeness_of(*producer).copy;
        }
      }
      label.chunk = number(chunks, std::tuple(label.device, label.copy, phase, stage));
      label.kind = number(kinds, std::tuple(label.device, phase));
      label.twins = number(twins, std::pair(label.device, what));
      copies = std::max(copies, label.copy + 1);
      network_.labels.push_back(label);
    }
    network_.copy_count = copies;
    network_.chunk_count = chunks.size();
    network_.twins_count = twins.size();
  }

  [[nodiscard]] Likeness likeness_of(TaskId task) const {
    if (!likeness_.empty()) return likeness_[task.index()];
    return {problem_.task(task).copy, static_cast<std::uint32_t>(problem_.task(task).op.index()), false};
  }

  void mark_fillers() {
    network_.fills_gaps.assign(network_.node_count, false);
    for (Node node = 0; node < network_.node_count; ++node) {
      const ActivityId activity = network_.activity_of_node[node];
      if (!placed_.is_task(activity) || problem_.op(TaskId(activity)).phase != Phase::kWeightGradient) continue;
      const auto waits = [&](Node later) {
        const ActivityId after = network_.activity_of_node[later];
        return !placed_.is_task(after) || problem_.op(TaskId(after)).phase != Phase::kOptimizer;
      };
      network_.fills_gaps[node] = network_.resources[node].size() == 1 && !network_.predecessors[node].empty() &&
                                  std::ranges::none_of(network_.successors[node], waits);
    }
  }

  const PlacedProblem& placed_;
  const Problem& problem_;
  const std::size_t repeats_;
  const std::span<const Likeness> likeness_;
  Network network_;
  std::map<std::tuple<int, std::size_t, std::size_t>, std::uint32_t> resources_;
  std::vector<std::uint32_t> pool_of_device_;
};

}  // namespace

Network build_network(const PlacedProblem& placed, std::size_t repeats, std::span<const Likeness> likeness) {
  return Builder(placed, repeats, likeness).build();
}

std::vector<std::int64_t> activity_starts(const PlacedProblem& placed, const Network& network,
                                          std::span<const Time> ends) {
  std::vector<std::int64_t> starts(placed.activity_count(), 0);
  for (Node node = 0; node < network.node_count; ++node) {
    starts[network.activity_of_node[node]] = ends[node] - network.duration[node];
  }
  for (ActivityId activity = 0; activity < placed.activity_count(); ++activity) {
    if (network.node_of_activity[activity] != kNone) continue;
    const ActivityId producer = placed.predecessors(activity).front();
    starts[activity] = starts[producer] + placed.duration(producer);
  }
  return starts;
}

}  // namespace opweave::order_search
