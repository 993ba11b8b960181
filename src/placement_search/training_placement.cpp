#include "placement_search/training_placement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "list_scheduling/fewer_microbatches.h"
#include "list_scheduling/justification.h"
#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"
#include "placement/placement_state.h"

namespace opweave {
namespace {

/// Microbatches of the trial: enough for a ramp up, a steady middle and a ramp down.
constexpr std::uint32_t kTrialMicrobatchesPerDevice = 2;
constexpr std::uint32_t kFewestTrialMicrobatches = 8;
/// Beyond these a schedule of the trial takes so long that few can be tried.
constexpr std::size_t kMostTrialTasks = 20'000;
constexpr std::size_t kMostWorkEntries = 10'000'000;  ///< units x devices x streams
/// Relative lengthening that is accepted one time in e, at the beginning and at the end.
constexpr double kHot = 0.01;
constexpr double kCold = 0.0005;
/// Without a gain for this many neighbours per unit the search ends.
constexpr std::uint64_t kPatiencePerUnit = 12;
constexpr std::uint64_t kLeastPatience = 150;
/// A neighbour that is estimated to take longer than this times the current step is not scheduled.
constexpr double kHopeless = 1.02;
/// Of so many random moves at most the one with the least estimate is scheduled.
constexpr std::uint32_t kMostDrawn = 8;
/// Share of the neighbours that have the same placement under another window or rule.
constexpr std::uint32_t kWindowPercent = 15;

std::uint32_t trial_microbatches(const Problem& problem) {
  const auto devices = static_cast<std::uint32_t>(problem.cluster().device_count());
  return std::max(kFewestTrialMicrobatches, kTrialMicrobatchesPerDevice * devices);
}

/// A schedule let in by a window, then pushed together without it; nothing if it does not fit run serially.
std::optional<std::pair<PlacedProblem, std::vector<std::int64_t>>> dispatched(const Problem& problem,
                                                                              const std::vector<ModeIndex>& modes,
                                                                              const InFlightWindow& window,
                                                                              std::size_t rule, const Budget& budget) {
  const auto narrow = PlacedProblem::create(problem, modes, window_edges(problem, window));
  if (!narrow) return std::nullopt;
  const ReferenceOrder reference = reference_order(*narrow);
  if (!reference.fits) return std::nullopt;
  std::vector<std::int64_t> starts =
      list_schedule(*narrow, reference, priority_rules(*narrow, reference)[rule].priority);
  auto placed = PlacedProblem::create(problem, modes);
  starts = justify(*placed, std::move(starts), budget);
  return std::pair(std::move(*placed), std::move(starts));
}

}  // namespace

bool TrainingPlacement::applies_to(const Problem& problem) {
  const std::uint32_t all = problem.settings().training.microbatches;
  if (all < 2 || problem.cluster().device_count() < 2) return false;
  const std::size_t trial_tasks = problem.task_count() * std::min(trial_microbatches(problem), all) / all;
  const std::size_t streams = problem.cluster().stream_names().size();
  if (trial_tasks > kMostTrialTasks) return false;
  if (problem.group_count() * problem.cluster().device_count() * streams > kMostWorkEntries) return false;
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    if (problem.devices_of(GroupId(g)).size() > 1) return true;
  }
  return false;
}

TrainingPlacement::TrainingPlacement(const Problem& problem, const std::vector<ModeIndex>& modes, std::uint64_t seed)
    : problem_(problem),
      trial_(with_fewer_microbatches(problem, trial_microbatches(problem))),
      devices_(problem.cluster().device_count()),
      streams_(problem.cluster().stream_names().size()),
      first_modes_(modes),
      fixed_load_(devices_ * streams_, 0),
      unit_of_group_(problem.group_count(), kStays),
      random_(seed) {
  const auto by_replica = units_by_replica(problem, PartWeight::kWork);
  for (std::size_t replica = 0; replica < by_replica.size(); ++replica) {
    bool follows = false;
    for (const PlacementUnit& unit : by_replica[replica]) {
      units_.push_back({unit, replica, std::exchange(follows, true)});
    }
  }
  State start;
  start.home.assign(units_.size(), kStays);
  work_.assign(units_.size() * devices_ * streams_, -1);
  for (std::size_t u = 0; u < units_.size(); ++u) {
    const auto& groups = units_[u].content.groups;
    for (const GroupId group : groups) unit_of_group_[group.index()] = u;
    const auto place_of = [&](GroupId group) {
      const TaskId task = problem.tasks_of(group).front();
      return problem.mode(task, modes[task.index()]).devices;
    };
    const auto place = place_of(groups.front());
    const bool is_together =
        std::ranges::all_of(groups, [&](GroupId group) { return std::ranges::equal(place_of(group), place); });
    for (std::size_t d = 0; d < devices_; ++d) {
      const bool may = std::ranges::all_of(
          groups, [&](GroupId group) { return std::ranges::binary_search(problem.devices_of(group), DeviceId(d)); });
      if (!may) continue;
      std::int64_t* work = &work_[(u * devices_ + d) * streams_];
      std::fill_n(work, streams_, 0);
      for (const GroupId group : groups) {
        for (const TaskId task : problem.tasks_of(group)) {
          const std::int64_t duration = problem.mode(task, *problem.mode_on(task, DeviceId(d))).duration.value();
          for (std::size_t s = 0; s < streams_; ++s) {
            if ((problem.streams(task) >> s & 1U) != 0) work[s] += duration;
          }
        }
      }
    }
    if (is_together && place.size() == 1) {
      start.home[u] = place.front().index();
      movable_.push_back(u);
      continue;
    }
    for (const GroupId group : groups) {
      for (const TaskId task : problem.tasks_of(group)) {
        const Mode mode = problem.mode(task, modes[task.index()]);
        for (const DeviceId device : mode.devices) {
          for (std::size_t s = 0; s < streams_; ++s) {
            if ((problem.streams(task) >> s & 1U) != 0) {
              fixed_load_[device.index() * streams_ + s] += mode.duration.value();
            }
          }
        }
      }
    }
  }
  const auto& devices = problem.cluster().devices();
  devices_differ_ = std::ranges::any_of(devices, [&](const Device& device) {
    return device.type != devices.front().type || device.memory != devices.front().memory;
  });
  note_steps();
  start.window = {1, kWindowProgress[0]};
  current_ = std::move(start);
}

bool TrainingPlacement::may_run(std::size_t unit, std::size_t device) const {
  return work_[(unit * devices_ + device) * streams_] >= 0;
}

std::vector<std::int64_t> TrainingPlacement::loads(const std::vector<std::size_t>& home) const {
  std::vector<std::int64_t> load = fixed_load_;
  for (const std::size_t u : movable_) {
    for (std::size_t s = 0; s < streams_; ++s) {
      load[home[u] * streams_ + s] += work_[(u * devices_ + home[u]) * streams_ + s];
    }
  }
  return load;
}

void TrainingPlacement::note_steps() {
  const Training& training = problem_.settings().training;
  steps_.resize(training.replicas);
  for (std::uint32_t replica = 0; replica < training.replicas; ++replica) {
    std::uint32_t copy = 0;
    while (copy < training.microbatches && training.replica_of(copy) != replica) ++copy;
    if (copy == training.microbatches) continue;
    std::vector<std::size_t> position(problem_.graph().operators().size(), kStays);
    for (const OperatorId op : problem_.graph().topological_order()) {
      if (problem_.graph().at(op).phase == Phase::kOptimizer) continue;
      const TaskId task = problem_.task_of(op, copy);
      Step step;
      step.unit = unit_of_group_[problem_.group_of(task).index()];
      step.streams = problem_.streams(task);
      for (const TaskId before : problem_.predecessors(task)) {
        const std::size_t at = position[problem_.task(before).op.index()];
        if (at != kStays) step.after.push_back(at);
      }
      step.durations.assign(devices_, -1);
      for (std::size_t d = 0; d < devices_; ++d) {
        const auto mode = problem_.mode_on(task, DeviceId(d));
        if (mode) step.durations[d] = problem_.mode(task, *mode).duration.value();
      }
      const Mode first = problem_.mode(task, first_modes_[task.index()]);
      step.fixed_duration = first.duration.value();
      for (const DeviceId device : first.devices) step.fixed_on.push_back(device.index());
      position[op.index()] = steps_[replica].size();
      steps_[replica].push_back(std::move(step));
    }
  }
}

std::int64_t TrainingPlacement::estimate(const std::vector<std::size_t>& home) const {
  constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
  std::vector<std::int64_t> head(devices_ * streams_, kNever);
  std::vector<std::int64_t> tail(devices_ * streams_, kNever);
  std::vector<std::int64_t> begin;
  std::vector<std::int64_t> rest;
  for (const std::vector<Step>& steps : steps_) {
    const auto duration = [&](const Step& step) {
      return home[step.unit] == kStays ? step.fixed_duration : step.durations[home[step.unit]];
    };
    const auto lower = [&](std::vector<std::int64_t>& least, const Step& step, std::int64_t value) {
      const auto on = [&](std::size_t device) {
        for (std::size_t s = 0; s < streams_; ++s) {
          if ((step.streams >> s & 1U) == 0) continue;
          least[device * streams_ + s] = std::min(least[device * streams_ + s], value);
        }
      };
      if (home[step.unit] != kStays) return on(home[step.unit]);
      for (const std::size_t device : step.fixed_on) on(device);
    };
    begin.assign(steps.size(), 0);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      for (const std::size_t before : steps[i].after) {
        begin[i] = std::max(begin[i], begin[before] + duration(steps[before]));
      }
      lower(head, steps[i], begin[i]);
    }
    rest.assign(steps.size(), 0);
    for (std::size_t i = steps.size(); i-- > 0;) {
      lower(tail, steps[i], rest[i]);
      for (const std::size_t before : steps[i].after) {
        rest[before] = std::max(rest[before], rest[i] + duration(steps[i]));
      }
    }
  }
  const std::vector<std::int64_t> load = loads(home);
  std::int64_t longest = 0;
  for (std::size_t i = 0; i < load.size(); ++i) {
    if (head[i] != kNever) longest = std::max(longest, head[i] + load[i] + tail[i]);
  }
  return longest;
}

std::optional<std::vector<ModeIndex>> TrainingPlacement::modes(const std::vector<std::size_t>& home) const {
  PlacementState state(problem_);
  for (std::size_t g = 0; g < problem_.group_count(); ++g) {
    const std::size_t device = home[unit_of_group_[g]];
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

std::optional<std::int64_t> TrainingPlacement::value(const State& state, const Budget& budget) const {
  const auto all = modes(state.home);
  if (!all) return std::nullopt;
  const auto timed = dispatched(trial_, fewer_modes(problem_, trial_, *all), state.window, state.rule, budget);
  if (!timed) return std::nullopt;
  const std::int64_t microbatches = problem_.settings().training.microbatches;
  const std::int64_t tried = trial_.settings().training.microbatches;
  const std::vector<std::int64_t> load = loads(state.home);
  const std::int64_t period = std::ranges::max(load) / microbatches;
  return length(timed->first, timed->second) + period * (microbatches - tried);
}

std::size_t TrainingPlacement::random_unit() { return movable_[random_.below(movable_.size())]; }

bool TrainingPlacement::move_beside_neighbour(State& state) {
  const std::size_t u = random_unit();
  const bool forward = random_.below(2) == 0;
  const bool has_neighbour = forward ? u + 1 < units_.size() && units_[u + 1].follows : units_[u].follows;
  if (!has_neighbour) return false;
  const std::size_t to = state.home[forward ? u + 1 : u - 1];
  if (to == kStays || to == state.home[u] || !may_run(u, to)) return false;
  state.home[u] = to;
  return true;
}

bool TrainingPlacement::shift_parts(State& state) {
  // Boundaries between parts of one replica that lie between two random units.
  std::size_t first = random_unit();
  std::size_t last = random_unit();
  if (first > last) std::swap(first, last);
  if (units_[first].replica != units_[last].replica) return false;
  const bool grows_at_front = random_.below(2) == 0;  // the part before each boundary takes a unit
  const std::vector<std::size_t> before = state.home;
  bool changed = false;
  for (std::size_t u = first + 1; u <= last; ++u) {
    if (before[u] == before[u - 1] || before[u] == kStays || before[u - 1] == kStays) continue;
    const std::size_t moved = grows_at_front ? u : u - 1;
    const std::size_t to = grows_at_front ? before[u - 1] : before[u];
    if (!may_run(moved, to)) return false;
    state.home[moved] = to;
    changed = true;
  }
  return changed;
}

bool TrainingPlacement::swap_units(State& state) {
  const std::size_t a = random_unit();
  const std::size_t b = random_unit();
  if (state.home[a] == state.home[b] || !may_run(a, state.home[b]) || !may_run(b, state.home[a])) return false;
  std::swap(state.home[a], state.home[b]);
  return true;
}

bool TrainingPlacement::move_away(State& state) {
  const std::size_t u = random_unit();
  const std::size_t to = random_.below(devices_);
  if (to == state.home[u] || !may_run(u, to)) return false;
  state.home[u] = to;
  return true;
}

bool TrainingPlacement::swap_devices(State& state) {
  const std::size_t a = random_.below(devices_);
  const std::size_t b = random_.below(devices_);
  if (a == b) return false;
  bool changed = false;
  for (const std::size_t u : movable_) {
    if (state.home[u] != a && state.home[u] != b) continue;
    const std::size_t to = state.home[u] == a ? b : a;
    if (!may_run(u, to)) return false;
    state.home[u] = to;
    changed = true;
  }
  return changed;
}

bool TrainingPlacement::change_window(State& state) {
  switch (random_.below(3)) {
    case 0: {
      const std::int64_t width = std::int64_t{state.window.microbatches} + random_.below(5) - 2;
      if (width < 1 || width > trial_.settings().training.microbatches || width == state.window.microbatches) {
        return false;
      }
      state.window.microbatches = static_cast<std::uint32_t>(width);
      return true;
    }
    case 1:
      state.window.progress = kWindowProgress[random_.below(std::size(kWindowProgress))];
      return true;
    default:
      state.rule = kWindowRules[random_.below(std::size(kWindowRules))];
      return true;
  }
}

bool TrainingPlacement::move(State& state) {
  const std::uint32_t dice = random_.below(100);
  if (dice < 35) return move_beside_neighbour(state);
  if (dice < 55) return shift_parts(state);
  if (dice < 77) return swap_units(state);
  if (dice < 92 || !devices_differ_) return move_away(state);
  return swap_devices(state);
}

std::optional<TrainingPlacement::State> TrainingPlacement::neighbour() {
  if (random_.below(100) < kWindowPercent) {
    State next = *current_;
    return change_window(next) ? std::optional(std::move(next)) : std::nullopt;
  }
  const auto hopeless = static_cast<std::int64_t>(kHopeless * static_cast<double>(current_->value));
  std::optional<State> best;
  std::int64_t least = hopeless;
  for (std::uint32_t drawn = 1 + random_.below(kMostDrawn); drawn > 0; --drawn) {
    State next = *current_;
    if (!move(next)) continue;
    const std::int64_t estimated = estimate(next.home);
    if (estimated >= least) continue;
    least = estimated;
    best = std::move(next);
  }
  return best;
}

std::uint64_t TrainingPlacement::improve(const Budget& budget, std::uint64_t most) {
  std::uint64_t valued = 0;
  const auto is_over = [&] { return budget.expired() || valued >= most; };
  if (!best_) {  // windows of doubling width from both ends: late entry, and early entry with weight gradients put off
    const State start = *current_;
    for (const auto& [progress, rule] :
         {std::pair(kWindowProgress[0], std::size_t{2}), std::pair(kWindowProgress[4], std::size_t{0})}) {
      for (std::uint32_t width = 1; width <= trial_.settings().training.microbatches && !is_over(); width *= 2) {
        State tried = start;
        tried.window = {width, progress};
        tried.rule = rule;
        const auto now = value(tried, budget);
        ++valued;
        if (!now) return valued;  // the placement does not fit
        tried.value = *now;
        if (!best_ || tried.value < best_->value) best_ = std::move(tried);
      }
    }
    if (!best_) return valued;
    current_ = best_;
    first_ = best_->value;
  }
  const double seconds = budget.remaining().value_or(0);
  const double began = budget.elapsed();
  const std::uint64_t patience = std::max(kLeastPatience, kPatiencePerUnit * movable_.size());
  std::uint64_t since_gain = 0;
  for (std::uint64_t misses = 0; !is_over() && since_gain < patience && misses < patience;) {
    std::optional<State> drawn = neighbour();
    if (!drawn) {
      ++misses;
      continue;
    }
    State& next = *drawn;
    misses = 0;
    ++valued;
    ++since_gain;
    const auto now = value(next, budget);
    if (!now) continue;
    next.value = *now;
    double done = static_cast<double>(valued) / static_cast<double>(most);
    if (seconds > 0) done = std::max(done, (budget.elapsed() - began) / seconds);
    const double heat = kHot * std::pow(kCold / kHot, std::min(1.0, done));
    const double longer = static_cast<double>(next.value - current_->value) / static_cast<double>(current_->value);
    if (longer > 0 && random_.unit() >= std::exp(-longer / heat)) continue;
    current_ = std::move(*drawn);
    if (current_->value < best_->value) {
      best_ = current_;
      since_gain = 0;
    }
  }
  return valued;
}

std::optional<Schedule> TrainingPlacement::schedule(const Budget& budget) const {
  if (!best_) return std::nullopt;
  const auto all = modes(best_->home);
  if (!all) return std::nullopt;
  const auto timed = dispatched(problem_, *all, best_->window, best_->rule, budget);
  if (!timed) return std::nullopt;
  return timed->first.schedule(timed->second);
}

}  // namespace opweave
