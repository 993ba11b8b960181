#include "placement_search/fitting_search.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/union_find.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/serial_memory.h"
#include "placement/placement_state.h"

namespace opweave {
namespace {

/// Ready tasks, and devices of a group, that are looked at in one step.
constexpr std::size_t kMostReady = 24;
constexpr std::size_t kMostDevices = 16;
/// How much chance adds to the score of a choice after many attempts, in memories of a device; the first one decides
/// without.
constexpr double kMostNoise = 0.5;
/// Prices of every other attempt, and the most that chance gives to the rest.
constexpr double kPriceOfSending = 0.1;
constexpr double kPriceOfFilling = 1;
constexpr double kHighestPriceOfSending = 2;
/// After so many attempts what has stopped them is forgotten, for a fresh look.
constexpr std::uint32_t kMemory = 40;
/// What a step counts that may only be taken because it takes no time.
constexpr double kPriceOfExcess = 100;

/// The set of every thing, as a number.
std::vector<std::size_t> set_of_each(UnionFind sets, std::size_t count) {
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < count; ++i) result.push_back(sets.find(i));
  return result;
}

/// One attempt.
class Attempt {
 public:
  struct Guide {
    const std::vector<std::size_t>& island_of;
    const std::vector<std::size_t>& family_of;
    const std::vector<std::size_t>& island_of_family;
    double noise = 0;             ///< at most so much is added to a score by chance
    double price_of_sending = 0;  ///< of all that a device can hold, beside what stays behind
    double price_of_filling = 0;  ///< of a device that is full
  };

  Attempt(const Problem& problem, Guide guide, Random& random)
      : problem_(problem),
        guide_(guide),
        random_(random),
        state_(problem),
        memory_(problem),
        waiting_(problem.task_count()),
        has_run_(problem.task_count(), false) {
    schedule_.tasks.resize(problem.task_count());
    for (std::size_t v = 0; v < problem.value_count(); ++v) {
      consumers_left_.push_back(static_cast<std::uint32_t>(problem.consumers(ValueId(v)).size()));
    }
    for (std::size_t t = 0; t < waiting_.size(); ++t) {
      waiting_[t] = static_cast<std::uint32_t>(problem.predecessors(TaskId(t)).size());
      if (waiting_[t] == 0) ready_.insert(TaskId(t));
    }
  }

  /// Places a group before its turn, where it and its neediest task leave most room.
  void place_early(GroupId group) {
    if (state_.is_placed(group)) return;
    std::int64_t need = 0;
    for (const TaskId task : problem_.tasks_of(group)) {
      std::int64_t bytes = problem_.mode(task, 0).workspace.value();
      for (const ValueId value : problem_.inputs(task)) bytes += problem_.size(value).value();
      for (const ValueId value : problem_.outputs(task)) bytes += problem_.size(value).value();
      need = std::max(need, bytes);
    }
    Choice best;
    const TaskId first = problem_.tasks_of(group).front();
    for_each_option(first, group, [&](std::span<const DeviceId> devices) {
      double filled = guide_.noise * random_.unit();
      for (const DeviceId device : devices) {
        filled += memory_.filled(device) + memory_.share(state_.new_bytes(group, device) + need, device);
      }
      if (filled >= best.score || !state_.allows(group, devices)) return;
      best = {first, {devices.begin(), devices.end()}, filled};
    });
    if (!best.devices.empty()) place(group, best.devices);
  }

  /// Runs everything. \return the group that cannot run; nothing when all has run, or the budget ended
  std::optional<GroupId> run(const Budget& budget) {
    std::size_t step = 0;
    while (!ready_.empty()) {
      if (++step % 256 == 0 && budget.expired()) return std::nullopt;
      Choice best = choose();
      if (best.devices.empty() && make_room()) best = choose();
      if (best.devices.empty()) return problem_.group_of(*ready_.begin());
      execute(best.task, best.devices);
    }
    is_complete_ = true;
    return std::nullopt;
  }

  /// Nothing unless all has run.
  [[nodiscard]] std::optional<Schedule> schedule() const {
    return is_complete_ ? std::optional(schedule_) : std::nullopt;
  }

 private:
  struct Choice {
    TaskId task;
    std::vector<DeviceId> devices;
    double score = std::numeric_limits<double>::max();
  };
  /// A copy of a value away from where it was made, or of an input of the graph.
  struct Copy {
    std::uint32_t users = 0;  ///< consumers placed there that have not run
    bool is_there = false;
    bool has_been = false;
  };

  [[nodiscard]] static std::uint64_t key(ValueId value, DeviceId device) {
    return (static_cast<std::uint64_t>(value.index()) << 32) | device.index();
  }
  [[nodiscard]] Copy& copy(ValueId value, DeviceId device) { return copies_[key(value, device)]; }
  [[nodiscard]] bool is_made_on(ValueId value, DeviceId device) const {
    const auto producer = problem_.producer(value);
    if (!producer) return false;
    const auto devices = state_.devices(problem_.group_of(*producer));
    return std::find(devices.begin(), devices.end(), device) != devices.end();
  }

  /// Devices on which the group of the task may run, as it is placed or else in its family's island.
  template <class Visit>
  void for_each_option(TaskId task, GroupId group, Visit visit) {
    if (state_.is_placed(group)) return visit(state_.devices(group));
    const std::size_t island = guide_.island_of_family[guide_.family_of[group.index()]];
    const auto is_home = [&](DeviceId device) { return guide_.island_of[device.index()] == island; };
    if (!problem_.op(task).modes.empty()) {
      for (const Option& option : problem_.options(group)) {
        if (std::any_of(option.devices.begin(), option.devices.end(), is_home)) visit(option.devices);
      }
      return;
    }
    const auto all = problem_.devices_of(group);
    const auto visit_one = [&](std::size_t i) {
      if (is_home(all[i])) visit(all.subspan(i, 1));
    };
    if (all.size() <= kMostDevices) {
      for (std::size_t i = 0; i < all.size(); ++i) visit_one(i);
      return;
    }
    for (const ValueId value : problem_.inputs(task)) {
      const auto producer = problem_.producer(value);
      if (!producer) continue;
      for (const DeviceId device : state_.devices(problem_.group_of(*producer))) {
        const auto found = std::lower_bound(all.begin(), all.end(), device);
        if (found != all.end() && *found == device) visit_one(static_cast<std::size_t>(found - all.begin()));
      }
    }
    for (std::size_t i = 0; i < kMostDevices; ++i) visit_one(random_.below(all.size()));
  }

  Choice choose() {
    Choice best;
    std::size_t looked_at = 0;
    for (const TaskId task : ready_) {
      if (++looked_at > kMostReady && !best.devices.empty()) break;
      const GroupId group = problem_.group_of(task);
      for_each_option(task, group, [&](std::span<const DeviceId> devices) {
        const double value = score(task, group, devices) + guide_.noise * random_.unit();
        if (value < best.score) best = {task, {devices.begin(), devices.end()}, value};
      });
    }
    return best;
  }

  /// What the step leaves behind, in memories of the devices; the largest number if it does not fit.
  double score(TaskId task, GroupId group, std::span<const DeviceId> devices) {
    constexpr double kImpossible = std::numeric_limits<double>::max();
    const bool is_placed = state_.is_placed(group);
    const auto mode = problem_.mode_on(task, devices);
    if (!mode || (!is_placed && !state_.allows(group, devices))) return kImpossible;
    std::int64_t outputs = 0;
    std::int64_t stays = 0;
    for (const ValueId value : problem_.outputs(task)) {
      outputs += problem_.size(value).value();
      if (!problem_.consumers(value).empty()) stays += problem_.size(value).value();
    }
    double result = 0;
    for (const DeviceId device : devices) {
      const std::int64_t parameters = is_placed ? 0 : state_.new_bytes(group, device);
      std::int64_t arriving = 0;
      std::int64_t freed = 0;
      bool sends = false;
      for (const ValueId value : problem_.inputs(task)) {
        const std::int64_t bytes = problem_.size(value).value();
        const bool is_last = consumers_left_[value.index()] == 1;
        if (is_made_on(value, device)) {
          if (is_last) freed += bytes;
          continue;
        }
        const auto found = copies_.find(key(value, device));
        const Copy here = found == copies_.end() ? Copy{} : found->second;
        if (!here.is_there && here.has_been) return kImpossible;
        if (!here.is_there) arriving += bytes;
        if (!here.is_there && problem_.producer(value)) {
          if (!way(value, device)) return kImpossible;
          sends = true;
          result += guide_.price_of_sending * memory_.share(bytes, device);
        }
        if (here.users == (is_placed ? 1 : 0)) freed += bytes;
      }
      const Mode how = problem_.mode(task, *mode);
      const std::int64_t most = arriving + outputs + how.workspace.value();
      const bool exceeds = memory_.is_overfull() || !memory_.has_room(device, parameters, most);
      // What takes no time holds nothing: it may exceed, if nothing runs before enough is freed.
      if (exceeds && (how.duration > Duration() || sends)) return kImpossible;
      if (exceeds) result += kPriceOfExcess;
      result += memory_.share(arriving + stays - freed, device);
      if (!is_placed) result += guide_.price_of_filling * (memory_.filled(device) + memory_.share(parameters, device));
    }
    return result;
  }

  void place(GroupId group, std::span<const DeviceId> devices) {
    for (const DeviceId device : devices) memory_.add_parameters(device, state_.new_bytes(group, device));
    state_.place(group, devices);
    for (const TaskId task : problem_.tasks_of(group)) {
      for (const ValueId value : problem_.inputs(task)) {
        for (const DeviceId device : devices) ++copy(value, device).users;
        leave_home(value);
      }
    }
  }

  /// Frees the memory of a value where it was made once no consumer needs it there.
  void leave_home(ValueId value) {
    if (!at_home_.contains(value)) return;
    const auto consumers = problem_.consumers(value);
    const bool is_needed = std::any_of(consumers.begin(), consumers.end(), [&](TaskId consumer) {
      if (has_run_[consumer.index()]) return false;
      const auto devices = state_.devices(problem_.group_of(consumer));
      return devices.empty() || std::any_of(devices.begin(), devices.end(), [&](DeviceId device) {
               return is_made_on(value, device) || !copy(value, device).has_been;
             });
    });
    if (is_needed) return;
    at_home_.erase(value);
    for (const DeviceId device : state_.devices(problem_.group_of(*problem_.producer(value)))) {
      memory_.hold(device, -problem_.size(value).value());
    }
  }

  void arrive(ValueId value, DeviceId device) {
    Copy& here = copy(value, device);
    here.is_there = here.has_been = true;
    memory_.hold(device, problem_.size(value).value());
  }

  /// The quickest transfer of a value from where it was made; gangs may reach beyond an island.
  [[nodiscard]] std::optional<std::pair<Duration, DeviceId>> way(ValueId value, DeviceId device) const {
    std::optional<std::pair<Duration, DeviceId>> best;
    for (const DeviceId source : state_.devices(problem_.group_of(*problem_.producer(value)))) {
      const auto time = problem_.transfer_time(value, source, device);
      if (time && (!best || std::pair(*time, source) < *best)) best = {*time, source};
    }
    return best;
  }

  /// \pre the value has been made, has not been there, and has a way
  void send(ValueId value, DeviceId device) {
    const auto best = way(value, device);
    schedule_.transfers.push_back({value, best->second, device, now_, now_ + best->first});
    now_ += best->first;
    arrive(value, device);
    if (best->first > Duration()) memory_.pass_time(device, 0);
    leave_home(value);
  }

  /// Sends what is only waited for elsewhere ahead of time, where that frees memory; decides where those that wait for
  /// it will run if nothing else helps. \return whether something was sent
  bool make_room() {
    const std::vector<ValueId> values(at_home_.begin(), at_home_.end());
    bool has_sent = false;
    for (const ValueId value : values) has_sent = send_ahead(value) || has_sent;
    for (std::size_t i = 0; i < values.size() && !has_sent; ++i) {
      for (const TaskId consumer : problem_.consumers(values[i])) place_early(problem_.group_of(consumer));
      has_sent = send_ahead(values[i]);
    }
    return has_sent;
  }

  /// To all that wait for the value, if none of them does where it was made and all of them have room.
  bool send_ahead(ValueId value) {
    std::set<DeviceId> targets;
    for (const TaskId consumer : problem_.consumers(value)) {
      if (has_run_[consumer.index()]) continue;
      const auto devices = state_.devices(problem_.group_of(consumer));
      if (devices.empty()) return false;
      for (const DeviceId device : devices) {
        if (is_made_on(value, device)) return false;
        if (copy(value, device).has_been) continue;
        if (!memory_.has_room(device, 0, problem_.size(value).value()) || !way(value, device)) return false;
        targets.insert(device);
      }
    }
    for (const DeviceId device : targets) send(value, device);
    return !targets.empty();
  }

  void execute(TaskId task, const std::vector<DeviceId>& devices) {
    const GroupId group = problem_.group_of(task);
    if (!state_.is_placed(group)) place(group, devices);
    for (const DeviceId device : devices) {
      for (const ValueId value : problem_.inputs(task)) {
        if (is_made_on(value, device) || copy(value, device).is_there) continue;
        problem_.producer(value) ? send(value, device) : arrive(value, device);
      }
    }
    const ModeIndex mode = *problem_.mode_on(task, devices);
    schedule_.tasks[task.index()] = {mode, now_};
    now_ += problem_.mode(task, mode).duration;
    std::int64_t running = problem_.mode(task, mode).workspace.value();
    for (const ValueId value : problem_.outputs(task)) running += problem_.size(value).value();
    for (const DeviceId device : devices) {
      if (problem_.mode(task, mode).duration > Duration()) memory_.pass_time(device, running);
    }
    has_run_[task.index()] = true;
    for (const ValueId value : problem_.outputs(task)) {
      if (problem_.consumers(value).empty()) continue;
      at_home_.insert(value);
      for (const DeviceId device : devices) memory_.hold(device, problem_.size(value).value());
    }
    for (const ValueId value : problem_.inputs(task)) {
      --consumers_left_[value.index()];
      for (const DeviceId device : devices) {
        Copy& here = copy(value, device);
        if (--here.users > 0 || !here.is_there) continue;
        here.is_there = false;
        memory_.hold(device, -problem_.size(value).value());
      }
      leave_home(value);
    }
    ready_.erase(task);
    for (const TaskId successor : problem_.successors(task)) {
      if (--waiting_[successor.index()] == 0) ready_.insert(successor);
    }
  }

  const Problem& problem_;
  const Guide guide_;
  Random& random_;
  PlacementState state_;
  SerialMemory memory_;
  std::vector<std::uint32_t> consumers_left_;  ///< by value: that have not run
  std::vector<std::uint32_t> waiting_;         ///< by task: predecessors that have not run
  std::vector<bool> has_run_;                  ///< by task
  std::set<TaskId> ready_;
  std::set<ValueId> at_home_;  ///< values that are held where they were made
  std::unordered_map<std::uint64_t, Copy> copies_;
  Schedule schedule_;
  Duration now_;
  bool is_complete_ = false;
};

}  // namespace

FittingSearch::FittingSearch(const Problem& problem, std::uint64_t seed)
    : problem_(problem), random_(seed), stopped_(problem.group_count(), 0) {
  find_islands();
  find_families();
}

void FittingSearch::find_islands() {
  const Cluster& cluster = problem_.cluster();
  std::map<std::string_view, std::size_t> vertices;
  for (const Device& device : cluster.devices()) vertices.try_emplace(device.name, vertices.size());
  for (const std::string& name : cluster.parts().switches) vertices.try_emplace(name, vertices.size());
  UnionFind sets(vertices.size());
  for (const Link& link : cluster.links()) sets.join(vertices.at(link.a), vertices.at(link.b));
  if (cluster.parts().default_link) {
    for (std::size_t d = 1; d < cluster.device_count(); ++d) sets.join(0, d);
  }
  island_of_ = set_of_each(std::move(sets), cluster.device_count());
}

void FittingSearch::find_families() {
  UnionFind sets(problem_.group_count());
  for (std::size_t v = 0; v < problem_.value_count(); ++v) {
    const auto producer = problem_.producer(ValueId(v));
    if (!producer) continue;
    for (const TaskId consumer : problem_.consumers(ValueId(v))) {
      sets.join(problem_.group_of(consumer).index(), problem_.group_of(*producer).index());
    }
  }
  family_of_ = set_of_each(std::move(sets), problem_.group_count());
  islands_.resize(problem_.group_count());
  const bool is_one = std::ranges::count(island_of_, island_of_.front()) == std::ssize(island_of_);
  if (is_one) return std::fill(islands_.begin(), islands_.end(), std::vector{island_of_.front()});
  std::vector<bool> is_known(problem_.group_count(), false);
  for (std::size_t g = 0; g < problem_.group_count(); ++g) {
    std::vector<std::size_t> here;
    const TaskId first = problem_.tasks_of(GroupId(g)).front();
    for (ModeIndex m = 0; m < problem_.mode_count(first); ++m) {
      for (const DeviceId device : problem_.mode(first, m).devices) here.push_back(island_of_[device.index()]);
    }
    std::sort(here.begin(), here.end());
    here.erase(std::unique(here.begin(), here.end()), here.end());
    std::vector<std::size_t>& all = islands_[family_of_[g]];
    if (!is_known[family_of_[g]]) all = here;
    is_known[family_of_[g]] = true;
    std::erase_if(all, [&](std::size_t island) { return !std::binary_search(here.begin(), here.end(), island); });
  }
}

std::optional<Schedule> FittingSearch::attempt(const Budget& budget) {
  std::vector<std::size_t> island_of_family(problem_.group_count(), 0);
  for (std::size_t f = 0; f < islands_.size(); ++f) {
    if (!islands_[f].empty()) island_of_family[f] = islands_[f][random_.below(islands_[f].size())];
  }
  if (++attempts_ % kMemory == 0) std::fill(stopped_.begin(), stopped_.end(), 0);
  // Chance from the second attempt on, ever more up to the tenth, and then again from little.
  const double noise = kMostNoise * static_cast<double>((attempts_ - 1) % 10) / 10;
  const bool is_usual = attempts_ % 2 == 1;
  const double sending = is_usual ? kPriceOfSending : kHighestPriceOfSending * random_.unit();
  const double filling = is_usual ? kPriceOfFilling : kPriceOfFilling * random_.unit();
  Attempt one(problem_, {island_of_, family_of_, island_of_family, noise, sending, filling}, random_);
  std::vector<std::uint32_t> early;
  for (std::uint32_t g = 0; g < stopped_.size(); ++g) {
    if (stopped_[g] > 0) early.push_back(g);
  }
  std::stable_sort(early.begin(), early.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return stopped_[a] > stopped_[b]; });
  for (const std::uint32_t group : early) one.place_early(GroupId(group));
  if (const auto stopped = one.run(budget)) ++stopped_[stopped->index()];
  return one.schedule();
}

}  // namespace opweave
