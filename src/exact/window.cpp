#include "exact/window.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "exact/engine.h"
#include "exact/retime.h"

namespace opweave::exact {
namespace {

using Role = Frame::Role;

/// Sorts tasks and transfers of a schedule into before, within and after a window, and finds the longest
/// paths of what comes after.
class FrameBuilder {
 public:
  FrameBuilder(const Problem& problem, TimeUnit unit, const Schedule& schedule, std::span<const TaskId> window)
      : problem_(problem),
        unit_(unit),
        schedule_(schedule),
        rough_(rough(schedule)),
        graph_(problem, rough_),
        in_window_(problem.task_count(), false) {
    for (const TaskId task : window) in_window_[task.index()] = true;
  }

  Window build() {
    std::vector<bool> free_groups(problem_.group_count());
    for (std::size_t g = 0; g < free_groups.size(); ++g) {
      const auto tasks = problem_.tasks_of(GroupId(g));
      free_groups[g] = std::all_of(tasks.begin(), tasks.end(), [&](TaskId task) { return in_window_[task.index()]; });
    }
    space_ = std::make_shared<const ScheduleSpace>(problem_, unit_, schedule_, free_groups);
    find_span();
    set_task_roles();
    set_delivery_roles(free_groups);
    set_tails();
    Window result{space_, std::move(frame_), 0};
    const auto moves = [](Role role) { return role == Role::kFree || role == Role::kOrdered; };
    result.moving =
        static_cast<std::size_t>(std::count_if(result.frame.tasks.begin(), result.frame.tasks.end(), moves) +
                                 std::count_if(result.frame.deliveries.begin(), result.frame.deliveries.end(), moves));
    return result;
  }

 private:
  [[nodiscard]] std::int64_t ticks(Duration time) const { return time.value() / unit_.length.value(); }
  [[nodiscard]] std::int64_t start(std::size_t task) const { return ticks(schedule_.tasks[task].start); }

  void find_span() {
    frame_.begin = std::numeric_limits<std::int64_t>::max();
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      const std::int64_t end = ticks(schedule_.end(problem_, TaskId(t)));
      frame_.end = std::max(frame_.end, end);
      if (!in_window_[t]) continue;
      frame_.begin = std::min(frame_.begin, start(t));
      window_end_ = std::max(window_end_, end);
    }
  }

  [[nodiscard]] Role role_at(std::int64_t start) const {
    if (start < frame_.begin) return Role::kFrozen;
    return start >= window_end_ ? Role::kLater : Role::kOrdered;
  }

  void set_task_roles() {
    frame_.tasks.resize(problem_.task_count());
    for (std::size_t t = 0; t < problem_.task_count(); ++t) frame_.task_starts.push_back(start(t));
    for (std::size_t t = problem_.task_count(); t-- > 0;) {
      Role role = in_window_[t] ? Role::kFree : role_at(start(t));
      // Tasks of no duration: one at the end of the window may precede another that is in it.
      if (role == Role::kLater) {
        for (const TaskId after : problem_.successors(TaskId(t))) {
          if (frame_.tasks[after.index()] != Role::kLater) role = Role::kOrdered;
        }
      }
      frame_.tasks[t] = role;
    }
  }

  void set_delivery_roles(const std::vector<bool>& free_groups) {
    const std::vector<ScheduleSpace::Delivery>& deliveries = space_->deliveries();
    node_of_delivery_.assign(deliveries.size(), OrderGraph::kNone);
    frame_.delivery_starts.assign(deliveries.size(), 0);
    frame_.delivery_sources.assign(deliveries.size(), 0);
    for (std::size_t s = 0; s < deliveries.size(); ++s) {
      const TaskId producer = *problem_.producer(deliveries[s].value);
      bool may_be_read_elsewhere = free_groups[problem_.group_of(producer).index()];
      bool touches_window = in_window_[producer.index()];
      bool is_read_in_frame = false;
      for (const TaskId consumer : problem_.consumers(deliveries[s].value)) {
        const GroupId group = problem_.group_of(consumer);
        if (space_->options_on(group, deliveries[s].destination).empty()) continue;
        may_be_read_elsewhere = may_be_read_elsewhere || free_groups[group.index()];
        touches_window = touches_window || in_window_[consumer.index()];
        is_read_in_frame = is_read_in_frame || frame_.tasks[consumer.index()] != Role::kLater;
      }
      const OrderGraph::Node node = graph_.transfer_node(deliveries[s].value, deliveries[s].destination);
      Role role = Role::kFree;
      if (node != OrderGraph::kNone) {
        const RoughSchedule::Transfer& transfer = graph_.transfers()[node - problem_.task_count()];
        const std::int64_t begun = ticks(Duration(static_cast<std::int64_t>(transfer.start)));
        const auto& sources = deliveries[s].sources;
        for (std::uint32_t k = 0; k < sources.size(); ++k) {
          if (sources[k].device == transfer.source) frame_.delivery_sources[s] = k;
        }
        node_of_delivery_[s] = node;
        frame_.delivery_starts[s] = begun;
        role = role_at(begun);
        if (role == Role::kLater && (is_read_in_frame || may_be_read_elsewhere)) role = Role::kFree;
        if (role == Role::kOrdered && (touches_window || may_be_read_elsewhere)) role = Role::kFree;
        // What was sent from a place that is to be decided anew is to be sent anew.
        if (free_groups[problem_.group_of(producer).index()]) role = Role::kFree;
      }
      frame_.deliveries.push_back(role);
    }
  }

  void set_tails() {
    const std::size_t tasks = problem_.task_count();
    std::vector<bool> is_later(graph_.node_count(), false);
    for (std::size_t t = 0; t < tasks; ++t) is_later[t] = frame_.tasks[t] == Role::kLater;
    for (std::size_t s = 0; s < node_of_delivery_.size(); ++s) {
      if (node_of_delivery_[s] != OrderGraph::kNone) {
        is_later[node_of_delivery_[s]] = frame_.deliveries[s] == Role::kLater;
      }
    }
    std::vector<std::vector<OrderGraph::Arc>> arcs_from(graph_.node_count());
    for (const OrderGraph::Arc& arc : graph_.arcs()) {
      if (is_later[arc.from] && is_later[arc.to]) arcs_from[arc.from].push_back(arc);
    }
    // Ties of tasks without duration may run backwards in this order, which makes a tail too short: it
    // then says less than it could, and nothing wrong.
    std::vector<std::int64_t> tail(graph_.node_count(), 0);
    const std::vector<OrderGraph::Node> order = graph_.by_start();
    for (auto node = order.rbegin(); node != order.rend(); ++node) {
      if (!is_later[*node]) continue;
      tail[*node] = *node < tasks ? graph_.duration(*node) : 0;
      for (const OrderGraph::Arc& arc : arcs_from[*node]) {
        tail[*node] = std::max(tail[*node], arc.lag + tail[arc.to]);
      }
    }
    const auto in_ticks = [&](std::int64_t nanoseconds) { return nanoseconds / unit_.length.value(); };
    frame_.later_from = frame_.end;
    for (std::size_t t = 0; t < tasks; ++t) {
      frame_.task_tails.push_back(in_ticks(tail[t]));
      if (is_later[t]) frame_.later_from = std::min(frame_.later_from, frame_.task_starts[t]);
      if (frame_.tasks[t] == Role::kFrozen) {
        frame_.floor = std::max(frame_.floor, ticks(schedule_.end(problem_, TaskId(t))));
      }
    }
    for (std::size_t s = 0; s < node_of_delivery_.size(); ++s) {
      const OrderGraph::Node node = node_of_delivery_[s];
      frame_.delivery_tails.push_back(node == OrderGraph::kNone ? 0 : in_ticks(tail[node]));
      if (frame_.deliveries[s] == Role::kLater) {
        frame_.later_from = std::min(frame_.later_from, frame_.delivery_starts[s]);
      }
    }
    for (const std::vector<OrderGraph::Node>& stream : graph_.streams()) {
      const auto first = std::find_if(stream.begin(), stream.end(), [&](OrderGraph::Node n) { return is_later[n]; });
      frame_.stream_tails.push_back(first == stream.end() ? 0 : in_ticks(tail[*first]));
    }
    // Later things also wait for what was before the window.
    for (const OrderGraph::Arc& arc : graph_.arcs()) {
      if (!is_later[arc.to] || is_later[arc.from]) continue;
      const bool is_frozen = graph_.rough_start(arc.from) < static_cast<double>((unit_.length * frame_.begin).value());
      if (!is_frozen) continue;
      const auto begun = static_cast<std::int64_t>(graph_.rough_start(arc.from));
      frame_.floor = std::max(frame_.floor, in_ticks(begun + arc.lag + tail[arc.to]));
    }
  }

  const Problem& problem_;
  TimeUnit unit_;
  const Schedule& schedule_;
  RoughSchedule rough_;
  OrderGraph graph_;
  std::vector<bool> in_window_;
  std::shared_ptr<const ScheduleSpace> space_;
  Frame frame_;
  std::int64_t window_end_ = 0;
  std::vector<OrderGraph::Node> node_of_delivery_;
};

bool is_multiple(const Schedule& schedule, Duration unit) {
  return std::all_of(schedule.tasks.begin(), schedule.tasks.end(),
                     [&](const TaskAssignment& task) { return task.start.value() % unit.value() == 0; }) &&
         std::all_of(schedule.transfers.begin(), schedule.transfers.end(),
                     [&](const Transfer& transfer) { return transfer.start.value() % unit.value() == 0; });
}

}  // namespace

Window window_frame(const Problem& problem, TimeUnit unit, const Schedule& schedule, std::span<const TaskId> window) {
  return FrameBuilder(problem, unit, schedule, window).build();
}

WindowAnswer improve_window(const Problem& problem, const Schedule& schedule, std::span<const TaskId> window,
                            const Budget& budget, const WindowOptions& options) {
  WindowAnswer answer;
  const auto engine = options.engine ? options.engine : cp_sat_engine();
  if (answer.message = engine->unavailable_because(); !answer.message.empty()) {
    answer.status = WindowAnswer::Status::kUnavailable;
    return answer;
  }
  if (window.empty()) return answer;
  const TimeUnit unit = exact_unit(problem);
  // Everything that starts as early as it can starts at a multiple of the unit.
  const Schedule reference = is_multiple(schedule, unit.length) ? schedule : left_shift(problem, schedule);
  const Duration makespan = reference.makespan(problem);
  Window frame = window_frame(problem, unit, reference, window);
  if (frame.moving > options.most_moving) {
    answer.status = WindowAnswer::Status::kTooLarge;
    answer.message =
        fmt::format("{} tasks and transfers would move, expected at most {}", frame.moving, options.most_moving);
    return answer;
  }
  if (frame.frame.floor >= unit.ticks(makespan)) {  // the rest alone takes as long
    answer.exhausted = true;
    return answer;
  }
  const auto formulation = std::make_shared<CpFormulation>(frame.space, std::move(frame.frame));
  formulation->hint(reference);
  EngineLimits limits;
  limits.seconds = budget.remaining();
  if (options.seconds && (!limits.seconds || *options.seconds < *limits.seconds)) limits.seconds = options.seconds;
  limits.work = options.work;
  limits.threads = options.threads;
  limits.seed = options.seed;
  limits.deterministic = options.deterministic;
  const std::shared_ptr<const CpModel> model(formulation, &formulation->model());
  const Claim<CpModel> claim = run<CpModel>(
      engine, model, limits, [&] { return budget.expired() || (options.should_stop && options.should_stop()); });
  answer.message = claim.message;
  answer.abandoned = claim.abandoned;
  answer.exhausted = claim.status == EngineStatus::kOptimal;
  if (claim.status == EngineStatus::kFailed || claim.status == EngineStatus::kInvalidModel) {
    answer.status = WindowAnswer::Status::kFailed;
    return answer;
  }
  if (!claim.has_solution()) return answer;
  answer.schedule = retime(problem, formulation->read(claim.values));
  if (!answer.schedule || answer.schedule->makespan(problem) > makespan) {
    answer.schedule.reset();
    return answer;
  }
  answer.status = answer.schedule->makespan(problem) < schedule.makespan(problem) ? WindowAnswer::Status::kImproved
                                                                                  : WindowAnswer::Status::kEqual;
  return answer;
}

}  // namespace opweave::exact
