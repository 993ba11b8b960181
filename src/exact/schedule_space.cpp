#include "exact/schedule_space.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace opweave::exact {
TimeUnit exact_unit(const Problem& problem) {
  std::int64_t unit = 0;
  for (std::size_t t = 0; t < problem.task_count() && unit != 1; ++t) {
    for (ModeIndex m = 0; m < problem.mode_count(TaskId(t)); ++m) {
      unit = std::gcd(unit, problem.mode(TaskId(t), m).duration.value());
    }
  }
  const std::size_t device_count = problem.cluster().device_count();
  for (std::size_t v = 0; v < problem.value_count() && unit != 1; ++v) {
    if (!problem.producer(ValueId(v))) continue;
    for (std::size_t from = 0; from < device_count; ++from) {
      for (std::size_t to = 0; to < device_count; ++to) {
        if (from == to) continue;
        const auto time = problem.transfer_time(ValueId(v), DeviceId(from), DeviceId(to));
        if (time) unit = std::gcd(unit, time->value());
      }
    }
  }
  return {Duration(std::max<std::int64_t>(1, unit)), false};
}

TimeUnit relaxed_unit(const Problem& problem, Duration time, std::int64_t most_ticks) {
  const TimeUnit exact = exact_unit(problem);
  const std::int64_t factor = (exact.ticks(time) + most_ticks - 1) / most_ticks;
  if (factor <= 1) return exact;
  return {exact.length * factor, true};
}

std::size_t choice_count(const Problem& problem) {
  const std::size_t device_count = problem.cluster().device_count();
  const auto places = [&](TaskId task) {
    std::size_t devices = 0;
    const ModeIndex modes = problem.mode_count(task);
    for (ModeIndex m = 0; m < modes && devices < device_count; ++m) devices += problem.mode(task, m).devices.size();
    return std::min(devices, device_count);
  };
  std::size_t count = 0;
  for (std::size_t t = 0; t < problem.task_count(); ++t) count += problem.mode_count(TaskId(t));
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const std::optional<TaskId> producer = problem.producer(ValueId(v));
    if (!producer) continue;
    std::size_t destinations = 0;
    for (const TaskId consumer : problem.consumers(ValueId(v))) {
      if (problem.group_of(consumer) == problem.group_of(*producer)) continue;
      destinations = std::max(destinations, places(consumer));
    }
    count += destinations * places(*producer);
  }
  return count;
}

ScheduleSpace::ScheduleSpace(Problem problem, TimeUnit unit) : problem_(std::move(problem)), unit_(unit) {
  list_options(nullptr, nullptr);
  list_deliveries();
  find_binding_capacities();
  find_heads_and_tails();
}

ScheduleSpace::ScheduleSpace(Problem problem, TimeUnit unit, const Schedule& reference,
                             const std::vector<bool>& free_groups)
    : problem_(std::move(problem)), unit_(unit) {
  list_options(&reference, &free_groups);
  list_deliveries();
  find_binding_capacities();
  find_heads_and_tails();
}

void ScheduleSpace::list_options(const Schedule* reference, const std::vector<bool>* free_groups) {
  options_.resize(problem_.group_count());
  first_mode_.resize(problem_.task_count() + 1);
  // Per task of a group: index of the mode for each option.
  std::vector<std::vector<ModeIndex>> mode_of(problem_.task_count());
  for (std::size_t g = 0; g < problem_.group_count(); ++g) {
    const auto tasks = problem_.tasks_of(GroupId(g));
    if (free_groups != nullptr && !(*free_groups)[g]) {
      const Mode placed = problem_.mode(tasks.front(), reference->tasks[tasks.front().index()].mode);
      options_[g].push_back({placed.devices});
      for (const TaskId task : tasks) mode_of[task.index()] = {reference->tasks[task.index()].mode};
      continue;
    }
    const std::span<const Option> options = problem_.options(GroupId(g));
    options_[g].assign(options.begin(), options.end());
    for (const TaskId task : tasks) {
      for (const Option& option : options) mode_of[task.index()].push_back(*problem_.mode_on(task, option.devices));
    }
  }
  for (std::size_t t = 0; t < mode_of.size(); ++t) {
    first_mode_[t] = modes_.size();
    modes_.insert(modes_.end(), mode_of[t].begin(), mode_of[t].end());
  }
  first_mode_.back() = modes_.size();
}

std::vector<std::uint32_t> ScheduleSpace::options_on(GroupId group, DeviceId device) const {
  std::vector<std::uint32_t> result;
  const auto& options = options_[group.index()];
  for (std::uint32_t o = 0; o < options.size(); ++o) {
    if (has_device(options[o].devices, device)) result.push_back(o);
  }
  return result;
}

std::vector<DeviceId> ScheduleSpace::devices(GroupId group) const {
  std::vector<DeviceId> result;
  for (const Option& option : options_[group.index()]) {
    result.insert(result.end(), option.devices.begin(), option.devices.end());
  }
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

std::int64_t ScheduleSpace::shortest(TaskId task) const {
  const auto count = static_cast<std::uint32_t>(options(problem_.group_of(task)).size());
  std::int64_t least = count == 0 ? 0 : duration(task, 0);
  for (std::uint32_t o = 1; o < count; ++o) least = std::min(least, duration(task, o));
  return least;
}

std::int64_t ScheduleSpace::longest(TaskId task) const {
  std::int64_t most = 0;
  const auto count = static_cast<std::uint32_t>(options(problem_.group_of(task)).size());
  for (std::uint32_t o = 0; o < count; ++o) most = std::max(most, duration(task, o));
  return most;
}

void ScheduleSpace::list_deliveries() {
  first_delivery_.reserve(problem_.value_count() + 1);
  std::vector<DeviceId> destinations;
  for (std::size_t v = 0; v < problem_.value_count(); ++v) {
    const ValueId value(v);
    first_delivery_.push_back(deliveries_.size());
    const std::optional<TaskId> producer = problem_.producer(value);
    if (!producer) continue;
    const GroupId home = problem_.group_of(*producer);
    destinations.clear();
    for (const TaskId consumer : problem_.consumers(value)) {
      const GroupId group = problem_.group_of(consumer);
      if (group == home) continue;  // always on the same devices
      for (const Option& option : options(group)) {
        destinations.insert(destinations.end(), option.devices.begin(), option.devices.end());
      }
    }
    std::sort(destinations.begin(), destinations.end());
    destinations.erase(std::unique(destinations.begin(), destinations.end()), destinations.end());
    for (const DeviceId destination : destinations) {
      Delivery delivery{value, destination, {}};
      bool may_be_elsewhere = false;
      std::vector<DeviceId> sources;
      for (const Option& option : options(home)) {
        if (has_device(option.devices, destination)) continue;
        may_be_elsewhere = true;
        sources.insert(sources.end(), option.devices.begin(), option.devices.end());
      }
      if (!may_be_elsewhere) continue;
      std::sort(sources.begin(), sources.end());
      sources.erase(std::unique(sources.begin(), sources.end()), sources.end());
      for (const DeviceId source : sources) {
        const auto time = problem_.transfer_time(value, source, destination);
        if (time) delivery.sources.push_back({source, unit_.ticks(*time)});
      }
      deliveries_.push_back(std::move(delivery));
    }
  }
  first_delivery_.push_back(deliveries_.size());
}

std::optional<std::size_t> ScheduleSpace::delivery(ValueId value, DeviceId destination) const {
  for (std::size_t s = first_delivery(value); s < end_of_deliveries(value); ++s) {
    if (deliveries_[s].destination == destination) return s;
  }
  return std::nullopt;
}

std::vector<ScheduleSpace::Persistent> ScheduleSpace::persistent(DeviceId device) const {
  std::map<ParameterId, std::vector<GroupId>> readers;
  for (std::size_t g = 0; g < options_.size(); ++g) {
    const auto parameters = problem_.parameters_of(GroupId(g));
    if (parameters.empty() || options_on(GroupId(g), device).empty()) continue;
    for (const ParameterId parameter : parameters) readers[parameter].push_back(GroupId(g));
  }
  // Parameters of the same groups live and die together.
  std::map<std::vector<GroupId>, Bytes> merged;
  for (auto& [parameter, groups] : readers) merged[std::move(groups)] += problem_.persistent_bytes(parameter);
  std::vector<Persistent> result;
  for (auto& [groups, bytes] : merged) {
    if (bytes > Bytes()) result.push_back({groups, bytes});
  }
  return result;
}

void ScheduleSpace::find_binding_capacities() {
  const std::size_t device_count = problem_.cluster().device_count();
  std::vector<Bytes> most(device_count);
  std::vector<std::int64_t> divisor(device_count, 0);
  const auto may_hold = [&](DeviceId device, Bytes bytes) {
    most[device.index()] += bytes;
    divisor[device.index()] = std::gcd(divisor[device.index()], bytes.value());
  };
  for (std::size_t g = 0; g < options_.size(); ++g) {
    const std::vector<DeviceId> places = devices(GroupId(g));
    for (const ParameterId parameter : problem_.parameters_of(GroupId(g))) {
      for (const DeviceId device : places) may_hold(device, problem_.persistent_bytes(parameter));
    }
  }
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    const auto& all = options(problem_.group_of(task));
    for (std::uint32_t o = 0; o < all.size(); ++o) {
      const Bytes bytes = problem_.mode(task, mode(task, o)).workspace;
      for (const DeviceId device : all[o].devices) may_hold(device, bytes);
    }
  }
  std::vector<bool> is_there(device_count);
  for (std::size_t v = 0; v < problem_.value_count(); ++v) {
    const ValueId value(v);
    if (problem_.size(value) == Bytes()) continue;
    is_there.assign(device_count, false);
    const auto settle = [&](TaskId task) {
      for (const Option& option : options(problem_.group_of(task))) {
        for (const DeviceId device : option.devices) is_there[device.index()] = true;
      }
    };
    if (const auto producer = problem_.producer(value)) settle(*producer);
    for (const TaskId consumer : problem_.consumers(value)) settle(consumer);
    for (std::size_t d = 0; d < device_count; ++d) {
      if (is_there[d]) may_hold(DeviceId(d), problem_.size(value));
    }
  }
  for (std::size_t d = 0; d < device_count; ++d) {
    const std::optional<Bytes> capacity = problem_.capacity(DeviceId(d));
    const bool binds = capacity && most[d] > *capacity;
    binding_capacity_.push_back(binds ? capacity : std::nullopt);
    byte_unit_.emplace_back(std::max<std::int64_t>(1, divisor[d]));
  }
}

std::int64_t ScheduleSpace::least_lag(ValueId value, TaskId producer, TaskId consumer) const {
  const auto& from = options(problem_.group_of(producer));
  const auto& to = options(problem_.group_of(consumer));
  // Many choices rarely force a transfer, and looking at all pairs of them costs.
  constexpr std::size_t kMostPairs = 64;
  if (problem_.group_of(producer) == problem_.group_of(consumer) || from.size() * to.size() > kMostPairs) return 0;
  std::optional<std::int64_t> least;
  for (const Option& source : from) {
    for (const Option& target : to) {
      std::int64_t lag = 0;
      bool is_possible = true;
      for (const DeviceId device : target.devices) {
        if (has_device(source.devices, device)) continue;
        std::optional<std::int64_t> arrival;
        for (const DeviceId sender : source.devices) {
          const auto time = problem_.transfer_time(value, sender, device);
          if (time && (!arrival || unit_.ticks(*time) < *arrival)) arrival = unit_.ticks(*time);
        }
        if (!arrival) is_possible = false;
        lag = std::max(lag, arrival.value_or(0));
      }
      if (is_possible && (!least || lag < *least)) least = lag;
    }
  }
  return least.value_or(0);
}

void ScheduleSpace::find_heads_and_tails() {
  const std::size_t count = problem_.task_count();
  head_.assign(count, 0);
  tail_.assign(count, 0);
  std::vector<std::int64_t> least(count);
  for (std::size_t t = 0; t < count; ++t) {
    least[t] = shortest(TaskId(t));
    horizon_ += longest(TaskId(t));
  }
  for (const Delivery& delivery : deliveries_) {
    std::int64_t most = 0;
    for (const Source& source : delivery.sources) most = std::max(most, source.duration);
    horizon_ += most;
  }
  // Ascending ids are a topological order.
  const auto for_each_edge = [&](TaskId task, auto visit) {
    for (const TaskId before : problem_.control_predecessors(task)) visit(before, 0);
    for (const ValueId value : problem_.inputs(task)) {
      if (const auto producer = problem_.producer(value)) visit(*producer, least_lag(value, *producer, task));
    }
  };
  for (std::size_t t = 0; t < count; ++t) {
    for_each_edge(TaskId(t), [&](TaskId before, std::int64_t lag) {
      head_[t] = std::max(head_[t], head_[before.index()] + least[before.index()] + lag);
    });
  }
  for (std::size_t t = count; t-- > 0;) {
    for_each_edge(TaskId(t), [&](TaskId before, std::int64_t lag) {
      tail_[before.index()] = std::max(tail_[before.index()], lag + least[t] + tail_[t]);
    });
  }
}

}  // namespace opweave::exact
