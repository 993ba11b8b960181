#include "exact/cp_formulation.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "opweave/error.h"

namespace opweave::exact {
namespace {

Frame whole(const ScheduleSpace& space, std::int64_t upper_bound, std::int64_t floor) {
  const Problem& problem = space.problem();
  Frame frame;
  frame.tasks.assign(problem.task_count(), Frame::Role::kFree);
  frame.deliveries.assign(space.deliveries().size(), Frame::Role::kFree);
  frame.stream_tails.assign(problem.cluster().device_count() * problem.cluster().stream_names().size(), 0);
  frame.end = upper_bound;
  frame.later_from = upper_bound;
  frame.floor = floor;
  return frame;
}

CpModel::Affine plus(CpModel::Affine affine, std::int64_t amount) { return {affine.variable, affine.offset + amount}; }

}  // namespace

CpSize cp_size(const ScheduleSpace& space) {
  const Problem& problem = space.problem();
  CpSize size;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    size.intervals += space.options(problem.group_of(TaskId(t))).size();
    size.constraints += 1 + problem.inputs(TaskId(t)).size() + problem.control_predecessors(TaskId(t)).size();
  }
  for (const ScheduleSpace::Delivery& delivery : space.deliveries()) {
    size.intervals += delivery.sources.size();
    size.constraints += 4 + 2 * delivery.sources.size() + 2 * problem.consumers(delivery.value).size();
  }
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const std::size_t places =
        problem.producer(ValueId(v)) ? space.options(problem.group_of(*problem.producer(ValueId(v)))).size() : 1;
    size.intervals += places;
    size.constraints += places * (1 + problem.consumers(ValueId(v)).size());
  }
  size.constraints += size.intervals;
  return size;
}

CpFormulation::CpFormulation(std::shared_ptr<const ScheduleSpace> space, std::optional<std::int64_t> upper_bound,
                             std::int64_t floor)
    : space_(std::move(space)),
      problem_(space_->problem()),
      frame_(whole(*space_, upper_bound.value_or(space_->horizon()), floor)),
      is_whole_(true),
      placement_(*space_, model_) {
  build();
}

CpFormulation::CpFormulation(std::shared_ptr<const ScheduleSpace> space, Frame frame)
    : space_(std::move(space)),
      problem_(space_->problem()),
      frame_(std::move(frame)),
      is_whole_(false),
      placement_(*space_, model_) {
  build();
}

void CpFormulation::build() {
  add_tasks();
  add_deliveries();
  add_precedence();
  add_streams();
  add_channels();
  add_memory();
  add_objective();
}

// Literals.

bool CpFormulation::add_condition(std::vector<Literal>& when, const Truth& truth) {
  if (truth.literal) when.push_back(*truth.literal);
  return truth.can_hold;
}

CpModel::Literal CpFormulation::literal_of(const Truth& truth) {
  if (truth.literal) return *truth.literal;
  return truth.can_hold ? model_.always() : model_.always().negated();
}

void CpFormulation::forbid(const Truth& truth) {
  if (truth.can_hold) model_.add_choice(CpModel::Choice::Kind::kAtLeastOne, {literal_of(truth).negated()});
}

/// A domain that windows have closed makes the model infeasible, not invalid.
CpModel::Variable CpFormulation::add_variable(std::int64_t lower, std::int64_t upper) {
  if (lower > upper) {
    forbid({true, std::nullopt});
    upper = lower;
  }
  return model_.add_variable(lower, upper);
}

CpFormulation::Truth CpFormulation::placed_on(TaskId task, DeviceId device) const {
  return placement_.on(problem_.group_of(task), device);
}

void CpFormulation::add_tasks() {
  tasks_.resize(problem_.task_count());
  task_intervals_.resize(problem_.task_count());
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    const auto count = static_cast<std::uint32_t>(space_->options(problem_.group_of(task)).size());
    task_intervals_[t].resize(count);
    if (is_later(task)) continue;
    TaskParts& parts = tasks_[t];
    if (role(task) == Role::kFrozen) {
      parts.start = constant(frame_.task_starts[t]);
      parts.end = plus(parts.start, space_->duration(task, 0));
      continue;
    }
    const std::int64_t shortest = space_->shortest(task);
    const std::int64_t earliest = std::max(frame_.begin, space_->head(task));
    const std::int64_t latest_end = frame_.end - space_->tail(task);
    parts.start = {add_variable(earliest, latest_end - shortest), 0};
    if (shortest == space_->longest(task)) {
      parts.end = plus(parts.start, shortest);
    } else {
      parts.end = {add_variable(earliest + shortest, latest_end), 0};
      for (std::uint32_t o = 0; o < count; ++o) static_cast<void>(interval_of(task, o));
    }
  }
}

CpModel::Interval CpFormulation::interval_of(TaskId task, std::uint32_t option) {
  std::optional<CpModel::Interval>& interval = task_intervals_[task.index()][option];
  if (!interval) {
    const TaskParts& parts = tasks_[task.index()];
    interval = model_.add_interval(parts.start, constant(space_->duration(task, option)), parts.end,
                                   placement_.chosen(problem_.group_of(task), option).literal);
  }
  return *interval;
}

CpModel::Interval CpFormulation::interval_of_delivery(std::size_t delivery, std::size_t source) {
  std::optional<CpModel::Interval>& interval = delivery_intervals_[delivery][source];
  if (!interval) {
    const DeliveryParts& parts = deliveries_[delivery];
    interval = model_.add_interval(parts.start, constant(space_->deliveries()[delivery].sources[source].duration),
                                   parts.end, parts.from[source].literal);
  }
  return *interval;
}

void CpFormulation::add_deliveries() {
  deliveries_.resize(space_->deliveries().size());
  delivery_intervals_.resize(deliveries_.size());
  for (std::size_t s = 0; s < deliveries_.size(); ++s) {
    delivery_intervals_[s].resize(space_->deliveries()[s].sources.size());
    if (frame_.deliveries[s] != Role::kLater) add_delivery(s);
  }
}

void CpFormulation::add_delivery(std::size_t index) {
  if (frame_.deliveries[index] != Role::kFree) return add_kept_delivery(index);
  const ScheduleSpace::Delivery& delivery = space_->deliveries()[index];
  DeliveryParts& parts = deliveries_[index];
  const TaskId producer = *problem_.producer(delivery.value);
  parts.from.resize(delivery.sources.size());
  parts.present = need_of(delivery);
  if (delivery.sources.empty()) {
    forbid(parts.present);
    parts.present = {};
    return;
  }
  choose_source(delivery, parts);
  const auto by_duration = [](const ScheduleSpace::Source& a, const ScheduleSpace::Source& b) {
    return a.duration < b.duration;
  };
  const auto [least, most] = std::ranges::minmax_element(delivery.sources, by_duration);
  const std::int64_t shortest = least->duration;
  const std::int64_t longest = most->duration;
  const std::int64_t earliest = std::max(frame_.begin, space_->head(producer) + space_->shortest(producer));
  if (earliest + shortest > frame_.end) {
    forbid(parts.present);
    parts.present = {};
    for (Truth& from : parts.from) from = {};
    return;
  }
  const Affine made = tasks_[producer.index()].end;
  // Without contention, and where the destination has room for everything, sending at once costs nothing.
  const bool at_once = problem_.settings().contention == Contention::kNone && role(producer) != Role::kFrozen &&
                       !space_->binding_capacity(delivery.destination);
  parts.start = at_once ? made : Affine{model_.add_variable(earliest, frame_.end - shortest), 0};
  if (shortest == longest) {
    parts.end = plus(parts.start, shortest);
  } else {
    parts.end = {model_.add_variable(earliest + shortest, frame_.end + longest), 0};
    for (std::size_t k = 0; k < parts.from.size(); ++k) static_cast<void>(interval_of_delivery(index, k));
  }
  std::vector<Literal> when;
  if (!at_once && add_condition(when, parts.present)) model_.add_order(made, parts.start, 0, when);
}

void CpFormulation::add_kept_delivery(std::size_t index) {
  const ScheduleSpace::Delivery& delivery = space_->deliveries()[index];
  DeliveryParts& parts = deliveries_[index];
  const std::uint32_t source = frame_.delivery_sources[index];
  const std::int64_t duration = delivery.sources[source].duration;
  parts.from.resize(delivery.sources.size());
  parts.present = parts.from[source] = {true, std::nullopt};
  parts.start = frame_.deliveries[index] == Role::kFrozen
                    ? constant(frame_.delivery_starts[index])
                    : Affine{add_variable(frame_.begin, frame_.end - duration), 0};
  parts.end = plus(parts.start, duration);
  const TaskId producer = *problem_.producer(delivery.value);
  if (frame_.deliveries[index] == Role::kOrdered) model_.add_order(tasks_[producer.index()].end, parts.start);
}

CpFormulation::Truth CpFormulation::need_of(const ScheduleSpace::Delivery& delivery) {
  const Truth made_here = placed_on(*problem_.producer(delivery.value), delivery.destination);
  bool is_needed_anyway = false;
  std::vector<Literal> needed;
  for (const TaskId consumer : problem_.consumers(delivery.value)) {
    const Truth used = placed_on(consumer, delivery.destination);
    is_needed_anyway = is_needed_anyway || used.is_always();
    if (used.literal) needed.push_back(*used.literal);
  }
  std::sort(needed.begin(), needed.end());
  needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
  if (is_needed_anyway && !made_here.can_hold) return {true, std::nullopt};
  if (is_needed_anyway) return {true, made_here.literal->negated()};
  if (needed.size() == 1 && !made_here.can_hold) return {true, needed.front()};
  const Literal present = model_.add_literal();
  if (made_here.can_hold) model_.add_implication({present}, made_here.literal->negated());
  std::vector<Literal> any = {present.negated()};
  for (const Literal used : needed) {
    std::vector<Literal> when = {used};
    if (made_here.can_hold) when.push_back(made_here.literal->negated());
    model_.add_implication(std::move(when), present);
    any.push_back(used);
  }
  model_.add_choice(CpModel::Choice::Kind::kAtLeastOne, std::move(any));
  return {true, present};
}

void CpFormulation::choose_source(const ScheduleSpace::Delivery& delivery, DeliveryParts& parts) {
  if (delivery.sources.size() == 1) {
    parts.from[0] = parts.present;
  } else {
    std::vector<Literal> choice = {literal_of(parts.present).negated()};
    for (Truth& from : parts.from) {
      from = {true, model_.add_literal()};
      choice.push_back(*from.literal);
    }
    model_.add_choice(CpModel::Choice::Kind::kExactlyOne, std::move(choice));
  }
  for (std::size_t k = 0; k < parts.from.size(); ++k) {
    const Truth home = placed_on(*problem_.producer(delivery.value), delivery.sources[k].device);
    if (!home.is_always()) model_.add_implication({literal_of(parts.from[k])}, literal_of(home));
  }
}

void CpFormulation::add_precedence() {
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    if (is_later(task) || role(task) == Role::kFrozen) continue;
    const TaskParts& parts = tasks_[t];
    for (const TaskId before : problem_.predecessors(task)) model_.add_order(tasks_[before.index()].end, parts.start);
    for (const ValueId value : problem_.inputs(task)) {
      for (std::size_t s = space_->first_delivery(value); s < space_->end_of_deliveries(value); ++s) {
        const Truth used = placed_on(task, space_->deliveries()[s].destination);
        std::vector<Literal> when;
        if (!add_condition(when, used) || !add_condition(when, deliveries_[s].present)) continue;
        model_.add_order(deliveries_[s].end, parts.start, 0, std::move(when));
      }
    }
  }
}

void CpFormulation::chain(std::vector<Ordered> things) {
  std::sort(things.begin(), things.end(), [](const Ordered& a, const Ordered& b) { return a.start < b.start; });
  for (std::size_t i = 1; i < things.size(); ++i) model_.add_order(things[i - 1].until, things[i].from);
}

void CpFormulation::add_streams() {
  const std::size_t stream_count = problem_.cluster().stream_names().size();
  std::vector<std::vector<CpModel::Interval>> intervals(problem_.cluster().device_count() * stream_count);
  std::vector<std::vector<Ordered>> ordered(intervals.size());
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    if (is_later(task)) continue;
    const TaskParts& parts = tasks_[t];
    if (role(task) == Role::kFrozen && parts.end.offset <= frame_.begin) continue;
    const auto& options = space_->options(problem_.group_of(task));
    for (std::uint32_t o = 0; o < options.size(); ++o) {
      if (space_->duration(task, o) == 0) continue;  // holds nothing
      for (const DeviceId device : options[o].devices) {
        for (std::uint32_t mask = problem_.streams(task); mask != 0; mask &= mask - 1) {
          const std::size_t stream = device.index() * stream_count + static_cast<std::size_t>(__builtin_ctz(mask));
          intervals[stream].push_back(interval_of(task, o));
          if (role(task) == Role::kOrdered) {
            ordered[stream].push_back({frame_.task_starts[t], parts.start, parts.end});
          }
        }
      }
    }
  }
  for (auto& stream : intervals) model_.add_no_overlap(std::move(stream));
  for (auto& stream : ordered) chain(std::move(stream));
}

void CpFormulation::add_channels() {
  std::map<std::uint64_t, std::vector<CpModel::Interval>> intervals;
  std::map<std::uint64_t, std::vector<Ordered>> ordered;
  for (std::size_t s = 0; s < deliveries_.size(); ++s) {
    if (frame_.deliveries[s] == Role::kLater) continue;
    const DeliveryParts& parts = deliveries_[s];
    if (frame_.deliveries[s] == Role::kFrozen && parts.end.offset <= frame_.begin) continue;
    const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
    for (std::size_t k = 0; k < parts.from.size(); ++k) {
      if (!parts.from[k].can_hold || delivery.sources[k].duration == 0) continue;
      for (const Cluster::Channel key : problem_.channels(delivery.sources[k].device, delivery.destination)) {
        intervals[key].push_back(interval_of_delivery(s, k));
        if (frame_.deliveries[s] == Role::kOrdered) {
          ordered[key].push_back({frame_.delivery_starts[s], parts.start, parts.end});
        }
      }
    }
  }
  for (auto& [key, channel] : intervals) model_.add_no_overlap(std::move(channel));
  for (auto& [key, channel] : ordered) chain(std::move(channel));
}

void CpFormulation::add_objective() {
  makespan_ = add_variable(frame_.floor, frame_.end);
  const Affine makespan{makespan_, 0};
  const std::size_t stream_count = problem_.cluster().stream_names().size();
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    if (is_later(task) || role(task) == Role::kFrozen) continue;
    const Affine end = tasks_[t].end;
    // Ends of tasks with successors in the model are implied.
    std::int64_t tail = 0;
    bool is_last = true;
    for (const TaskId after : problem_.successors(task)) {
      is_last = is_last && is_later(after);
      if (is_later(after)) tail = std::max(tail, frame_.task_tails[after.index()]);
    }
    for (const ValueId value : problem_.outputs(task)) {
      for (std::size_t s = space_->first_delivery(value); s < space_->end_of_deliveries(value); ++s) {
        const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
        if (frame_.deliveries[s] == Role::kLater) {
          tail = std::max(tail, frame_.delivery_tails[s]);
          continue;
        }
        std::int64_t after_arrival = 0;
        for (const TaskId consumer : problem_.consumers(value)) {
          if (is_later(consumer) && placed_on(consumer, delivery.destination).can_hold) {
            after_arrival = std::max(after_arrival, frame_.task_tails[consumer.index()]);
          }
        }
        std::vector<Literal> when;
        if (after_arrival > 0 && add_condition(when, deliveries_[s].present)) {
          model_.add_order(deliveries_[s].end, makespan, after_arrival, std::move(when));
        }
      }
    }
    if (is_last || tail > 0) model_.add_order(end, makespan, tail);
    if (is_whole_) continue;
    const auto& options = space_->options(problem_.group_of(task));
    for (std::uint32_t o = 0; o < options.size(); ++o) {
      std::int64_t behind = 0;
      for (const DeviceId device : options[o].devices) {
        for (std::uint32_t mask = problem_.streams(task); mask != 0; mask &= mask - 1) {
          const auto stream = static_cast<std::size_t>(__builtin_ctz(mask));
          behind = std::max(behind, frame_.stream_tails[device.index() * stream_count + stream]);
        }
      }
      std::vector<Literal> when;
      if (behind > tail && add_condition(when, placement_.chosen(problem_.group_of(task), o))) {
        model_.add_order(end, makespan, behind, std::move(when));
      }
    }
  }
  model_.minimise({{makespan_, 1}});
}

}  // namespace opweave::exact
