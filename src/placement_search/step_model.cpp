#include "placement_search/step_model.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "placement/placement_state.h"

namespace opweave {
namespace {

/// More bytes than a device has, and few enough to add some.
constexpr std::int64_t kUnlimited = INT64_MAX / 4;

}  // namespace

StepModel::StepModel(const Problem& problem, const std::vector<ModeIndex>& modes)
    : problem_(problem),
      devices_(problem.cluster().device_count()),
      streams_(problem.cluster().stream_names().size()),
      microbatches_(problem.settings().training.microbatches),
      first_modes_(modes),
      bundle_of_group_(problem.group_count(), kStays),
      fixed_load_(devices_ * streams_, 0) {
  for (std::size_t d = 0; d < devices_; ++d) {
    const std::optional<Bytes> capacity = problem.capacity(DeviceId(d));
    capacity_.push_back(capacity ? capacity->value() : kUnlimited);
  }
  const auto& all = problem.cluster().devices();
  devices_are_alike_ = std::ranges::none_of(all, [&](const Device& device) {
    return device.type != all.front().type || device.memory != all.front().memory;
  });
  find_bundles();
  for (std::uint32_t replica = 0; replica < problem.settings().training.replicas; ++replica) add_replica(replica);
  find_kinds();
}

/// Nothing would change if the two changed their names.
bool StepModel::are_interchangeable(std::size_t a, std::size_t b) const {
  if (capacity_[a] != capacity_[b]) return false;
  for (std::size_t u = 0; u < bundles_.size(); ++u) {
    const auto work_of = [&](std::size_t device) {
      return work_.begin() + static_cast<std::ptrdiff_t>((u * devices_ + device) * streams_);
    };
    if (!std::equal(work_of(a), work_of(a) + static_cast<std::ptrdiff_t>(streams_), work_of(b))) return false;
  }
  for (std::uint32_t size = 0; size < sizes_.size(); ++size) {
    if (transfer_time(size, a, b) != transfer_time(size, b, a)) return false;
    for (std::size_t other = 0; other < devices_; ++other) {
      if (other == a || other == b) continue;
      if (transfer_time(size, a, other) != transfer_time(size, b, other)) return false;
      if (transfer_time(size, other, a) != transfer_time(size, other, b)) return false;
    }
  }
  return true;
}

void StepModel::find_kinds() {
  for (std::size_t d = 0; d < devices_; ++d) {
    const auto kind = std::ranges::find_if(kinds_, [&](const std::vector<std::size_t>& devices) {
      return movable_.size() == bundles_.size() && are_interchangeable(devices.front(), d);
    });
    kind_of_.push_back(static_cast<std::size_t>(kind - kinds_.begin()));
    if (kind == kinds_.end()) kinds_.emplace_back();
    kinds_[kind_of_.back()].push_back(d);
  }
}

void StepModel::find_bundles() {
  const auto by_replica = bundles_by_replica(problem_, PartWeight::kWork);
  for (std::size_t replica = 0; replica < by_replica.size(); ++replica) {
    bool follows = false;
    for (const PlacementBundle& bundle : by_replica[replica]) {
      bundles_.push_back({bundle.groups, replica, std::exchange(follows, true), {}, {}});
    }
  }
  for (std::size_t u = 0; u < bundles_.size(); ++u) {
    for (const GroupId group : bundles_[u].groups) bundle_of_group_[group.index()] = u;
  }
  work_.assign(bundles_.size() * devices_ * streams_, kNever);
  first_home_.assign(bundles_.size(), kStays);
  for (std::size_t u = 0; u < bundles_.size(); ++u) measure_bundle(u);
  for (std::size_t u = 0; u < bundles_.size(); ++u) {
    if (first_home_[u] != kStays) movable_.push_back(u);
  }
}

void StepModel::measure_bundle(std::size_t bundle) {
  Bundle& each = bundles_[bundle];
  std::set<ParameterId> parameters;
  std::set<std::size_t> apart;
  for (const GroupId group : each.groups) {
    for (const ParameterId parameter : problem_.parameters_of(group)) parameters.insert(parameter);
    for (const GroupId other : problem_.apart_from(group)) apart.insert(bundle_of_group_[other.index()]);
  }
  each.parameters.assign(parameters.begin(), parameters.end());
  each.apart_from.assign(apart.begin(), apart.end());
  for (std::size_t d = 0; d < devices_; ++d) {
    const bool may = std::ranges::all_of(each.groups, [&](GroupId group) {
      return std::ranges::binary_search(problem_.devices_of(group), DeviceId(d));
    });
    if (!may) continue;
    std::int64_t* work = &work_[(bundle * devices_ + d) * streams_];
    std::fill_n(work, streams_, 0);
    for (const GroupId group : each.groups) {
      for (const TaskId task : problem_.tasks_of(group)) {
        const std::int64_t duration = problem_.mode(task, *problem_.mode_on(task, DeviceId(d))).duration.value();
        for (std::size_t s = 0; s < streams_; ++s) {
          if ((problem_.streams(task) >> s & 1U) != 0) work[s] += duration;
        }
      }
    }
  }
  const auto place_of = [&](GroupId group) {
    const TaskId task = problem_.tasks_of(group).front();
    return problem_.mode(task, first_modes_[task.index()]).devices;
  };
  const auto place = place_of(each.groups.front());
  const bool is_together =
      std::ranges::all_of(each.groups, [&](GroupId group) { return std::ranges::equal(place_of(group), place); });
  if (is_together && place.size() == 1) {
    first_home_[bundle] = place.front().index();
    return;
  }
  for (const GroupId group : each.groups) {
    for (const TaskId task : problem_.tasks_of(group)) {
      const Mode mode = problem_.mode(task, first_modes_[task.index()]);
      for (const DeviceId device : mode.devices) {
        for (std::size_t s = 0; s < streams_; ++s) {
          if ((problem_.streams(task) >> s & 1U) != 0) {
            fixed_load_[device.index() * streams_ + s] += mode.duration.value();
          }
        }
      }
    }
  }
}

std::uint32_t StepModel::size_class(ValueId value) {
  const std::int64_t bytes = problem_.size(value).value();
  const auto known = std::ranges::find(sizes_, bytes, &std::pair<std::int64_t, std::uint32_t>::first);
  if (known != sizes_.end()) return known->second;
  const auto index = static_cast<std::uint32_t>(sizes_.size());
  sizes_.emplace_back(bytes, index);
  for (std::size_t from = 0; from < devices_; ++from) {
    for (std::size_t to = 0; to < devices_; ++to) {
      const std::optional<Duration> time = problem_.transfer_time(value, DeviceId(from), DeviceId(to));
      transfers_.push_back(time ? time->value() : kNever);
    }
  }
  return index;
}

void StepModel::add_replica(std::uint32_t replica) {
  const Training& training = problem_.settings().training;
  Replica result;
  std::optional<std::uint32_t> first;
  for (std::uint32_t copy = 0; copy < training.microbatches; ++copy) {
    if (training.replica_of(copy) != replica) continue;
    if (!first) first = copy;
    ++result.microbatches;
  }
  if (!first) return;
  std::vector<std::uint32_t> position(problem_.graph().operators().size(), kNothing);
  for (const OperatorId op : problem_.graph().topological_order()) {
    if (problem_.graph().at(op).phase == Phase::kOptimizer) continue;
    const TaskId task = problem_.task_of(op, *first);
    Step step;
    step.op = op;
    step.bundle = bundle_of_group_[problem_.group_of(task).index()];
    step.streams = problem_.streams(task);
    step.phase = problem_.graph().at(op).phase;
    for (const TaskId before : problem_.predecessors(task)) {
      const std::uint32_t at = position[problem_.task(before).op.index()];
      if (at != kNothing) step.before.push_back({at, kNothing});
    }
    for (const ValueId value : problem_.inputs(task)) {
      const std::optional<TaskId> producer = problem_.producer(value);
      if (!producer) continue;
      const std::uint32_t at = position[problem_.task(*producer).op.index()];
      const auto before = std::ranges::find(step.before, at, &Before::step);
      if (before == step.before.end()) continue;
      const std::uint32_t size = size_class(value);
      if (before->size == kNothing || sizes_[before->size].first < sizes_[size].first) before->size = size;
    }
    step.durations.assign(devices_, kNever);
    for (std::size_t d = 0; d < devices_; ++d) {
      const auto index = problem_.mode_on(task, DeviceId(d));
      if (!index) continue;
      const Mode mode = problem_.mode(task, *index);
      step.durations[d] = mode.duration.value();
      step.workspace = std::max(step.workspace, mode.workspace.value());
    }
    const Mode fixed = problem_.mode(task, first_modes_[task.index()]);
    step.fixed_duration = fixed.duration.value();
    for (const DeviceId device : fixed.devices) step.fixed_on.push_back(device.index());
    position[op.index()] = static_cast<std::uint32_t>(result.steps.size());
    result.steps.push_back(std::move(step));
  }
  add_held(result, *first, position);
  for (const double progress : kLimitProgress) {
    result.gates.push_back(position[gate_operator(problem_, progress).index()]);
  }
  replicas_.push_back(std::move(result));
}

void StepModel::add_held(Replica& replica, std::uint32_t copy, const std::vector<std::uint32_t>& position) {
  for (std::size_t t = 0; t < problem_.graph().tensors().size(); ++t) {
    const ValueId value = problem_.value_of(TensorId(t), copy);
    if (problem_.size(value) == Bytes()) continue;
    Held held{problem_.size(value).value(), kNothing, {}};
    if (const std::optional<TaskId> producer = problem_.producer(value)) {
      held.maker = position[problem_.task(*producer).op.index()];
      if (held.maker == kNothing) continue;  // made by an optimizer
    }
    for (const TaskId user : problem_.consumers(value)) {
      const std::uint32_t at = position[problem_.task(user).op.index()];
      if (at != kNothing) held.users.push_back(at);
    }
    std::ranges::sort(held.users);
    replica.held.push_back(std::move(held));
  }
}

bool StepModel::home_of(const std::vector<ModeIndex>& modes, std::vector<std::size_t>& home) const {
  home.assign(bundles_.size(), kStays);
  for (const std::size_t u : movable_) {
    for (const GroupId group : bundles_[u].groups) {
      const TaskId task = problem_.tasks_of(group).front();
      const auto place = problem_.mode(task, modes[task.index()]).devices;
      if (place.size() != 1 || (home[u] != kStays && home[u] != place.front().index())) return false;
      home[u] = place.front().index();
    }
  }
  return true;
}

std::vector<std::size_t> StepModel::canonical(const std::vector<std::size_t>& home) const {
  std::vector<std::size_t> name(devices_, kStays);
  std::vector<std::size_t> named(kinds_.size(), 0);
  std::vector<std::size_t> result;
  for (const std::size_t device : home) {
    if (device != kStays && name[device] == kStays) {
      const std::size_t kind = kind_of_[device];
      name[device] = kinds_[kind][named[kind]++];
    }
    result.push_back(device == kStays ? kStays : name[device]);
  }
  return result;
}

std::int64_t StepModel::work(std::size_t bundle, std::size_t device) const {
  const auto first = work_.begin() + static_cast<std::ptrdiff_t>((bundle * devices_ + device) * streams_);
  return *std::max_element(first, first + static_cast<std::ptrdiff_t>(streams_));
}

std::vector<std::int64_t> StepModel::loads(const std::vector<std::size_t>& home) const {
  std::vector<std::int64_t> load = fixed_load_;
  for (const std::size_t u : movable_) {
    for (std::size_t s = 0; s < streams_; ++s) load[home[u] * streams_ + s] += work(u, home[u], s);
  }
  return load;
}

bool StepModel::room(const std::vector<std::size_t>& home, std::vector<std::int64_t>& free) const {
  free = capacity_;
  std::vector<bool> is_there(problem_.graph().parameters().size() * devices_, false);
  const auto put = [&](std::size_t device, ParameterId parameter) {
    const std::size_t entry = parameter.index() * devices_ + device;
    if (is_there[entry]) return;
    is_there[entry] = true;
    free[device] -= problem_.persistent_bytes(parameter).value();
  };
  for (std::size_t u = 0; u < bundles_.size(); ++u) {
    for (const std::size_t other : bundles_[u].apart_from) {
      if (home[u] != kStays && home[u] == home[other]) return false;
    }
    if (home[u] != kStays) {
      for (const ParameterId parameter : bundles_[u].parameters) put(home[u], parameter);
      continue;
    }
    for (const GroupId group : bundles_[u].groups) {
      const TaskId task = problem_.tasks_of(group).front();
      for (const DeviceId device : problem_.mode(task, first_modes_[task.index()]).devices) {
        for (const ParameterId parameter : problem_.parameters_of(group)) put(device.index(), parameter);
      }
    }
  }
  return std::ranges::all_of(free, [](std::int64_t bytes) { return bytes >= 0; });
}

std::optional<std::vector<ModeIndex>> StepModel::modes(const std::vector<std::size_t>& home) const {
  PlacementState state(problem_);
  for (std::size_t g = 0; g < problem_.group_count(); ++g) {
    const std::size_t device = home[bundle_of_group_[g]];
    std::vector<DeviceId> devices;
    if (device == kStays) {
      const TaskId task = problem_.tasks_of(GroupId(g)).front();
      const auto gang = problem_.mode(task, first_modes_[task.index()]).devices;
      devices.assign(gang.begin(), gang.end());
    } else {
      devices = {DeviceId(device)};
    }
    if (!state.allows(GroupId(g), devices)) return std::nullopt;
    state.place(GroupId(g), devices);
  }
  return state.modes();
}

}  // namespace opweave
