#include "support/brute_force.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace opweave::testing {
namespace {

using Time = std::int64_t;
constexpr Time kNever = std::numeric_limits<Time>::max();

/// A task or a transfer, once modes and sources are chosen.
struct Activity {
  Time duration = 0;
  std::vector<std::size_t> before;     // activities that end before this one starts
  std::vector<std::size_t> resources;  // each used by one activity at a time; none if it takes no time
  bool eager = false;                  // starting it at once never hurts
};

/// Bytes on a device from the earliest start among `from` until the latest end among `until`.
struct Residence {
  std::size_t device;
  std::int64_t bytes;
  std::vector<std::size_t> from;
  std::vector<std::size_t> until;
};

class ScheduleEnumeration {
 public:
  ScheduleEnumeration(const Problem& problem, std::uint64_t node_limit) : problem_(problem), nodes_left_(node_limit) {
    modes_.resize(problem.task_count());
  }

  bool visit_choices(const std::function<void(const Schedule& shortest)>& visit) {
    visit_ = &visit;
    choose_mode(0);
    return nodes_left_ > 0;
  }

  ExactAnswer run() {
    choose_mode(0);
    return {nodes_left_ > 0, best_};
  }

 private:
  // Modes and sources.

  [[nodiscard]] Mode mode(std::size_t task) const { return problem_.mode(TaskId(task), modes_[task]); }
  [[nodiscard]] bool runs_on(std::size_t task, DeviceId device) const {
    const Mode chosen = mode(task);
    return std::find(chosen.devices.begin(), chosen.devices.end(), device) != chosen.devices.end();
  }

  [[nodiscard]] bool placement_allowed(std::size_t task) const {
    const GroupId group = problem_.group_of(TaskId(task));
    const auto apart = problem_.apart_from(group);
    for (std::size_t other = 0; other < task; ++other) {
      const GroupId other_group = problem_.group_of(TaskId(other));
      if (other_group == group && !std::ranges::equal(mode(other).devices, mode(task).devices)) return false;
      if (std::find(apart.begin(), apart.end(), other_group) == apart.end()) continue;
      for (const DeviceId device : mode(task).devices) {
        if (runs_on(other, device)) return false;
      }
    }
    return true;
  }

  void choose_mode(std::size_t task) {
    if (nodes_left_ == 0) return;
    if (task == problem_.task_count()) {
      list_transfers();
      choose_source(0);
      return;
    }
    for (ModeIndex m = 0; m < problem_.mode_count(TaskId(task)); ++m) {
      modes_[task] = m;
      if (placement_allowed(task)) choose_mode(task + 1);
    }
  }

  void list_transfers() {
    transfers_.clear();
    for (std::size_t v = 0; v < problem_.value_count(); ++v) {
      const auto producer = problem_.producer(ValueId(v));
      if (!producer) continue;
      std::set<DeviceId> targets;
      for (const TaskId consumer : problem_.consumers(ValueId(v))) {
        for (const DeviceId device : mode(consumer.index()).devices) {
          if (!runs_on(producer->index(), device)) targets.insert(device);
        }
      }
      for (const DeviceId target : targets) transfers_.push_back({ValueId(v), DeviceId(), target, {}, {}});
    }
  }

  void choose_source(std::size_t i) {
    if (nodes_left_ == 0) return;
    if (i == transfers_.size()) {
      if (visit_ != nullptr) {
        best_.reset();
        best_makespan_ = kNever;
      }
      schedule_all();
      if (visit_ != nullptr && best_) (*visit_)(*best_);
      return;
    }
    Transfer& transfer = transfers_[i];
    for (const DeviceId source : mode(problem_.producer(transfer.value)->index()).devices) {
      const auto time = problem_.transfer_time(transfer.value, source, transfer.destination);
      if (!time) continue;
      transfer.source = source;
      transfer.start = Duration();
      transfer.end = *time;  // its duration, until it is scheduled
      choose_source(i + 1);
    }
  }

  // One schedule problem.

  void schedule_all() {
    build_activities();
    build_residences();
    for (std::size_t d = 0; d < persistent_.size(); ++d) {
      const auto capacity = problem_.capacity(DeviceId(d));
      if (capacity && persistent_[d] > capacity->value()) return;
    }
    tail_.assign(activities_.size(), 0);
    for (std::size_t a = activities_.size(); a-- > 0;) settle_tail(a);
    status_.assign(activities_.size(), Status::kWaiting);
    start_.assign(activities_.size(), 0);
    seen_.clear();
    advance(0);
  }

  [[nodiscard]] std::size_t transfer_activity(ValueId value, DeviceId target) const {
    for (std::size_t i = 0; i < transfers_.size(); ++i) {
      if (transfers_[i].value == value && transfers_[i].destination == target) return problem_.task_count() + i;
    }
    throw std::logic_error("no such transfer");
  }

  void build_activities() {
    const std::size_t stream_count = problem_.cluster().stream_names().size();
    activities_.assign(problem_.task_count() + transfers_.size(), {});
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      Activity& activity = activities_[t];
      const Mode chosen = mode(t);
      activity.duration = chosen.duration.value();
      for (const TaskId before : problem_.control_predecessors(TaskId(t))) activity.before.push_back(before.index());
      for (const ValueId value : problem_.inputs(TaskId(t))) {
        const auto producer = problem_.producer(value);
        if (!producer) continue;
        for (const DeviceId device : chosen.devices) {
          activity.before.push_back(runs_on(producer->index(), device) ? producer->index()
                                                                       : transfer_activity(value, device));
        }
      }
      if (activity.duration == 0) continue;
      for (const DeviceId device : chosen.devices) {
        for (std::size_t s = 0; s < stream_count; ++s) {
          if ((problem_.streams(TaskId(t)) >> s & 1U) != 0) {
            activity.resources.push_back(device.index() * stream_count + s);
          }
        }
      }
    }
    std::map<std::pair<std::size_t, std::size_t>, std::size_t> channels;
    const auto channel = [&](std::size_t a, std::size_t b) {
      return channels.try_emplace({a, b}, 1'000'000 + channels.size()).first->second;
    };
    for (std::size_t i = 0; i < transfers_.size(); ++i) {
      const Transfer& transfer = transfers_[i];
      Activity& activity = activities_[problem_.task_count() + i];
      activity.duration = transfer.end.value();
      activity.before = {problem_.producer(transfer.value)->index()};
      const Contention contention = problem_.settings().contention;
      activity.eager = contention == Contention::kNone && !problem_.capacity(transfer.destination);
      if (activity.duration == 0 || contention == Contention::kNone) continue;
      if (contention == Contention::kEndpoint) {
        activity.resources = {channel(0, transfer.source.index()), channel(1, transfer.destination.index())};
        continue;
      }
      const auto route = problem_.cluster().route(transfer.source, transfer.destination);
      if (route->hops.empty()) {
        activity.resources = {channel(1000 + transfer.source.index(), transfer.destination.index())};
      }
      for (const Hop& hop : route->hops) {
        const bool one_way = problem_.cluster().links()[hop.link.index()].full_duplex;
        activity.resources.push_back(channel(100 + hop.link.index(), one_way && !hop.forward ? 1 : 0));
      }
    }
  }

  void build_residences() {
    residences_.clear();
    const std::size_t device_count = problem_.cluster().device_count();
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      for (const DeviceId device : mode(t).devices) {
        residences_.push_back({device.index(), mode(t).workspace.value(), {t}, {t}});
      }
    }
    for (std::size_t v = 0; v < problem_.value_count(); ++v) {
      const ValueId value(v);
      const auto producer = problem_.producer(value);
      for (std::size_t d = 0; d < device_count; ++d) {
        const DeviceId device(d);
        Residence residence{d, problem_.size(value).value(), {}, {}};
        std::vector<std::size_t> readers;
        for (const TaskId consumer : problem_.consumers(value)) {
          if (runs_on(consumer.index(), device)) readers.push_back(consumer.index());
        }
        residence.until = readers;
        if (!producer) {
          if (readers.empty()) continue;
          residence.from = readers;
        } else if (runs_on(producer->index(), device)) {
          residence.from = {producer->index()};
          residence.until.push_back(producer->index());
          for (std::size_t i = 0; i < transfers_.size(); ++i) {
            if (transfers_[i].value == value && transfers_[i].source == device) {
              residence.until.push_back(problem_.task_count() + i);
            }
          }
        } else {
          if (readers.empty()) continue;
          residence.from = {transfer_activity(value, device)};
          residence.until.push_back(residence.from.front());
        }
        residences_.push_back(std::move(residence));
      }
    }
    persistent_.assign(device_count, 0);
    std::set<std::pair<std::size_t, ParameterId>> homes;
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      for (const ParameterId parameter : problem_.op(TaskId(t)).parameters) {
        for (const DeviceId device : mode(t).devices) homes.insert({device.index(), parameter});
      }
    }
    for (const auto& [device, parameter] : homes) persistent_[device] += problem_.persistent_bytes(parameter).value();
  }

  void settle_tail(std::size_t activity) {
    // Longest path to the end; predecessors may have any index, so repeat until nothing changes.
    for (const std::size_t before : activities_[activity].before) {
      const Time through = activities_[activity].duration + tail_[activity];
      if (through > tail_[before]) {
        tail_[before] = through;
        settle_tail(before);
      }
    }
  }

  enum class Status : std::uint8_t { kWaiting, kRunning, kDone };

  [[nodiscard]] Time end(std::size_t a) const { return start_[a] + activities_[a].duration; }

  [[nodiscard]] bool can_start(std::size_t a) const {
    if (status_[a] != Status::kWaiting) return false;
    for (const std::size_t before : activities_[a].before) {
      if (status_[before] != Status::kDone) return false;
    }
    for (std::size_t other = 0; other < activities_.size(); ++other) {
      if (status_[other] != Status::kRunning) continue;
      for (const std::size_t resource : activities_[a].resources) {
        const auto& busy = activities_[other].resources;
        if (std::find(busy.begin(), busy.end(), resource) != busy.end()) return false;
      }
    }
    return true;
  }

  /// Everything that ends by `now` ends; then what starts now is chosen.
  void advance(Time now) {
    if (nodes_left_ == 0) return;
    --nodes_left_;
    std::vector<std::size_t> ended;
    for (std::size_t a = 0; a < activities_.size(); ++a) {
      if (status_[a] == Status::kRunning && end(a) <= now) {
        status_[a] = Status::kDone;
        ended.push_back(a);
      }
    }
    std::vector<bool> skipped(activities_.size(), false);
    choose_starts(now, 0, skipped);
    for (const std::size_t a : ended) status_[a] = Status::kRunning;
  }

  /// Decides about activities from `a` on, in order; an activity of no duration ends at once and the
  /// decisions begin again for those that it makes ready.
  void choose_starts(Time now, std::size_t a, std::vector<bool>& skipped) {
    if (nodes_left_ == 0) return;
    while (a < activities_.size() && (skipped[a] || !can_start(a))) ++a;
    if (a == activities_.size()) {
      go_on(now);
      return;
    }
    const bool instant = activities_[a].duration == 0;
    start_[a] = now;
    status_[a] = instant ? Status::kDone : Status::kRunning;
    choose_starts(now, instant ? 0 : a + 1, skipped);
    status_[a] = Status::kWaiting;
    if (activities_[a].eager) return;
    skipped[a] = true;
    choose_starts(now, a + 1, skipped);
    skipped[a] = false;
  }

  [[nodiscard]] bool fits_in_memory() const {
    std::vector<std::int64_t> level = persistent_;
    for (const Residence& residence : residences_) {
      const bool begun = std::any_of(residence.from.begin(), residence.from.end(),
                                     [&](std::size_t a) { return status_[a] != Status::kWaiting; });
      const bool over = std::all_of(residence.until.begin(), residence.until.end(),
                                    [&](std::size_t a) { return status_[a] == Status::kDone; });
      if (begun && !over) level[residence.device] += residence.bytes;
    }
    for (std::size_t d = 0; d < level.size(); ++d) {
      const auto capacity = problem_.capacity(DeviceId(d));
      if (capacity && level[d] > capacity->value()) return false;
    }
    return true;
  }

  void go_on(Time now) {
    Time next = kNever;
    bool all_done = true;
    for (std::size_t a = 0; a < activities_.size(); ++a) {
      all_done = all_done && status_[a] == Status::kDone;
      if (status_[a] == Status::kRunning) next = std::min(next, end(a));
    }
    if (all_done) {
      record();
      return;
    }
    if (next == kNever || !fits_in_memory()) return;
    std::map<std::size_t, Time> load;  // of resources: what is left to do after `next`
    for (std::size_t a = 0; a < activities_.size(); ++a) {
      if (status_[a] == Status::kDone) continue;
      const bool running = status_[a] == Status::kRunning;
      const Time earliest_end = running ? end(a) : next + activities_[a].duration;
      if (earliest_end + tail_[a] >= best_makespan_) return;
      for (const std::size_t resource : activities_[a].resources) {
        load[resource] += earliest_end - next;
        if (next + load[resource] >= best_makespan_) return;
      }
    }
    // The future depends on what is done and on how long the rest still runs, not on how it came about.
    std::string state;
    for (std::size_t a = 0; a < activities_.size(); ++a) {
      state.push_back(static_cast<char>(status_[a]));
      if (status_[a] == Status::kRunning) state += std::to_string(end(a) - now) + ",";
    }
    const auto [entry, is_new] = seen_.try_emplace(std::move(state), now);
    if (!is_new) {
      if (entry->second <= now) return;
      entry->second = now;
    }
    advance(next);
  }

  void record() {
    Time makespan = 0;
    for (std::size_t t = 0; t < problem_.task_count(); ++t) makespan = std::max(makespan, end(t));
    if (makespan >= best_makespan_) return;
    best_makespan_ = makespan;
    best_.emplace();
    for (std::size_t t = 0; t < problem_.task_count(); ++t) best_->tasks.push_back({modes_[t], Duration(start_[t])});
    for (std::size_t i = 0; i < transfers_.size(); ++i) {
      const std::size_t a = problem_.task_count() + i;
      best_->transfers.push_back({transfers_[i].value, transfers_[i].source, transfers_[i].destination,
                                  Duration(start_[a]), Duration(end(a))});
    }
  }

  const Problem& problem_;
  std::uint64_t nodes_left_;
  const std::function<void(const Schedule& shortest)>* visit_ = nullptr;
  std::vector<ModeIndex> modes_;
  std::vector<Transfer> transfers_;
  std::vector<Activity> activities_;  // tasks, then transfers
  std::vector<Residence> residences_;
  std::vector<std::int64_t> persistent_;
  std::vector<Time> tail_;
  std::vector<Status> status_;
  std::vector<Time> start_;
  std::unordered_map<std::string, Time> seen_;
  std::optional<Schedule> best_;
  Time best_makespan_ = kNever;
};

}  // namespace

ExactAnswer brute_force(const Problem& problem, std::uint64_t node_limit) {
  return ScheduleEnumeration(problem, node_limit).run();
}

bool for_each_choice(const Problem& problem, const std::function<void(const Schedule& shortest)>& visit,
                     std::uint64_t node_limit) {
  return ScheduleEnumeration(problem, node_limit).visit_choices(visit);
}

}  // namespace opweave::testing
