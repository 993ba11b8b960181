#include "placement_search/routing_graph.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "list_scheduling/placed_problem.h"
#include "opweave/error.h"

namespace opweave::routing {

Graph::Graph(std::shared_ptr<const Model> model, const Schedule& schedule)
    : model_(std::move(model)),
      slots_(model_->slots()),
      option_(model_->group_count(), 0),
      duration_(model_->task_count()),
      arc_lag_(model_->arc_count(), 0),
      out_lag_(model_->arc_count(), 0),
      first_(model_->resource_count(), kNone),
      before_(model_->task_count() * slots_, kNone),
      after_(model_->task_count() * slots_, kNone),
      is_linked_(model_->task_count(), 1),
      order_(model_->task_count()),
      rank_(model_->task_count()),
      head_(model_->task_count()),
      tail_(model_->task_count()),
      head_without_(model_->task_count()),
      tail_without_(model_->task_count()),
      is_ancestor_(model_->task_count()),
      is_descendant_(model_->task_count()),
      waiting_(model_->task_count()) {
  for (std::uint32_t g = 0; g < model_->group_count(); ++g) {
    const auto first = static_cast<Node>(model_->tasks_of(g).front().index());
    const ModeIndex mode = schedule.tasks[first].mode;
    std::uint32_t option = 0;
    while (option < model_->option_count(g) && model_->mode(first, option) != mode) ++option;
    if (option == model_->option_count(g)) throw InternalError("schedule to be rerouted uses an unknown mode");
    take_option(g, option);
  }
  std::iota(order_.begin(), order_.end(), 0U);
  const auto key = [&](Node node) {
    const Time start = schedule.tasks[node].start.value();
    return std::tuple(start, start + duration_[node], node);
  };
  std::sort(order_.begin(), order_.end(), [&](Node a, Node b) { return key(a) < key(b); });
  std::vector<Node> last(model_->resource_count(), kNone);
  for (const Node node : order_) {
    const auto occupied = resources(node);
    for (std::size_t k = 0; k < occupied.size(); ++k) {
      link_behind(node, k, occupied[k], last[occupied[k]]);
      last[occupied[k]] = node;
    }
  }
  sort_and_measure();
}

Schedule Graph::schedule() const {
  const Problem& problem = model_->problem();
  std::vector<ModeIndex> modes(order_.size());
  for (Node task = 0; task < modes.size(); ++task) modes[task] = model_->mode(task, option(task));
  const std::optional<PlacedProblem> placed = PlacedProblem::create(problem, std::move(modes));
  if (!placed) throw InternalError("routing search left a value without a route");
  std::vector<std::int64_t> starts(head_);
  for (auto activity = static_cast<ActivityId>(starts.size()); activity < placed->activity_count(); ++activity) {
    starts.push_back(end(static_cast<Node>(problem.producer(placed->transfer(activity).value)->index())));
  }
  return placed->schedule(starts);
}

std::size_t Graph::slot_on(Node task, std::uint32_t resource) const {
  if (slots_ == 1) return task;
  const auto occupied = resources(task);
  std::size_t k = 0;
  while (occupied[k] != resource) ++k;
  return slot(task, k);
}

void Graph::unlink(Node task) {
  const auto occupied = resources(task);
  for (std::size_t k = 0; k < occupied.size(); ++k) {
    const Node before = before_[slot(task, k)];
    const Node after = after_[slot(task, k)];
    (before == kNone ? first_[occupied[k]] : after_[slot_on(before, occupied[k])]) = after;
    if (after != kNone) before_[slot_on(after, occupied[k])] = before;
    before_[slot(task, k)] = kNone;
    after_[slot(task, k)] = kNone;
  }
  is_linked_[task] = 0;
}

void Graph::link_behind(Node task, std::size_t k, std::uint32_t resource, Node behind) {
  Node& next = behind == kNone ? first_[resource] : after_[slot_on(behind, resource)];
  const Node after = next;
  next = task;
  before_[slot(task, k)] = behind;
  after_[slot(task, k)] = after;
  if (after != kNone) before_[slot_on(after, resource)] = task;
  is_linked_[task] = 1;
}

void Graph::take_option(std::uint32_t group, std::uint32_t option) {
  option_[group] = option;
  for (const TaskId id : model_->tasks_of(group)) {
    const auto task = static_cast<Node>(id.index());
    duration_[task] = model_->duration(task, option);
  }
  // Lags are kept at both ends of an edge.
  for (const TaskId id : model_->tasks_of(group)) {
    const auto task = static_cast<Node>(id.index());
    const auto in = model_->predecessors(task);
    for (std::size_t i = 0; i < in.size(); ++i) {
      if (in[i].table == 0) continue;
      const Time lag = model_->lag(in[i].table, this->option(in[i].task), option);
      arc_lag_[model_->first_predecessor(task) + i] = out_lag_[in[i].twin] = lag;
    }
    const auto out = model_->successors(task);
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (out[i].table == 0) continue;
      const Time lag = model_->lag(out[i].table, option, this->option(out[i].task));
      out_lag_[model_->first_successor(task) + i] = arc_lag_[out[i].twin] = lag;
    }
  }
}

bool Graph::has_routes(std::uint32_t group) const {
  return std::ranges::all_of(model_->tasks_of(group), [&](TaskId id) {
    const auto task = static_cast<Node>(id.index());
    const std::size_t in = model_->first_predecessor(task);
    const std::size_t out = model_->first_successor(task);
    const auto is_possible = [](Time lag) { return lag < kNoRoute; };
    return std::all_of(arc_lag_.data() + in, arc_lag_.data() + in + model_->predecessors(task).size(), is_possible) &&
           std::all_of(out_lag_.data() + out, out_lag_.data() + out + model_->successors(task).size(), is_possible);
  });
}

Node Graph::critical_predecessor(Node task, Random& random) const {
  Node chosen = kNone;
  std::uint32_t found = 0;
  const auto consider = [&](Node earlier, Time lag) {
    if (end(earlier) + lag == head_[task] && random.below(++found) == 0) chosen = earlier;
  };
  const auto arcs = model_->predecessors(task);
  const std::size_t first = model_->first_predecessor(task);
  for (std::size_t i = 0; i < arcs.size(); ++i) consider(arcs[i].task, arc_lag_[first + i]);
  for (std::size_t k = 0; k < resources(task).size(); ++k) {
    if (before_[slot(task, k)] != kNone) consider(before_[slot(task, k)], 0);
  }
  return chosen;
}

void Graph::lift(Node task) {
  lifted_ = task;
  const std::uint32_t rank = rank_[task];
  std::copy(head_.begin(), head_.end(), head_without_.begin());
  std::copy(tail_.begin(), tail_.end(), tail_without_.begin());
  std::fill(is_ancestor_.begin(), is_ancestor_.end(), char{0});
  std::fill(is_descendant_.begin(), is_descendant_.end(), char{0});
  // The lifted task itself counts for nothing in the longest paths, but it passes ancestry on along its edges.
  is_ancestor_[task] = is_descendant_[task] = 1;
  makespan_without_ = 0;
  for (std::size_t r = 0; r < rank; ++r) makespan_without_ = std::max(makespan_without_, end(order_[r]));
  for (std::size_t r = rank + 1; r < order_.size(); ++r) {
    const Node node = order_[r];
    Time head = 0;
    char descends = 0;
    const auto arcs = model_->predecessors(node);
    const std::size_t first = model_->first_predecessor(node);
    for (std::size_t i = 0; i < arcs.size(); ++i) {
      const Node earlier = arcs[i].task;
      descends = static_cast<char>(descends | is_descendant_[earlier]);
      if (earlier != task) head = std::max(head, head_without_[earlier] + duration_[earlier] + arc_lag_[first + i]);
    }
    const std::size_t occupied = slots_ == 1 ? 1 : resources(node).size();
    for (std::size_t k = 0; k < occupied; ++k) {
      Node earlier = before_[slot(node, k)];
      if (earlier == task) earlier = before_[slot_on(task, resources(node)[k])];
      if (earlier == kNone) continue;
      descends = static_cast<char>(descends | is_descendant_[earlier]);
      head = std::max(head, head_without_[earlier] + duration_[earlier]);
    }
    head_without_[node] = head;
    is_descendant_[node] = descends;
    makespan_without_ = std::max(makespan_without_, head + duration_[node]);
  }
  for (std::size_t r = rank; r-- > 0;) {
    const Node node = order_[r];
    Time tail = 0;
    char ascends = 0;
    const auto arcs = model_->successors(node);
    const std::size_t first = model_->first_successor(node);
    for (std::size_t i = 0; i < arcs.size(); ++i) {
      const Node later = arcs[i].task;
      ascends = static_cast<char>(ascends | is_ancestor_[later]);
      if (later != task) tail = std::max(tail, out_lag_[first + i] + duration_[later] + tail_without_[later]);
    }
    const std::size_t occupied = slots_ == 1 ? 1 : resources(node).size();
    for (std::size_t k = 0; k < occupied; ++k) {
      Node later = after_[slot(node, k)];
      if (later == task) later = after_[slot_on(task, resources(node)[k])];
      if (later == kNone) continue;
      ascends = static_cast<char>(ascends | is_ancestor_[later]);
      tail = std::max(tail, duration_[later] + tail_without_[later]);
    }
    tail_without_[node] = tail;
    is_ancestor_[node] = ascends;
  }
}

Time Graph::ready_under(Node task, std::uint32_t option) const {
  Time ready = 0;
  for (const Model::Arc& arc : model_->predecessors(task)) {
    const Time lag = arc.table == 0 ? 0 : model_->lag(arc.table, this->option(arc.task), option);
    ready = std::max(ready, head_without_[arc.task] + duration_[arc.task] + lag);
  }
  return ready;
}

Time Graph::tail_under(Node task, std::uint32_t option) const {
  Time tail = 0;
  for (const Model::Arc& arc : model_->successors(task)) {
    const Time lag = arc.table == 0 ? 0 : model_->lag(arc.table, option, this->option(arc.task));
    tail = std::max(tail, lag + duration_[arc.task] + tail_without_[arc.task]);
  }
  return tail;
}

template <class Offer>
void Graph::for_each_place(std::uint32_t option, Offer offer) {
  if (model_->resources(lifted_, option).size() == 1) {
    for_each_place_on_one(option, offer);
  } else {
    for_each_place_on_several(option, offer);
  }
}

/// What precedes the lifted task somehow is first on the resource, what it precedes is last; in between it may go
/// anywhere.
template <class Offer>
void Graph::for_each_place_on_one(std::uint32_t option, Offer offer) {
  const Node task = lifted_;
  const Time ready = ready_under(task, option);
  const Time tail = tail_under(task, option);
  if (ready >= kNoRoute || tail >= kNoRoute) return;
  const Time duration = model_->duration(task, option);
  const std::uint32_t resource = model_->resources(task, option)[0];
  const Node present = option == this->option(task) && is_linked_[task] ? before_[slot(task, 0)] : task;
  Node behind = kNone;
  Node node = first_[resource];
  const auto advance = [&] {
    if (node != task) behind = node;
    node = after_[slot_on(node, resource)];
  };
  while (node != kNone && (node == task || is_ancestor_[node])) advance();
  for (;;) {
    if (node == task) advance();
    const Time free = behind == kNone ? 0 : head_without_[behind] + duration_[behind];
    const Time rest = node == kNone ? 0 : duration_[node] + tail_without_[node];
    if (behind != present) offer(behind, Time{0}, std::max(ready, free) + duration + std::max(tail, rest));
    if (node == kNone || is_descendant_[node]) return;
    advance();
  }
}

Node Graph::behind_at(std::uint32_t resource, Time moment) const {
  Node behind = kNone;
  for (Node node = first_[resource]; node != kNone; node = after_[slot_on(node, resource)]) {
    if (node == lifted_) continue;
    if (is_descendant_[node] || (!is_ancestor_[node] && head_without_[node] >= moment)) break;
    behind = node;
  }
  return behind;
}

/// On all resources it goes behind what starts before one moment. A path from something behind it to something
/// ahead of it would have to lead back in time, so the graph stays acyclic.
template <class Offer>
void Graph::for_each_place_on_several(std::uint32_t option, Offer offer) {
  const Node task = lifted_;
  const Time ready = ready_under(task, option);
  const Time tail = tail_under(task, option);
  if (ready >= kNoRoute || tail >= kNoRoute) return;
  const Time duration = model_->duration(task, option);
  const auto resources_there = model_->resources(task, option);
  moments_.clear();
  for (const std::uint32_t resource : resources_there) {
    for (Node node = first_[resource]; node != kNone; node = after_[slot_on(node, resource)]) {
      if (node != task) moments_.push_back(head_without_[node]);
    }
  }
  moments_.push_back(std::numeric_limits<Time>::max());
  std::sort(moments_.begin(), moments_.end());
  moments_.erase(std::unique(moments_.begin(), moments_.end()), moments_.end());
  for (const Time moment : moments_) {
    Time start = ready;
    Time rest = tail;
    bool is_present = option == this->option(task) && is_linked_[task];
    for (std::size_t k = 0; k < resources_there.size(); ++k) {
      const std::uint32_t resource = resources_there[k];
      const Node behind = behind_at(resource, moment);
      Node next = behind == kNone ? first_[resource] : after_[slot_on(behind, resource)];
      if (next == task) next = after_[slot_on(task, resource)];
      if (behind != kNone) start = std::max(start, head_without_[behind] + duration_[behind]);
      if (next != kNone) rest = std::max(rest, duration_[next] + tail_without_[next]);
      is_present = is_present && before_[slot(task, k)] == behind;
    }
    if (!is_present) offer(kNone, moment, start + duration + rest);
  }
}

std::optional<Insertion> Graph::best_insertion(std::uint32_t option, Random& random) {
  Insertion best{lifted_, option, kNone, 0, 0, std::numeric_limits<Time>::max()};
  std::uint32_t ties = 0;
  for_each_place(option, [&](Node behind, Time moment, Time through) {
    if (through > best.through) return;
    ties = through < best.through ? 1 : ties + 1;
    if (ties > 1 && random.below(ties) != 0) return;
    best.behind = behind;
    best.moment = moment;
    best.through = through;
  });
  if (ties == 0) return std::nullopt;
  best.makespan = std::max(best.through, makespan_without_);
  return best;
}

std::optional<Insertion> Graph::random_insertion(std::uint32_t option, Random& random) {
  Insertion chosen{lifted_, option, kNone, 0, 0, 0};
  std::uint32_t seen = 0;
  for_each_place(option, [&](Node behind, Time moment, Time through) {
    if (random.below(++seen) == 0) chosen = {lifted_, option, behind, moment, 0, through};
  });
  if (seen == 0) return std::nullopt;
  chosen.makespan = std::max(chosen.through, makespan_without_);
  return chosen;
}

void Graph::apply(const Insertion& insertion) {
  const Node task = insertion.task;
  const auto there = model_->resources(task, insertion.option);
  std::vector<Node> behind{insertion.behind};
  if (there.size() > 1) {
    if (lifted_ != task) lift(task);
    behind.clear();
    for (const std::uint32_t resource : there) behind.push_back(behind_at(resource, insertion.moment));
  }
  if (is_linked_[task]) unlink(task);
  if (insertion.option != option(task)) take_option(model_->group_of(task), insertion.option);
  for (std::size_t k = 0; k < there.size(); ++k) link_behind(task, k, there[k], behind[k]);
  sort_and_measure();
}

bool Graph::reroute(std::uint32_t group, std::uint32_t option) {
  const auto tasks = model_->tasks_of(group);
  for (const TaskId id : tasks) {
    if (is_linked_[id.index()]) unlink(static_cast<Node>(id.index()));
  }
  take_option(group, option);
  if (!has_routes(group)) return false;
  sort_and_measure();
  Random random(group + 1);
  for (const TaskId id : tasks) {
    lift(static_cast<Node>(id.index()));
    const std::optional<Insertion> place = best_insertion(option, random);
    if (!place) return false;
    apply(*place);
  }
  return true;
}

/// Kahn's algorithm, with the heads on the way and the tails on the way back.
void Graph::sort_and_measure() {
  lifted_ = kNone;
  const std::size_t count = order_.size();
  std::size_t done = 0;
  std::size_t sorted = 0;
  for (Node node = 0; node < count; ++node) {
    auto waiting = static_cast<std::uint32_t>(model_->predecessors(node).size());
    for (std::size_t k = 0; k < slots_; ++k) waiting += before_[slot(node, k)] == kNone ? 0U : 1U;
    waiting_[node] = waiting;
    head_[node] = 0;
    if (waiting == 0) order_[sorted++] = node;
  }
  makespan_ = 0;
  while (done < sorted) {
    const Node node = order_[done];
    rank_[node] = static_cast<std::uint32_t>(done++);
    const Time end = head_[node] + duration_[node];
    makespan_ = std::max(makespan_, end);
    const auto arcs = model_->successors(node);
    const std::size_t first = model_->first_successor(node);
    for (std::size_t i = 0; i < arcs.size(); ++i) {
      const Node later = arcs[i].task;
      head_[later] = std::max(head_[later], end + out_lag_[first + i]);
      if (--waiting_[later] == 0) order_[sorted++] = later;
    }
    for (std::size_t k = 0; k < slots_; ++k) {
      const Node later = after_[slot(node, k)];
      if (later == kNone) continue;
      head_[later] = std::max(head_[later], end);
      if (--waiting_[later] == 0) order_[sorted++] = later;
    }
  }
  if (sorted != count) throw InternalError("routing search made a cycle");
  for (std::size_t r = count; r-- > 0;) {
    const Node node = order_[r];
    Time tail = 0;
    const auto arcs = model_->successors(node);
    const std::size_t first = model_->first_successor(node);
    for (std::size_t i = 0; i < arcs.size(); ++i) {
      tail = std::max(tail, out_lag_[first + i] + duration_[arcs[i].task] + tail_[arcs[i].task]);
    }
    for (std::size_t k = 0; k < slots_; ++k) {
      const Node later = after_[slot(node, k)];
      if (later != kNone) tail = std::max(tail, duration_[later] + tail_[later]);
    }
    tail_[node] = tail;
  }
}

}  // namespace opweave::routing
