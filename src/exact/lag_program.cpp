#include "exact/lag_program.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <span>
#include <utility>

namespace opweave::exact {
namespace {

constexpr std::int64_t kNoRoute = std::numeric_limits<std::int64_t>::max();
/// Parts of a device's memory in which parameters are counted; coefficients that a solver can tell apart.
constexpr std::int64_t kMemoryParts = 1'000'000;

}  // namespace

std::size_t LagProgram::size(const Problem& problem) {
  std::size_t size = 0;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const std::size_t options = problem.mode_count(TaskId(t));
    size += options;
    for (const TaskId before : problem.predecessors(TaskId(t))) size += options * problem.mode_count(before);
  }
  return size;
}

bool LagProgram::is_exact(const ScheduleSpace& space) {
  const Problem& problem = space.problem();
  if (problem.settings().contention != Contention::kNone || space.unit().is_rounded) return false;
  for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
    if (space.binding_capacity(DeviceId(d))) return false;
  }
  return true;
}

LagProgram::LagProgram(std::shared_ptr<const ScheduleSpace> space, std::int64_t target)
    : space_(std::move(space)), problem_(space_->problem()), target_(target), placement_(*space_, model_) {
  add_tasks();
  add_precedence();
  add_streams();
  add_parameters();
}

void LagProgram::add_tasks() {
  tasks_.resize(problem_.task_count());
  for (std::size_t t = 0; t < tasks_.size(); ++t) add_task(TaskId(t));
}

void LagProgram::add_task(TaskId task) {
  TaskParts& parts = tasks_[task.index()];
  const GroupId group = problem_.group_of(task);
  const std::int64_t shortest = space_->shortest(task);
  const std::int64_t head = space_->head(task);
  std::int64_t latest_end = target_ - space_->tail(task);
  if (head + shortest > latest_end) {  // no schedule is that short
    model_.add_choice(CpModel::Choice::Kind::kAtLeastOne, {model_.always().negated()});
    latest_end = head + shortest;
  }
  parts.start = {model_.add_variable(head, latest_end - shortest), 0};
  parts.end = {parts.start.variable, shortest};
  if (shortest != space_->longest(task)) parts.end = {model_.add_variable(head + shortest, latest_end), 0};
  for (std::uint32_t o = 0; o < space_->options(group).size(); ++o) {
    const Affine duration{std::nullopt, space_->duration(task, o)};
    parts.intervals.push_back(
        model_.add_interval(parts.start, duration, parts.end, placement_.chosen(group, o).literal));
  }
}

// Lags.

std::int64_t LagProgram::lag_of(ValueId value, const Option& from, const Option& to) const {
  std::int64_t latest = 0;
  for (const DeviceId destination : to.devices) {
    if (has_device(from.devices, destination)) continue;
    std::int64_t earliest = kNoRoute;
    for (const DeviceId source : from.devices) {
      const auto time = problem_.transfer_time(value, source, destination);
      if (time) earliest = std::min(earliest, space_->unit().ticks(*time));
    }
    latest = std::max(latest, earliest);
  }
  return latest;
}

LagProgram::Table LagProgram::lags(TaskId before, TaskId after) const {
  const auto& from = space_->options(problem_.group_of(before));
  const auto& to = space_->options(problem_.group_of(after));
  Table table(from.size() * to.size(), 0);
  for (const ValueId value : problem_.inputs(after)) {
    if (problem_.producer(value) != before) continue;
    for (std::size_t i = 0; i < from.size(); ++i) {
      for (std::size_t j = 0; j < to.size(); ++j) {
        std::int64_t& lag = table[i * to.size() + j];
        lag = std::max(lag, lag_of(value, from[i], to[j]));
      }
    }
  }
  return table;
}

void LagProgram::add_threshold(GroupId before, GroupId after, const Table& table, std::int64_t lag,
                               std::optional<Literal> then) {
  const std::size_t rows = space_->options(before).size();
  const std::size_t columns = space_->options(after).size();
  const auto add = [&](GroupId one, std::size_t option, GroupId other, std::size_t others, auto lag_to) {
    std::vector<Literal> clause;
    for (std::size_t o = 0; o < others; ++o) {
      if (lag_to(o) >= lag) continue;
      const Truth& truth = placement_.chosen(other, static_cast<std::uint32_t>(o));
      if (truth.is_always()) return;
      clause.push_back(*truth.literal);
    }
    if (clause.size() == others) return;  // never that long
    const Truth& here = placement_.chosen(one, static_cast<std::uint32_t>(option));
    if (here.literal) clause.push_back(here.literal->negated());
    if (then) clause.push_back(*then);
    if (clause.empty()) clause.push_back(model_.always().negated());
    model_.add_choice(CpModel::Choice::Kind::kAtLeastOne, std::move(clause));
  };
  for (std::size_t i = 0; i < rows; ++i) {
    add(before, i, after, columns, [&](std::size_t j) { return table[i * columns + j]; });
  }
  for (std::size_t j = 0; j < columns; ++j) {
    add(after, j, before, rows, [&](std::size_t i) { return table[i * columns + j]; });
  }
}

const std::vector<LagProgram::Threshold>& LagProgram::thresholds(GroupId before, GroupId after, const Table& table) {
  const auto [entry, is_new] = thresholds_.try_emplace({{before, after}, table});
  if (!is_new) return entry->second;
  Table distinct = table;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  for (auto lag = distinct.begin() + 1; lag != distinct.end(); ++lag) {
    if (*lag == kNoRoute) {
      add_threshold(before, after, table, *lag, std::nullopt);
    } else {
      const Literal literal = model_.add_literal();
      add_threshold(before, after, table, *lag, literal);
      entry->second.push_back({*lag, literal});
    }
  }
  return entry->second;
}

void LagProgram::add_precedence() {
  for (std::size_t t = 0; t < tasks_.size(); ++t) {
    const TaskId task(t);
    const GroupId group = problem_.group_of(task);
    for (const TaskId before : problem_.predecessors(task)) {
      const Affine end = tasks_[before.index()].end;
      if (problem_.group_of(before) == group) {
        model_.add_order(end, tasks_[t].start);
        continue;
      }
      const Table table = lags(before, task);
      const std::int64_t least = *std::min_element(table.begin(), table.end());
      if (least == kNoRoute) {
        model_.add_choice(CpModel::Choice::Kind::kAtLeastOne, {model_.always().negated()});
        continue;
      }
      model_.add_order(end, tasks_[t].start, least);
      for (const Threshold& threshold : thresholds(problem_.group_of(before), group, table)) {
        model_.add_order(end, tasks_[t].start, threshold.lag, {threshold.literal});
      }
    }
  }
}

// Resources.

void LagProgram::add_streams() {
  const std::size_t stream_count = problem_.cluster().stream_names().size();
  std::vector<std::vector<CpModel::Interval>> intervals(problem_.cluster().device_count() * stream_count);
  for (std::size_t t = 0; t < tasks_.size(); ++t) {
    const TaskId task(t);
    const auto& options = space_->options(problem_.group_of(task));
    for (std::uint32_t o = 0; o < options.size(); ++o) {
      if (space_->duration(task, o) == 0) continue;  // holds nothing
      for (const DeviceId device : options[o].devices) {
        for (std::uint32_t mask = problem_.streams(task); mask != 0; mask &= mask - 1) {
          const auto stream = static_cast<std::size_t>(__builtin_ctz(mask));
          intervals[device.index() * stream_count + stream].push_back(tasks_[t].intervals[o]);
        }
      }
    }
  }
  for (auto& resource : intervals) {
    if (resource.size() > 1) model_.add_no_overlap(std::move(resource));
  }
  for (std::size_t stream = 0; stream < stream_count; ++stream) add_work_on_stream(stream);
}

/// What the constraints of single devices imply only when everything is placed: no more tasks run at once than there
/// are devices for them.
void LagProgram::add_work_on_stream(std::size_t stream) {
  std::vector<CpModel::Interval> intervals;
  std::vector<std::int64_t> demands;
  std::vector<bool> is_used(problem_.cluster().device_count(), false);
  bool has_choice = false;
  for (std::size_t t = 0; t < tasks_.size(); ++t) {
    const TaskId task(t);
    const std::int64_t shortest = space_->shortest(task);
    if (shortest == 0 || (problem_.streams(task) >> stream & 1U) == 0) continue;
    const auto& options = space_->options(problem_.group_of(task));
    std::size_t fewest = options.front().devices.size();
    for (const Option& option : options) {
      fewest = std::min(fewest, option.devices.size());
      for (const DeviceId device : option.devices) is_used[device.index()] = true;
    }
    has_choice = has_choice || options.size() > 1;
    const Affine start = tasks_[t].start;
    intervals.push_back(
        model_.add_interval(start, {std::nullopt, shortest}, {start.variable, start.offset + shortest}, std::nullopt));
    demands.push_back(static_cast<std::int64_t>(fewest));
  }
  const auto devices = static_cast<std::int64_t>(std::count(is_used.begin(), is_used.end(), true));
  if (has_choice) model_.add_cumulative(std::move(intervals), std::move(demands), devices);
}

void LagProgram::add_parameters() {
  for (std::size_t d = 0; d < problem_.cluster().device_count(); ++d) {
    const DeviceId device(d);
    const std::optional<Bytes> capacity = space_->binding_capacity(device);
    if (!capacity) continue;
    // Both rounded down: what fits in bytes fits in parts.
    const std::int64_t part = std::max<std::int64_t>(1, capacity->value() / kMemoryParts);
    std::vector<CpModel::Term> terms;
    std::int64_t most = capacity->value() / part;
    for (const ScheduleSpace::Persistent& persistent : space_->persistent(device)) {
      const std::int64_t bytes = persistent.bytes.value() / part;
      if (bytes == 0) continue;
      Truth lives = placement_.on(persistent.groups.front(), device);
      if (persistent.groups.size() > 1) {
        lives.literal = model_.add_literal();
        homes_.push_back({*lives.literal, persistent.groups, device});
        for (const GroupId group : persistent.groups) {
          const Truth on = placement_.on(group, device);
          if (on.can_hold) model_.add_implication({on.literal.value_or(model_.always())}, *lives.literal);
        }
      }
      if (!lives.literal) {
        most -= bytes;
      } else if (lives.literal->is_negated()) {  // b (1 - x)
        most -= bytes;
        terms.push_back({lives.literal->variable(), -bytes});
      } else {
        terms.push_back({lives.literal->variable(), bytes});
      }
    }
    std::int64_t least = 0;
    for (const CpModel::Term& term : terms) least += std::min<std::int64_t>(0, term.coefficient);
    if (most < least) {
      model_.add_choice(CpModel::Choice::Kind::kAtLeastOne, {model_.always().negated()});
    } else if (!terms.empty()) {
      model_.add_linear(std::move(terms), least, most);
    }
  }
}

// Between schedules and values.

RoughSchedule LagProgram::read(std::span<const std::int64_t> values) const {
  const auto unit = static_cast<double>(space_->unit().length.value());
  const auto moment = [&](const Affine& affine) {
    const std::int64_t variable = affine.variable ? values[static_cast<std::size_t>(*affine.variable)] : 0;
    return static_cast<double>(variable + affine.offset) * unit;
  };
  RoughSchedule rough;
  std::vector<std::uint32_t> option_of(problem_.group_count());
  for (std::size_t g = 0; g < option_of.size(); ++g) option_of[g] = placement_.option(GroupId(g), values);
  const auto devices_of = [&](TaskId task) {
    const GroupId group = problem_.group_of(task);
    return space_->options(group)[option_of[group.index()]].devices;
  };
  for (std::size_t t = 0; t < tasks_.size(); ++t) {
    const TaskId task(t);
    rough.modes.push_back(space_->mode(task, option_of[problem_.group_of(task).index()]));
    rough.starts.push_back(moment(tasks_[t].start));
  }
  std::vector<DeviceId> destinations;
  for (std::size_t v = 0; v < problem_.value_count(); ++v) {
    const ValueId value(v);
    const std::optional<TaskId> producer = problem_.producer(value);
    if (!producer) continue;
    destinations.clear();
    for (const TaskId consumer : problem_.consumers(value)) {
      const std::span<const DeviceId> devices = devices_of(consumer);
      destinations.insert(destinations.end(), devices.begin(), devices.end());
    }
    std::sort(destinations.begin(), destinations.end());
    destinations.erase(std::unique(destinations.begin(), destinations.end()), destinations.end());
    for (const DeviceId destination : destinations) {
      if (has_device(devices_of(*producer), destination)) continue;
      std::optional<std::pair<Duration, DeviceId>> nearest;
      for (const DeviceId source : devices_of(*producer)) {
        const auto time = problem_.transfer_time(value, source, destination);
        if (time && (!nearest || *time < nearest->first)) nearest = {*time, source};
      }
      if (nearest) {
        rough.transfers.push_back({value, nearest->second, destination, moment(tasks_[producer->index()].end)});
      }
    }
  }
  return rough;
}

std::vector<std::int64_t> LagProgram::values_of(const Schedule& schedule) const {
  std::vector<std::int64_t> values;
  for (const CpModel::Domain& domain : model_.domains()) values.push_back(domain.lower);
  const std::vector<std::uint32_t> option_of = placement_.express(*space_, schedule, values);
  for (std::size_t t = 0; t < tasks_.size(); ++t) {
    const TaskId task(t);
    const std::int64_t start = space_->unit().ticks(schedule.tasks[t].start);
    const std::int64_t end = start + space_->duration(task, option_of[problem_.group_of(task).index()]);
    values[static_cast<std::size_t>(*tasks_[t].start.variable)] = start;
    if (tasks_[t].end.variable != tasks_[t].start.variable)
      values[static_cast<std::size_t>(*tasks_[t].end.variable)] = end;
  }
  for (const auto& [key, list] : thresholds_) {
    const auto& [groups, table] = key;
    const std::size_t columns = space_->options(groups.second).size();
    const std::int64_t lag = table[option_of[groups.first.index()] * columns + option_of[groups.second.index()]];
    for (const Threshold& threshold : list) {
      values[static_cast<std::size_t>(threshold.literal.variable())] = lag >= threshold.lag ? 1 : 0;
    }
  }
  for (const Home& home : homes_) {
    const bool lives = std::ranges::any_of(
        home.groups, [&](GroupId group) { return placement_.on(group, home.device).holds(values); });
    values[static_cast<std::size_t>(home.literal.variable())] = lives ? 1 : 0;
  }
  return values;
}

}  // namespace opweave::exact
