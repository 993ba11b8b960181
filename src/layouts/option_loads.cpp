#include "layouts/option_loads.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include "core/union_find.h"

namespace opweave {
namespace {

/// Weights that are tried.
constexpr int kRounds = 60;
/// A weight grows by this factor, to the power of its machine's share of the largest load.
constexpr double kStep = 1.0;
/// Weights as whole numbers, at most.
constexpr double kLargestWeight = 1 << 20;

/// What is longer is counted as if it were as long, so that sums do not overflow.
constexpr std::int64_t kMostTime = 1'000'000'000'000'000'000;

std::int64_t times(std::int64_t count, std::int64_t time) {
  return count > 0 && time > kMostTime / count ? kMostTime : count * time;
}

std::uint64_t pair_key(std::uint32_t a, std::uint32_t b) {
  return (std::uint64_t{std::min(a, b)} << 32U) | std::max(a, b);
}

}  // namespace

OptionLoads::OptionLoads(MovementCosts& costs, const OptionPaths& paths)
    : costs_(costs),
      paths_(paths),
      problem_(costs.problem()),
      microbatches_(problem_.settings().training.microbatches),
      over_(problem_.choices().size()) {
  number_streams();
  for (const LayoutChoice& choice : problem_.choices()) {
    own_.emplace_back(choice.alternatives.size());
    is_possible_.emplace_back(choice.alternatives.size(), true);
  }
  add_operators();
  add_parameters();
  grow_forest();
  add_edges();
  find_ends();
}

void OptionLoads::number_streams() {
  std::set<std::string> names = {problem_.graph().movement_stream};
  for (const Operator& op : problem_.graph().graph.operators()) names.insert(op.streams.begin(), op.streams.end());
  streams_.assign(names.begin(), names.end());
  movement_stream_ =
      static_cast<std::uint32_t>(std::ranges::find(streams_, problem_.graph().movement_stream) - streams_.begin());
}

std::size_t OptionLoads::machine(DeviceId device, std::uint32_t stream) const {
  return device.index() * streams_.size() + stream;
}

void OptionLoads::add(Works& works, std::uint32_t devices, std::uint32_t stream, std::int64_t time) const {
  if (time == 0) return;
  const auto found =
      std::ranges::find_if(works, [&](const Work& work) { return work.devices == devices && work.stream == stream; });
  if (found == works.end()) {
    works.push_back({devices, stream, time});
  } else {
    found->time = std::min(found->time + time, kMostTime);
  }
}

void OptionLoads::add_operators() {
  const ComputationGraph& graph = problem_.graph().graph;
  for (std::uint32_t c = 0; c < own_.size(); ++c) {
    for (const OperatorId op : problem_.choices()[c].operators) {
      const std::int64_t copies = graph.at(op).phase == Phase::kOptimizer ? 1 : microbatches_;
      for (std::uint32_t a = 0; a < own_[c].size(); ++a) {
        if (!paths_.of(op, a).is_possible) is_possible_[c][a] = false;
        const LayoutOption& option = costs_.option(op, a);
        for (const std::string& name : graph.at(op).streams) {
          const auto stream = static_cast<std::uint32_t>(std::ranges::find(streams_, name) - streams_.begin());
          add(own_[c][a], costs_.gang_of(op, a), stream, times(copies, option.duration.value()));
        }
      }
    }
  }
}

void OptionLoads::add_parameters() {
  const ComputationGraph& graph = problem_.graph().graph;
  std::vector<std::optional<OperatorId>> reader(graph.parameters().size());
  std::vector<std::int64_t> updates(reader.size(), 0);
  for (std::size_t i = 0; i < graph.operators().size(); ++i) {
    const Operator& op = graph.operators()[i];
    for (const ParameterId parameter : op.parameters) {
      reader[parameter.index()] = OperatorId(i);
      const bool adds = op.phase == Phase::kWeightGradient || op.phase == Phase::kBackward;
      updates[parameter.index()] += adds ? 1 : 0;
    }
  }
  for (std::size_t p = 0; p < reader.size(); ++p) {
    if (!reader[p]) continue;
    const std::uint32_t choice = problem_.choice_of(*reader[p]);
    for (std::uint32_t a = 0; a < own_[choice].size(); ++a) {
      const ParameterCost& cost = costs_.cost(ParameterId(p), a);
      const std::int64_t each = cost.forward + cost.backward + times(updates[p], cost.reduce_each);
      const std::int64_t all = times(microbatches_, std::min(each, kMostTime)) + cost.reduce_once + cost.update;
      add(own_[choice][a], costs_.gang_of(*reader[p], a), movement_stream_, all);
    }
  }
}

/// A forest over the choices whose edges stand for the most bytes.
void OptionLoads::grow_forest() {
  const ComputationGraph& graph = problem_.graph().graph;
  std::map<std::uint64_t, std::int64_t> bytes;
  for (const ReaderEdge& edge : costs_.edges()) {
    const std::uint32_t a = problem_.choice_of(edge.maker);
    const std::uint32_t b = problem_.choice_of(edge.reader);
    if (a != b) bytes[pair_key(a, b)] += graph.at(edge.tensor).size.value();
  }
  std::vector<std::pair<std::int64_t, std::uint64_t>> heaviest;
  for (const auto& [key, size] : bytes) heaviest.emplace_back(-size, key);
  std::ranges::sort(heaviest);
  UnionFind trees(own_.size());
  std::vector<std::vector<std::uint32_t>> neighbours(own_.size());
  for (const auto& [size, key] : heaviest) {
    const auto a = static_cast<std::uint32_t>(key >> 32U);
    const auto b = static_cast<std::uint32_t>(key);
    if (trees.find(a) == trees.find(b)) continue;
    trees.join(a, b);
    neighbours[a].push_back(b);
    neighbours[b].push_back(a);
  }
  std::vector<bool> seen(own_.size(), false);
  for (std::uint32_t root = 0; root < own_.size(); ++root) {
    if (seen[root]) continue;
    seen[root] = true;
    std::size_t next = order_.size();
    order_.push_back(root);
    for (; next < order_.size(); ++next) {
      const std::uint32_t parent = order_[next];
      for (const std::uint32_t child : neighbours[parent]) {
        if (seen[child]) continue;
        seen[child] = true;
        order_.push_back(child);
        over_[child] = static_cast<std::uint32_t>(pairs_.size());
        const std::size_t count = own_[parent].size() * own_[child].size();
        pairs_.push_back({parent, child, std::vector<Works>(count), std::vector<bool>(count, true)});
      }
    }
  }
}

/// The movements of each tensor to those of its readers that are in the forest, or choose with the maker: readers that
/// want the same share a movement, so each counts for its share of them.
void OptionLoads::add_edges() {
  const ComputationGraph& graph = problem_.graph().graph;
  const auto pair_of = [&](const ReaderEdge& edge) -> std::optional<std::uint32_t> {
    const std::uint32_t a = problem_.choice_of(edge.maker);
    const std::uint32_t b = problem_.choice_of(edge.reader);
    for (const auto& [parent, child] : {std::pair(a, b), std::pair(b, a)}) {
      if (over_[child] && pairs_[*over_[child]].parent == parent) return over_[child];
    }
    return std::nullopt;
  };
  std::vector<std::int64_t> counted(graph.tensors().size(), 0);
  for (const ReaderEdge& edge : costs_.edges()) {
    const bool is_within = problem_.choice_of(edge.maker) == problem_.choice_of(edge.reader);
    if (is_within || pair_of(edge)) ++counted[edge.tensor.index()];
  }
  const auto add_way = [&](const ReaderEdge& edge, const OptionWay& way, Works& works) {
    const bool is_once = graph.at(edge.maker).phase == Phase::kOptimizer;
    for (const MovementStep& step : way.steps()) {
      const std::int64_t all = times(is_once ? 1 : microbatches_, way.duration(step));
      add(works, step.devices, movement_stream_, all / counted[edge.tensor.index()]);
    }
  };
  for (const ReaderEdge& edge : costs_.edges()) {
    const std::uint32_t of_maker = problem_.choice_of(edge.maker);
    const std::uint32_t of_reader = problem_.choice_of(edge.reader);
    if (of_maker == of_reader) {
      for (std::uint32_t a = 0; a < own_[of_maker].size(); ++a) {
        const OptionWay way = costs_.way(edge, a, a);
        if (!way.exists()) is_possible_[of_maker][a] = false;
        if (way.exists()) add_way(edge, way, own_[of_maker][a]);
      }
      continue;
    }
    const auto number = pair_of(edge);
    if (!number) continue;
    Pair& pair = pairs_[*number];
    for (std::uint32_t a = 0; a < own_[of_maker].size(); ++a) {
      for (std::uint32_t b = 0; b < own_[of_reader].size(); ++b) {
        const bool is_down = pair.parent == of_maker;
        const std::size_t at = is_down ? a * own_[of_reader].size() + b : b * own_[of_maker].size() + a;
        const OptionWay way = costs_.way(edge, a, b);
        if (!way.exists()) pair.is_possible[at] = false;
        if (way.exists()) add_way(edge, way, pair.works[at]);
      }
    }
  }
}

/// Before and behind all work of a machine pass the least head and tail of the operators that may run there; around
/// movements nothing.
void OptionLoads::find_ends() {
  const std::size_t count = problem_.cluster().device_count() * streams_.size();
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  std::vector<std::int64_t> heads(count, kNone);
  std::vector<std::int64_t> tails(count, kNone);
  const ComputationGraph& graph = problem_.graph().graph;
  for (std::size_t i = 0; i < graph.operators().size(); ++i) {
    // Wherever the operator runs, since nothing may run on the machine.
    std::int64_t least_head = kNone;
    std::int64_t least_tail = kNone;
    for (std::uint32_t a = 0; a < costs_.alternatives(OperatorId(i)); ++a) {
      least_head = std::min(least_head, paths_.of(OperatorId(i), a).head);
      least_tail = std::min(least_tail, paths_.of(OperatorId(i), a).tail);
    }
    for (std::uint32_t a = 0; a < costs_.alternatives(OperatorId(i)); ++a) {
      for (const std::string& name : graph.operators()[i].streams) {
        const auto stream = static_cast<std::uint32_t>(std::ranges::find(streams_, name) - streams_.begin());
        for (const DeviceId device : costs_.option(OperatorId(i), a).devices) {
          std::int64_t& head = heads[machine(device, stream)];
          std::int64_t& tail = tails[machine(device, stream)];
          head = std::min(head, least_head);
          tail = std::min(tail, least_tail);
        }
      }
    }
  }
  ends_.assign(count, 0);
  for (std::size_t d = 0; d < problem_.cluster().device_count(); ++d) {
    for (std::uint32_t stream = 0; stream < streams_.size(); ++stream) {
      const std::size_t at = machine(DeviceId(d), stream);
      if (stream != movement_stream_ && heads[at] != kNone) ends_[at] = heads[at] + tails[at];
    }
  }
}

template <class Number>
Number OptionLoads::cost_of(const Works& works, const std::vector<Number>& of_set) const {
  Number cost = 0;
  for (const Work& work : works)
    cost += static_cast<Number>(work.time) * of_set[work.devices * streams_.size() + work.stream];
  return cost;
}

template <class Number>
std::optional<std::pair<Number, LayoutSelection>> OptionLoads::least(const std::vector<Number>& weights) const {
  std::vector<Number> of_set(costs_.gangs().count() * streams_.size(), 0);
  for (std::size_t set = 0; set < costs_.gangs().count(); ++set) {
    for (const DeviceId device : costs_.gangs().at(static_cast<std::uint32_t>(set))) {
      for (std::uint32_t stream = 0; stream < streams_.size(); ++stream) {
        of_set[set * streams_.size() + stream] += weights[machine(device, stream)];
      }
    }
  }
  // Costs of subtrees, children first. What is not possible has none.
  std::vector<std::vector<std::optional<Number>>> cost(own_.size());
  std::vector<std::vector<std::uint32_t>> best_child(pairs_.size());  // by alternative of the parent
  for (std::size_t c = 0; c < own_.size(); ++c) {
    for (std::size_t a = 0; a < own_[c].size(); ++a) {
      cost[c].push_back(is_possible_[c][a] ? std::optional(cost_of(own_[c][a], of_set)) : std::nullopt);
    }
  }
  for (std::size_t i = order_.size(); i-- > 0;) {
    const std::uint32_t child = order_[i];
    if (!over_[child]) continue;
    const Pair& pair = pairs_[*over_[child]];
    for (std::size_t a = 0; a < own_[pair.parent].size(); ++a) {
      std::optional<Number> least_cost;
      std::uint32_t best = 0;
      for (std::uint32_t b = 0; b < own_[child].size(); ++b) {
        const std::size_t at = a * own_[child].size() + b;
        if (!pair.is_possible[at] || !cost[child][b]) continue;
        const Number own = *cost[child][b] + cost_of(pair.works[at], of_set);
        if (least_cost && own >= *least_cost) continue;
        least_cost = own;
        best = b;
      }
      std::optional<Number>& sum = cost[pair.parent][a];
      sum = sum && least_cost ? std::optional(*sum + *least_cost) : std::nullopt;
      best_child[*over_[child]].push_back(best);
    }
  }
  LayoutSelection selection(own_.size(), 0);
  Number total = 0;
  for (const std::uint32_t c : order_) {
    if (over_[c]) {
      selection[c] = best_child[*over_[c]][selection[pairs_[*over_[c]].parent]];
      continue;
    }
    std::optional<Number> best;
    for (std::uint32_t a = 0; a < own_[c].size(); ++a) {
      if (!cost[c][a] || (best && *cost[c][a] >= *best)) continue;
      best = cost[c][a];
      selection[c] = a;
    }
    if (!best) return std::nullopt;
    total += *best;
  }
  return std::pair(total, std::move(selection));
}

std::vector<double> OptionLoads::loads_of(const LayoutSelection& selection) const {
  std::vector<double> loads(ends_.begin(), ends_.end());
  const auto add_all = [&](const Works& works) {
    for (const Work& work : works) {
      for (const DeviceId device : costs_.gangs().at(work.devices)) {
        loads[machine(device, work.stream)] += static_cast<double>(work.time);
      }
    }
  };
  for (std::size_t c = 0; c < own_.size(); ++c) add_all(own_[c][selection[c]]);
  for (const Pair& pair : pairs_) {
    add_all(pair.works[selection[pair.parent] * own_[pair.child].size() + selection[pair.child]]);
  }
  return loads;
}

/// The bound of weights as whole numbers.
std::optional<std::int64_t> OptionLoads::exact(const std::vector<double>& weights) const {
  const double largest = *std::ranges::max_element(weights);
  std::vector<Wide> whole;
  Wide sum = 0;
  Wide ends = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    whole.push_back(static_cast<std::int64_t>(std::llround(weights[i] / largest * kLargestWeight)));
    sum += whole.back();
    ends += whole.back() * ends_[i];
  }
  const auto found = least(whole);
  if (!found || sum == 0) return std::nullopt;
  constexpr Wide kMost = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(std::min(kMost, (found->first + ends + sum - 1) / sum));
}

OptionLoads::Result OptionLoads::search(const Budget& budget) {
  Result result;
  const std::size_t count = ends_.size();
  std::vector<std::vector<double>> starts;
  for (std::uint32_t stream = 0; stream <= streams_.size(); ++stream) {
    std::vector<double> start(count, 0);
    for (std::size_t d = 0; d < problem_.cluster().device_count(); ++d) {
      for (std::uint32_t own = 0; own < streams_.size(); ++own) {
        const std::vector<std::string>& there = problem_.cluster().at(DeviceId(d)).streams;
        const bool is_there = std::ranges::find(there, streams_[own]) != there.end();
        if (is_there && (stream == own || stream == streams_.size())) start[machine(DeviceId(d), own)] = 1;
      }
    }
    if (std::ranges::max_element(start) != start.end() && *std::ranges::max_element(start) > 0) {
      starts.push_back(std::move(start));
    }
  }
  double best = -1;
  std::vector<double> best_weights;
  std::set<LayoutSelection> seen;
  const auto value = [&](const std::vector<double>& weights) -> std::optional<std::vector<double>> {
    const auto found = least(weights);
    if (!found) return std::nullopt;
    double sum = 0;
    double total = found->first;
    for (std::size_t i = 0; i < count; ++i) {
      sum += weights[i];
      total += weights[i] * static_cast<double>(ends_[i]);
    }
    if (total / sum > best) {
      best = total / sum;
      best_weights = weights;
    }
    if (seen.insert(found->second).second) result.selections.push_back(found->second);
    return loads_of(found->second);
  };
  for (const std::vector<double>& start : starts) {
    if (!value(start)) return result;
  }
  std::vector<double> weights = starts.back();
  for (int round = 0; round < kRounds && !budget.expired(); ++round) {
    const auto loads = value(weights);
    if (!loads) return result;
    const double largest = std::max(1.0, *std::ranges::max_element(*loads));
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double step = kStep / std::sqrt(1.0 + round);
      weights[i] *= std::exp(step * (*loads)[i] / largest);
      sum += weights[i];
    }
    for (double& weight : weights) weight /= sum;
  }
  result.bound = exact(best_weights);
  return result;
}

}  // namespace opweave
