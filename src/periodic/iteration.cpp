#include "periodic/iteration.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "order_search/order_search_bands.h"
#include "order_search/order_search_moves.h"
#include "order_search/order_search_timing.h"

namespace opweave::periodic {
namespace {

/// Complete laps of the kernel in the middle of a short iteration.
constexpr std::uint32_t kFewestLaps = 2;

/// More edges for a network, (earlier, later), each once. Its topological order need not follow them.
void add_edges(Network& network, const std::vector<std::pair<Node, Node>>& edges) {
  std::vector<std::vector<Node>> before(network.node_count);
  std::vector<std::vector<Node>> after(network.node_count);
  for (const auto& [earlier, later] : edges) {
    const auto known = network.predecessors[later];
    if (std::ranges::find(known, earlier) != known.end()) continue;
    before[later].push_back(earlier);
    after[earlier].push_back(later);
  }
  const auto extend = [&](detail::Lists<Node>& lists, const std::vector<std::vector<Node>>& additions) {
    detail::Lists<Node> result;
    for (Node node = 0; node < network.node_count; ++node) {
      const auto list = lists[node];
      result.items.insert(result.items.end(), list.begin(), list.end());
      result.items.insert(result.items.end(), additions[node].begin(), additions[node].end());
      result.close_list();
    }
    lists = std::move(result);
  };
  extend(network.predecessors, before);
  extend(network.successors, after);
}

/// The kernel later or earlier by whole periods, so that its first lap is number 0.
Kernel from_lap_zero(Kernel kernel) {
  Time first = std::numeric_limits<Time>::max();
  for (const Node node : kernel.body->nodes()) first = std::min(first, kernel.lap(node));
  for (const Node node : kernel.body->nodes()) kernel.starts[node] -= first * kernel.period;
  return kernel;
}

std::uint32_t last_lap(const Kernel& kernel) {
  Time last = 0;
  for (const Node node : kernel.body->nodes()) last = std::max(last, kernel.lap(node));
  return static_cast<std::uint32_t>(last);
}

}  // namespace

std::unique_ptr<Iteration> Iteration::create(const Problem& whole, const Kernel& given, const Example* example) {
  const Kernel kernel = from_lap_zero(given);
  std::vector<std::uint32_t> counts;
  for (const auto& list : microbatches_by_replica(whole)) counts.push_back(static_cast<std::uint32_t>(list.size()));
  const std::uint32_t least = *std::ranges::min_element(counts);
  const std::uint32_t ramp = last_lap(kernel);
  if (least < ramp + kFewestLaps) return nullptr;
  // Complete laps that belong to the ramps: there the order need not be the kernel's.
  const std::uint32_t free_laps = std::min(std::max(kFewestLaps, ramp / 3), (least - ramp - kFewestLaps) / 2);
  // Mostly the times settle in half as many laps as the ramp is long.
  const std::uint32_t wanted = ramp + 2 * free_laps + std::max(kFewestLaps, ramp / 2);
  const std::uint32_t left_out = least - std::min(least, wanted);
  for (std::uint32_t& count : counts) count -= left_out;
  std::unique_ptr<Iteration> iteration(new Iteration(whole, kernel, with_microbatches(whole, counts)));
  iteration->first_lap_ = ramp + free_laps;
  iteration->laps_ = least - left_out - ramp - 2 * free_laps;
  iteration->left_out_ = left_out;
  if (!iteration->connect()) return nullptr;
  iteration->assign_bands();
  iteration->let_ramps_fill_gaps();
  iteration->hold_together();
  const std::vector<Time> unrolled = iteration->starts_;
  bool fits = iteration->try_order(unrolled);
  if (example != nullptr) fits = iteration->try_order(iteration->starts_of_example(*example)) || fits;
  return fits ? std::move(iteration) : nullptr;
}

Iteration::Iteration(const Problem& whole, const Kernel& kernel, Problem problem)
    : whole_(whole), kernel_(kernel), least_period_(least_period(*kernel.body)), problem_(std::move(problem)) {}

bool Iteration::connect() {
  const LoopBody& body = *kernel_.body;
  const Problem& one = body.placed().problem();
  std::vector<ModeIndex> modes(problem_.task_count());
  for (std::size_t t = 0; t < modes.size(); ++t) {
    const Task& task = problem_.task(TaskId(t));
    modes[t] = body.placed().modes()[one.task_of(task.op, task.replica).index()];
  }
  placed_ = PlacedProblem::create(problem_, std::move(modes));
  if (!placed_) return false;
  with_fillers_ = order_search::build_network(*placed_);
  network_ = with_fillers_;
  network_.order_fillers();
  std::vector<std::uint32_t> repetition_of(problem_.settings().training.microbatches);
  for (const auto& list : microbatches_by_replica(problem_)) {
    for (std::size_t i = 0; i < list.size(); ++i) repetition_of[list[i]] = static_cast<std::uint32_t>(i);
  }
  body_node_.assign(network_.node_count, kNone);
  repetition_.assign(network_.node_count, 0);
  const auto is_repeated = [&](TaskId task) { return problem_.op(task).phase != Phase::kOptimizer; };
  for (Node node = 0; node < network_.node_count; ++node) {
    const ActivityId activity = network_.activity_of_node[node];
    if (placed_->is_task(activity)) {
      const Task& task = problem_.task(TaskId(activity));
      if (!is_repeated(TaskId(activity))) continue;
      body_node_[node] = body.node_of_task(task.op, task.replica);
      repetition_[node] = repetition_of[task.copy];
    } else {
      const NecessaryTransfer& transfer = placed_->transfer(activity);
      if (!is_repeated(*problem_.producer(transfer.value))) continue;
      const std::uint32_t microbatch = problem_.copy_of(transfer.value);
      body_node_[node] =
          body.node_of_transfer(problem_.tensor_of(transfer.value), problem_.settings().training.replica_of(microbatch),
                                transfer.destination);
      repetition_[node] = repetition_of[microbatch];
    }
    if (body_node_[node] == kNone) return false;
  }
  return true;
}

void Iteration::assign_bands() {
  const LoopBody& body = *kernel_.body;
  std::vector<Node> sequence = body.nodes();
  std::stable_sort(sequence.begin(), sequence.end(),
                   [&](Node a, Node b) { return kernel_.phase(a) < kernel_.phase(b); });
  std::vector<std::uint32_t> rank(body.network().node_count, 0);
  for (std::size_t i = 0; i < sequence.size(); ++i) rank[sequence[i]] = static_cast<std::uint32_t>(i);

  network_.bands.resize(network_.node_count);
  starts_.resize(network_.node_count);
  std::map<Node, Node> last_but_one;
  const std::uint32_t end = first_lap_ + laps_;
  Time latest = 0;
  for (Node node = 0; node < network_.node_count; ++node) {
    const Node repeated = body_node_[node];
    if (repeated == kNone) continue;
    starts_[node] = kernel_.starts[repeated] + kernel_.period * repetition_[node];
    latest = std::max(latest, starts_[node] + network_.duration[node]);
    const auto lap = static_cast<std::uint32_t>(kernel_.lap(repeated)) + repetition_[node];
    if (lap < first_lap_) continue;
    order_search::Band& band = network_.bands[node];
    band.number = 1 + std::min(lap, end) - first_lap_;
    if (lap >= end) continue;
    band.rank = rank[repeated];
    if (lap + 2 == end) last_but_one[repeated] = node;
  }
  for (const Node node : network_.topological_order) {
    if (body_node_[node] != kNone) {
      const std::uint32_t number = network_.bands[node].number;
      if (number == laps_ && network_.bands[node].is_fixed())
        steps_.emplace_back(last_but_one.at(body_node_[node]), node);
      continue;
    }
    network_.bands[node].number = laps_ + 1;
    starts_[node] = latest;
  }
}

/// Those of the ramp-up have run when the first lap begins on their resource, and those of the ramp-down wait for
/// the end of the last: what runs in a lap has to be part of it.
void Iteration::let_ramps_fill_gaps() {
  with_fillers_.bands = network_.bands;
  const auto place = [&](Node node) { return std::pair(network_.bands[node].number, network_.bands[node].rank); };
  std::vector<Node> first(with_fillers_.resource_count, kNone);
  std::vector<Node> last(with_fillers_.resource_count, kNone);
  for (Node node = 0; node < network_.node_count; ++node) {
    if (!network_.bands[node].is_fixed()) continue;
    with_fillers_.fills_gaps[node] = false;
    for (const std::uint32_t resource : with_fillers_.resources[node]) {
      if (first[resource] == kNone || place(node) < place(first[resource])) first[resource] = node;
      if (last[resource] == kNone || place(node) > place(last[resource])) last[resource] = node;
    }
  }
  std::vector<std::pair<Node, Node>> edges;
  for (Node node = 0; node < network_.node_count; ++node) {
    if (!with_fillers_.fills_gaps[node]) continue;
    const std::uint32_t resource = with_fillers_.resources[node].front();
    if (first[resource] == kNone) {
      with_fillers_.fills_gaps[node] = false;
    } else if (network_.bands[node].number == 0) {
      edges.emplace_back(node, first[resource]);
    } else {
      edges.emplace_back(last[resource], node);
    }
  }
  add_edges(with_fillers_, edges);
}

/// Without this a resource with time to spare would run ahead of the others, more and more from lap to lap, where
/// memory lets it. The first node of every resource's lap waits for that of the busiest resource, as many laps
/// ago as in the kernel, and the other way round: all then grow alike, and no later than the kernel does.
void Iteration::hold_together() {
  const LoopBody& body = *kernel_.body;
  const std::size_t resources = body.network().resource_count;
  std::vector<Node> first(resources, kNone);
  std::size_t busiest = 0;
  Time most = -1;
  for (std::size_t resource = 0; resource < resources; ++resource) {
    Time load = 0;
    for (const Node node : body.on_resource(resource)) {
      load += body.network().duration[node];
      if (body.network().duration[node] == 0) continue;  // ties with others in the order
      if (first[resource] == kNone || kernel_.phase(node) < kernel_.phase(first[resource])) first[resource] = node;
    }
    if (first[resource] != kNone && load > most) {
      most = load;
      busiest = resource;
    }
  }
  if (most < 0) return;
  std::vector<std::vector<Node>> in_lap(body.network().node_count);
  for (Node node = 0; node < network_.node_count; ++node) {
    const order_search::Band& band = network_.bands[node];
    if (!band.is_fixed()) continue;
    std::vector<Node>& list = in_lap[body_node_[node]];
    list.resize(laps_, kNone);
    list[band.number - 1] = node;
  }
  std::vector<std::pair<Node, Node>> edges;
  const auto follow = [&](Node earlier, Node later) {
    const Time excess = kernel_.phase(earlier) + body.network().duration[earlier] - kernel_.phase(later);
    const auto back = static_cast<std::size_t>(excess <= 0 ? 0 : (excess + kernel_.period - 1) / kernel_.period);
    for (std::size_t lap = back; lap < laps_; ++lap) {
      edges.emplace_back(in_lap[earlier][lap - back], in_lap[later][lap]);
    }
  };
  for (std::size_t resource = 0; resource < resources; ++resource) {
    if (resource == busiest || first[resource] == kNone || first[resource] == first[busiest]) continue;
    follow(first[busiest], first[resource]);
    follow(first[resource], first[busiest]);
  }
  add_edges(network_, edges);
  add_edges(with_fillers_, edges);
}

std::optional<Time> Iteration::steady_period(std::span<const Time> ends) const {
  const auto length = [&](const std::pair<Node, Node>& step) { return ends[step.second] - ends[step.first]; };
  const Time period = length(steps_.front());
  const bool is_steady = std::ranges::all_of(steps_, [&](const auto& step) { return length(step) == period; });
  return is_steady ? std::optional(period) : std::nullopt;
}

bool Iteration::take_if_better(std::span<const Time> ends, Time makespan) {
  // No order of this kernel has a shorter period than its busiest resource allows.
  const auto is_better = [&](Time whole) { return !best_makespan_ || whole < *best_makespan_; };
  if (!is_better(makespan + least_period_ * left_out_)) return false;
  std::optional<Time> period = kernel_.period;
  Delay delay;
  if (left_out_ > 0) period = steady_period(ends);
  if (!period) {
    period = kernel_.period;
    delay = delay_to_kernel(ends);
  }
  const Time whole = makespan + *period * left_out_ + delay.of_rest;
  if (!is_better(whole)) return false;
  best_makespan_ = whole;
  period_ = *period;
  for (Node node = 0; node < network_.node_count; ++node) {
    starts_[node] = ends[node] - network_.duration[node];
    const order_search::Band& band = network_.bands[node];
    if (band.number > laps_) starts_[node] += delay.of_rest;
    if (delay.kernel_at && band.is_fixed()) starts_[node] = *delay.kernel_at + in_kernel(node);
  }
  return true;
}

Time Iteration::in_kernel(Node node) const {
  return kernel_.starts[body_node_[node]] + kernel_.period * repetition_[node];
}

/// The laps put off until all of them are as in the kernel, and what comes after by as much as any node of theirs:
/// then nobody starts before what it waits for, as each wait is within the ramp-up, from it, within the kernel, or of
/// the rest for something that was put off by no more than itself.
Iteration::Delay Iteration::delay_to_kernel(std::span<const Time> ends) const {
  Delay delay;
  Time at = std::numeric_limits<Time>::min();
  Time earliest = std::numeric_limits<Time>::max();
  for (Node node = 0; node < network_.node_count; ++node) {
    if (!network_.bands[node].is_fixed()) continue;
    const Time offset = ends[node] - network_.duration[node] - in_kernel(node);
    at = std::max(at, offset);
    earliest = std::min(earliest, offset);
  }
  delay.kernel_at = at;
  delay.of_rest = at - earliest;
  return delay;
}

/// True if the order of these starts within each band fits in memory and is better than what is known.
bool Iteration::try_order(std::span<const Time> starts) {
  constexpr double kMakespanAlone = 0;
  bool is_better = false;
  for (const Network* network : {&network_, &with_fillers_}) {
    order_search::Timing timing(*network, kMakespanAlone);
    const order_search::Orders orders(*network, starts, 1);
    if (!timing.evaluate(orders.order(), 0)) continue;
    timing.accept();
    is_better |= take_if_better(timing.ends(), timing.cost().makespan);
  }
  return is_better;
}

/// Ramp-up as in the first repetitions of the example, ramp-down as in its last.
std::vector<Time> Iteration::starts_of_example(const Example& example) const {
  const auto microbatches = microbatches_by_replica(example.problem);
  const auto here = microbatches_by_replica(problem_);
  std::map<std::pair<ValueId, DeviceId>, Time> arrivals;
  for (const Transfer& transfer : example.schedule.transfers) {
    arrivals[{transfer.value, transfer.destination}] = transfer.start.value();
  }
  std::vector<Time> starts = starts_;
  for (Node node = 0; node < network_.node_count; ++node) {
    const order_search::Band& band = network_.bands[node];
    if (band.is_fixed() || body_node_[node] == kNone) continue;
    const ActivityId activity = network_.activity_of_node[node];
    const bool is_task = placed_->is_task(activity);
    const std::uint32_t microbatch =
        is_task ? problem_.task(TaskId(activity)).copy : problem_.copy_of(placed_->transfer(activity).value);
    const std::uint32_t replica = problem_.settings().training.replica_of(microbatch);
    const std::size_t there = microbatches[replica].size();
    std::size_t index = repetition_[node];
    if (band.number > 0) index += there - std::min(there, here[replica].size());
    if (index >= there) continue;
    const std::uint32_t copy = microbatches[replica][index];
    if (is_task) {
      const TaskId task = example.problem.task_of(problem_.task(TaskId(activity)).op, copy);
      starts[node] = example.schedule.tasks[task.index()].start.value();
    } else {
      const NecessaryTransfer& transfer = placed_->transfer(activity);
      const auto found =
          arrivals.find({example.problem.value_of(problem_.tensor_of(transfer.value), copy), transfer.destination});
      if (found != arrivals.end()) starts[node] = found->second;
    }
  }
  return starts;
}

void Iteration::improve(const Budget& budget, const OrderSearchOptions& options,
                        const std::function<void(const Iteration&)>& on_improvement) {
  order_search::improve_within_bands(*placed_, with_fillers_, network_, starts_, budget, options,
                                     [&](std::span<const Time> ends, Time makespan) {
                                       if (take_if_better(ends, makespan)) on_improvement(*this);
                                     });
}

Schedule Iteration::schedule() const {
  std::vector<Time> ends = starts_;
  for (Node node = 0; node < network_.node_count; ++node) ends[node] += network_.duration[node];
  const Schedule brief = placed_->schedule(order_search::activity_starts(*placed_, network_, ends));
  const auto from = microbatches_by_replica(problem_);
  const auto to = microbatches_by_replica(whole_);
  struct Place {
    std::uint32_t replica = 0;
    std::uint32_t repetition = 0;
  };
  std::vector<Place> places(problem_.settings().training.microbatches);
  for (std::uint32_t replica = 0; replica < from.size(); ++replica) {
    for (std::uint32_t i = 0; i < from[replica].size(); ++i) places[from[replica][i]] = {replica, i};
  }
  // Calls put(microbatch, delay) for everything that something of a microbatch, in a band, stands for.
  const auto for_each = [&](std::uint32_t microbatch, std::uint32_t band, auto put) {
    const Place& place = places[microbatch];
    const std::uint32_t first = band > laps_ ? left_out_ : 0;
    const std::uint32_t last = band >= laps_ ? left_out_ : 0;
    for (std::uint32_t k = first; k <= last; ++k) {
      put(to[place.replica][place.repetition + k], Duration(period_ * k));
    }
  };
  const Duration at_end(period_ * left_out_);
  Schedule result;
  result.tasks.resize(whole_.task_count());
  std::vector<std::uint32_t> band_of_task(problem_.task_count());
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const Task& task = problem_.task(TaskId(t));
    const TaskAssignment& assignment = brief.tasks[t];
    const Node node = network_.node_of_activity[t];
    band_of_task[t] = network_.bands[node].number;
    if (body_node_[node] == kNone) {
      result.tasks[whole_.task_of(task.op, task.copy).index()] = {assignment.mode, assignment.start + at_end};
      continue;
    }
    for_each(task.copy, band_of_task[t], [&](std::uint32_t microbatch, Duration delay) {
      result.tasks[whole_.task_of(task.op, microbatch).index()] = {assignment.mode, assignment.start + delay};
    });
  }
  for (std::size_t i = 0; i < brief.transfers.size(); ++i) {
    const Transfer& transfer = brief.transfers[i];
    const TensorId tensor = problem_.tensor_of(transfer.value);
    const Node node = network_.node_of_activity[problem_.task_count() + i];
    const TaskId producer = *problem_.producer(transfer.value);
    const auto add = [&](std::uint32_t copy, Duration delay) {
      result.transfers.push_back({whole_.value_of(tensor, copy), transfer.source, transfer.destination,
                                  transfer.start + delay, transfer.end + delay});
    };
    if (problem_.op(producer).phase == Phase::kOptimizer) {
      add(problem_.copy_of(transfer.value), at_end);
    } else {
      for_each(problem_.copy_of(transfer.value),
               node == kNone ? band_of_task[producer.index()] : network_.bands[node].number, add);
    }
  }
  return result;
}

}  // namespace opweave::periodic
