#include "exact/time_indexed_mip.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace opweave::exact {

TimeIndexedMip::TimeIndexedMip(std::shared_ptr<const ScheduleSpace> space, std::int64_t horizon, bool named,
                               std::function<bool()> should_stop)
    : space_(std::move(space)),
      problem_(space_->problem()),
      horizon_(horizon),
      should_stop_(std::move(should_stop)),
      model_(named),
      placement_(*space_, model_) {
  add_tasks();
  add_deliveries();
  add_precedence();
  add_resources();
  for (std::size_t d = 0; d < problem_.cluster().device_count(); ++d) {
    if (space_->binding_capacity(DeviceId(d))) add_memory(DeviceId(d));
  }
  if (goes_on()) add_makespan();
  should_stop_ = nullptr;
}

bool TimeIndexedMip::goes_on() {
  is_complete_ = is_complete_ && !(should_stop_ && should_stop_());
  return is_complete_;
}

MipSize TimeIndexedMip::size(const ScheduleSpace& space, std::int64_t horizon) {
  const Problem& problem = space.problem();
  const auto ticks = static_cast<std::size_t>(std::max<std::int64_t>(0, horizon));
  MipSize size;
  std::size_t memory_users = 0;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const std::size_t options = space.options(problem.group_of(TaskId(t))).size();
    size.columns += options * ticks;
    size.nonzeros += options * ticks * (4 + problem.predecessors(TaskId(t)).size() + problem.inputs(TaskId(t)).size());
  }
  for (const ScheduleSpace::Delivery& delivery : space.deliveries()) {
    size.columns += delivery.sources.size() * ticks;
    size.nonzeros += delivery.sources.size() * ticks * (6 + problem.consumers(delivery.value).size());
  }
  for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
    if (!space.binding_capacity(DeviceId(d))) continue;
    for (std::size_t v = 0; v < problem.value_count(); ++v) {
      size.columns += ticks;
      memory_users += 2 + problem.consumers(ValueId(v)).size();
    }
  }
  size.nonzeros += memory_users * ticks * 6;
  return size;
}

TimeIndexedMip::Steps TimeIndexedMip::add_steps(std::int64_t first, std::int64_t last, const Expression& chosen,
                                                std::int64_t duration, const std::function<std::string()>& name) {
  Steps steps{first, {}, chosen, duration};
  if (last < first) {  // does not fit before the horizon
    model_.add_at_most(chosen, 0);
    steps.chosen = 0;
    return steps;
  }
  Expression before = 0;
  for (std::int64_t tick = first; tick < last; ++tick) {
    steps.columns.push_back(model_.add_binary([&] { return fmt::format("{}_t{}", name(), tick); }));
    const Expression now = Expression::column(steps.columns.back());
    model_.add_at_most(before, now);
    before = now;
  }
  model_.add_at_most(before, chosen);
  return steps;
}

MipModel::Expression TimeIndexedMip::started(const Steps& steps, std::int64_t tick) {
  if (tick < steps.first) return 0;
  const auto index = static_cast<std::size_t>(tick - steps.first);
  return index < steps.columns.size() ? Expression::column(steps.columns[index]) : steps.chosen;
}

MipModel::Expression TimeIndexedMip::task_started(TaskId task, std::int64_t tick) const {
  Expression sum;
  for (const Steps& steps : tasks_[task.index()]) sum += started(steps, tick);
  return sum;
}

MipModel::Expression TimeIndexedMip::task_ended(TaskId task, std::int64_t tick) const {
  Expression sum;
  for (const Steps& steps : tasks_[task.index()]) sum += ended(steps, tick);
  return sum;
}

MipModel::Expression TimeIndexedMip::task_started_on(TaskId task, DeviceId device, std::int64_t tick) const {
  Expression sum;
  for (const std::uint32_t o : space_->options_on(problem_.group_of(task), device)) {
    sum += started(tasks_[task.index()][o], tick);
  }
  return sum;
}

MipModel::Expression TimeIndexedMip::task_ended_on(TaskId task, DeviceId device, std::int64_t tick) const {
  Expression sum;
  for (const std::uint32_t o : space_->options_on(problem_.group_of(task), device)) {
    sum += ended(tasks_[task.index()][o], tick);
  }
  return sum;
}

void TimeIndexedMip::add_tasks() {
  for (std::size_t t = 0; t < problem_.task_count() && goes_on(); ++t) {
    const TaskId task(t);
    const GroupId group = problem_.group_of(task);
    std::vector<Steps>& all = tasks_.emplace_back();
    for (std::uint32_t o = 0; o < space_->options(group).size(); ++o) {
      const std::int64_t duration = space_->duration(task, o);
      all.push_back(add_steps(space_->head(task), horizon_ - space_->tail(task) - duration, placement_.chosen(group, o),
                              duration, [&] { return fmt::format("b_i{}_o{}", t, o); }));
    }
  }
}

void TimeIndexedMip::add_deliveries() {
  for (std::size_t s = 0; s < space_->deliveries().size() && goes_on(); ++s) {
    const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
    const TaskId producer = *problem_.producer(delivery.value);
    std::vector<Steps>& all = deliveries_.emplace_back();
    std::int64_t after = horizon_;
    for (const TaskId consumer : problem_.consumers(delivery.value)) {
      after = std::min(after, space_->shortest(consumer) + space_->tail(consumer));
    }
    for (std::size_t k = 0; k < delivery.sources.size(); ++k) {
      const std::int64_t duration = delivery.sources[k].duration;
      all.push_back(add_steps(space_->head(producer) + space_->shortest(producer), horizon_ - after - duration,
                              placement_.sent(s, k), duration, [&] { return fmt::format("r_s{}_k{}", s, k); }));
      for (std::int64_t tick = 0; tick < horizon_; ++tick) {
        model_.add_at_most(started(all.back(), tick), task_ended_on(producer, delivery.sources[k].device, tick));
      }
    }
  }
}

void TimeIndexedMip::add_precedence() {
  for (std::size_t t = 0; t < problem_.task_count() && goes_on(); ++t) {
    const TaskId task(t);
    // The last tick in which something may start is the horizon itself, for tasks of no duration.
    for (std::int64_t tick = space_->head(task); tick <= horizon_; ++tick) {
      for (const TaskId before : problem_.predecessors(task)) {
        model_.add_at_most(task_started(task, tick), task_ended(before, tick));
      }
      for (const ValueId value : problem_.inputs(task)) {
        for (std::size_t s = space_->first_delivery(value); s < space_->end_of_deliveries(value); ++s) {
          const DeviceId device = space_->deliveries()[s].destination;
          const Expression here = task_started_on(task, device, tick);
          if (here.is_constant() && here.constant() == 0) continue;
          Expression present = task_ended_on(*problem_.producer(value), device, tick);
          for (const Steps& steps : deliveries_[s]) present += ended(steps, tick);
          model_.add_at_most(here, present);
        }
      }
    }
  }
}

void TimeIndexedMip::add_resource(const std::vector<const Steps*>& users) {
  if (users.size() < 2 || !goes_on()) return;
  for (std::int64_t tick = 0; tick < horizon_; ++tick) {
    Expression running;
    for (const Steps* steps : users) running += started(*steps, tick) - ended(*steps, tick);
    model_.add_at_most(running, 1);
  }
}

void TimeIndexedMip::add_resources() {
  if (!goes_on()) return;
  const std::size_t stream_count = problem_.cluster().stream_names().size();
  std::map<std::size_t, std::vector<const Steps*>> streams;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const auto& options = space_->options(problem_.group_of(TaskId(t)));
    for (std::size_t o = 0; o < options.size(); ++o) {
      if (tasks_[t][o].duration == 0) continue;  // holds nothing
      for (const DeviceId device : options[o].devices) {
        for (std::uint32_t mask = problem_.streams(TaskId(t)); mask != 0; mask &= mask - 1) {
          streams[device.index() * stream_count + static_cast<std::size_t>(__builtin_ctz(mask))].push_back(
              &tasks_[t][o]);
        }
      }
    }
  }
  std::map<std::uint64_t, std::vector<const Steps*>> channels;
  for (std::size_t s = 0; s < deliveries_.size(); ++s) {
    const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
    for (std::size_t k = 0; k < deliveries_[s].size(); ++k) {
      if (deliveries_[s][k].duration == 0) continue;
      for (const Cluster::Channel key : problem_.channels(delivery.sources[k].device, delivery.destination)) {
        channels[key].push_back(&deliveries_[s][k]);
      }
    }
  }
  for (const auto& [key, users] : streams) add_resource(users);
  for (const auto& [key, users] : channels) add_resource(users);
}

void TimeIndexedMip::add_memory(DeviceId device) {
  const double capacity = placement_.units(device, *space_->binding_capacity(device));
  for (std::int64_t tick = 0; tick < std::max<std::int64_t>(1, horizon_) && goes_on(); ++tick) {
    Expression level = placement_.persistent(device);
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      const TaskId task(t);
      for (const std::uint32_t o : space_->options_on(problem_.group_of(task), device)) {
        const Bytes workspace = problem_.mode(task, space_->mode(task, o)).workspace;
        if (workspace == Bytes() || tasks_[t][o].duration == 0) continue;
        level += placement_.units(device, workspace) * (started(tasks_[t][o], tick) - ended(tasks_[t][o], tick));
      }
    }
    for (std::size_t v = 0; v < problem_.value_count(); ++v) {
      const ValueId value(v);
      if (problem_.size(value) == Bytes()) continue;
      std::vector<Expression> at_least;
      const auto used_until = [&](const Expression& begun, TaskId consumer) {
        if (space_->options_on(problem_.group_of(consumer), device).empty()) return;
        at_least.push_back(begun - task_ended_on(consumer, device, tick) + placement_.on(consumer, device) - 1);
      };
      const std::optional<TaskId> producer = problem_.producer(value);
      if (!producer) {
        for (const TaskId first : problem_.consumers(value)) {
          for (const TaskId consumer : problem_.consumers(value)) {
            used_until(task_started_on(first, device, tick), consumer);
          }
        }
      } else {
        const Expression made = task_started_on(*producer, device, tick);
        at_least.push_back(made - task_ended_on(*producer, device, tick));
        Expression begun = made;
        if (const auto arrival = space_->delivery(value, device)) {
          Expression arriving;
          for (const Steps& steps : deliveries_[*arrival]) {
            begun += started(steps, tick);
            arriving += started(steps, tick) - ended(steps, tick);
          }
          at_least.push_back(arriving);
        }
        for (const TaskId consumer : problem_.consumers(value)) used_until(begun, consumer);
        for (std::size_t s = space_->first_delivery(value); s < space_->end_of_deliveries(value); ++s) {
          const auto& sources = space_->deliveries()[s].sources;
          for (std::size_t k = 0; k < sources.size(); ++k) {
            if (sources[k].device != device) continue;
            at_least.push_back(made + placement_.sent(s, k) - ended(deliveries_[s][k], tick) - 1);
          }
        }
      }
      // What can never be positive needs no row, and no column if nothing is left.
      std::erase_if(at_least, [](const Expression& e) { return e.is_constant() && e.constant() <= 0; });
      if (at_least.empty()) continue;
      const auto column =
          model_.add_column(0, 1, 0, false, [&] { return fmt::format("live_v{}_d{}_t{}", v, device.index(), tick); });
      for (const Expression& expression : at_least) model_.add_at_most(expression, Expression::column(column));
      level += placement_.units(device, problem_.size(value)) * Expression::column(column);
      live_.push_back({column, std::move(at_least)});
    }
    model_.add_at_most(level, capacity);
  }
}

void TimeIndexedMip::add_makespan() {
  // Minimise the first tick by which all has ended: `first_finish_` and one more for each tick in which it has not.
  std::vector<TaskId> last;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    first_finish_ = std::max(first_finish_, space_->head(task) + space_->shortest(task) + space_->tail(task));
    if (problem_.successors(task).empty()) last.push_back(task);
  }
  Expression before = 0;
  for (std::int64_t tick = first_finish_; tick < horizon_; ++tick) {
    const auto column = model_.add_column(0, 1, -1, true, [&] { return fmt::format("done_t{}", tick); });
    finished_.push_back(column);
    const Expression done = Expression::column(column);
    model_.add_at_most(before, done);
    before = done;
    for (const TaskId task : last) model_.add_at_most(done, task_ended(task, tick));
  }
  // The makespan itself as objective, so that bounds need no translation.
  const auto constant = model_.add_column(1, 1, static_cast<double>(std::max(horizon_, first_finish_)), false,
                                          [] { return std::string("horizon"); });
  static_cast<void>(constant);
}

std::int64_t TimeIndexedMip::start_of(const Steps& steps, std::span<const double> values) {
  std::int64_t start = steps.first;
  for (const MipModel::Column column : steps.columns) start += values[column] < 0.5 ? 1 : 0;
  return start;
}

RoughSchedule TimeIndexedMip::read(std::span<const double> values) const {
  const auto unit = static_cast<double>(space_->unit().length.value());
  RoughSchedule rough;
  rough.modes = placement_.modes(values);
  for (std::size_t t = 0; t < tasks_.size(); ++t) {
    std::size_t option = 0;
    while (space_->mode(TaskId(t), static_cast<std::uint32_t>(option)) != rough.modes[t]) ++option;
    rough.starts.push_back(static_cast<double>(start_of(tasks_[t][option], values)) * unit);
  }
  for (std::size_t s = 0; s < deliveries_.size(); ++s) {
    const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
    for (std::size_t k = 0; k < delivery.sources.size(); ++k) {
      if (placement_.sent(s, k).value(values) < 0.5) continue;
      rough.transfers.push_back({delivery.value, delivery.sources[k].device, delivery.destination,
                                 static_cast<double>(start_of(deliveries_[s][k], values)) * unit});
    }
  }
  return rough;
}

std::vector<double> TimeIndexedMip::values_of(const Schedule& schedule) const {
  std::vector<double> values(model_.lower());
  placement_.express(schedule, values);
  const std::int64_t unit = space_->unit().length.value();
  const auto set = [&](const Steps& steps, bool is_chosen, Duration start) {
    for (std::size_t i = 0; i < steps.columns.size(); ++i) {
      const std::int64_t tick = steps.first + static_cast<std::int64_t>(i);
      values[steps.columns[i]] = is_chosen && tick >= start.value() / unit ? 1 : 0;
    }
  };
  std::int64_t makespan = first_finish_;
  for (std::size_t t = 0; t < tasks_.size(); ++t) {
    const TaskAssignment& task = schedule.tasks[t];
    for (std::uint32_t o = 0; o < tasks_[t].size(); ++o) {
      const bool is_chosen = space_->mode(TaskId(t), o) == task.mode;
      set(tasks_[t][o], is_chosen, task.start);
      if (is_chosen) makespan = std::max(makespan, task.start.value() / unit + tasks_[t][o].duration);
    }
  }
  for (const Transfer& transfer : schedule.transfers) {
    const auto s = space_->delivery(transfer.value, transfer.destination);
    if (!s) continue;
    const auto& sources = space_->deliveries()[*s].sources;
    for (std::size_t k = 0; k < sources.size(); ++k) {
      set(deliveries_[*s][k], sources[k].device == transfer.source, transfer.start);
    }
  }
  for (std::size_t i = 0; i < finished_.size(); ++i) {
    values[finished_[i]] = first_finish_ + static_cast<std::int64_t>(i) >= makespan ? 1 : 0;
  }
  for (const Live& live : live_) {
    double level = 0;
    for (const Expression& expression : live.at_least) level = std::max(level, expression.value(values));
    values[live.column] = level;
  }
  return values;
}

}  // namespace opweave::exact
