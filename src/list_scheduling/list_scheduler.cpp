#include "list_scheduling/list_scheduler.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <queue>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>

#include "list_scheduling/memory_guard.h"
#include "opweave/error.h"

namespace opweave {
namespace {

/// Candidates that may be refused memory before a queue is left for now. The order of admission among
/// so many is urgency enough; the reference order keeps the schedule going whatever is left out.
constexpr int kRefusals = 24;

class ListScheduler {
 public:
  ListScheduler(const PlacedProblem& placed, const ReferenceOrder& reference, std::span<const std::int64_t> priority)
      : placed_(placed),
        reference_(reference),
        priority_(priority),
        starts_(placed.activity_count(), -1),
        waiting_(placed.activity_count()) {
    if (!MemoryGuard::has_room_for_all(placed)) guard_.emplace(placed, reference);
    find_resources();
    make_queues();
  }

  std::vector<std::int64_t> run() {
    for (ActivityId activity = 0; activity < placed_.activity_count(); ++activity) {
      waiting_[activity] = static_cast<std::uint32_t>(placed_.predecessors(activity).size());
      if (waiting_[activity] == 0) make_ready(activity);
    }
    while (started_ < placed_.activity_count() || !running_.empty()) {
      serve_queues();
      if (running_.empty()) start_first_of_reference();
      const std::int64_t now = running_.top().first;
      now_ = now;
      while (!running_.empty() && running_.top().first == now) {
        const ActivityId activity = running_.top().second;
        running_.pop();
        finish(activity);
      }
    }
    return std::move(starts_);
  }

 private:
  struct Queue {
    std::set<std::pair<std::int64_t, ActivityId>> activities;  // (priority, activity)
    std::span<const std::uint32_t> resources;                  // needed by every activity of the queue
    bool dirty = false;
  };

  // Streams first, then the channels of transfers under the contention model as they appear.
  void find_resources() {
    const Problem& problem = placed_.problem();
    const Cluster& cluster = problem.cluster();
    const auto streams = static_cast<std::uint32_t>(cluster.stream_names().size());
    auto resource_count = static_cast<std::uint32_t>(cluster.device_count()) * streams;
    std::unordered_map<Cluster::Channel, std::uint32_t> resource_of_channel;
    for (ActivityId activity = 0; activity < placed_.activity_count(); ++activity) {
      if (placed_.is_task(activity)) {
        for (const DeviceId device : placed_.devices(activity)) {
          for (std::uint32_t mask = problem.streams(TaskId(activity)); mask != 0; mask &= mask - 1) {
            resources_.items.push_back(static_cast<std::uint32_t>(device.index()) * streams +
                                       static_cast<std::uint32_t>(__builtin_ctz(mask)));
          }
        }
      } else if (placed_.duration(activity) > 0) {  // an instant occupies nothing
        const NecessaryTransfer& transfer = placed_.transfer(activity);
        for (const Cluster::Channel channel : problem.channels(transfer.source, transfer.destination)) {
          const auto [entry, is_new] = resource_of_channel.try_emplace(channel, resource_count);
          if (is_new) ++resource_count;
          resources_.items.push_back(entry->second);
        }
      }
      resources_.close_list();
    }
    busy_.assign(resource_count, false);
  }

  // One queue per set of resources: a look at the set decides about all of them at once.
  void make_queues() {
    // Transfers without resources still wait for the memory of their destination.
    const auto home = [&](ActivityId activity) {
      return placed_.is_task(activity) ? placed_.devices(activity).front() : placed_.transfer(activity).destination;
    };
    const auto hash = [&](ActivityId activity) {
      std::size_t value = 2 * home(activity).index() + (placed_.is_task(activity) ? 0 : 1);
      for (const std::uint32_t resource : resources_[activity]) value = (value ^ resource) * 0x9E3779B97F4A7C15U;
      return value ^ (value >> 32U);
    };
    const auto are_alike = [&](ActivityId a, ActivityId b) {
      return placed_.is_task(a) == placed_.is_task(b) && home(a) == home(b) &&
             std::ranges::equal(resources_[a], resources_[b]);
    };
    std::unordered_map<ActivityId, std::uint32_t, decltype(hash), decltype(are_alike)> index(0, hash, are_alike);
    waiting_of_resource_.resize(busy_.size());
    queues_of_device_.resize(placed_.capacity().size());
    queue_of_.resize(placed_.activity_count());
    for (ActivityId activity = 0; activity < placed_.activity_count(); ++activity) {
      const auto [entry, is_new] = index.try_emplace(activity, static_cast<std::uint32_t>(queues_.size()));
      queue_of_[activity] = entry->second;
      if (!is_new) continue;
      queues_.emplace_back().resources = resources_[activity];
      if (placed_.is_task(activity)) {
        for (const DeviceId device : placed_.devices(activity))
          queues_of_device_[device.index()].push_back(entry->second);
      } else {
        queues_of_device_[home(activity).index()].push_back(entry->second);
      }
    }
  }

  /// To be served, unless one of its resources is busy: it is marked when the last of them is released.
  void mark(std::uint32_t queue) {
    if (queues_[queue].dirty || queues_[queue].activities.empty() || !is_free(queues_[queue].resources)) return;
    queues_[queue].dirty = true;
    dirty_.push_back(queue);
  }

  void make_ready(ActivityId activity) {
    const std::uint32_t number = queue_of_[activity];
    Queue& queue = queues_[number];
    if (queue.activities.empty()) {
      for (const std::uint32_t resource : queue.resources) waiting_of_resource_[resource].push_back(number);
    }
    queue.activities.emplace(priority_[activity], activity);
    mark(number);
  }

  /// Its activity has left the queue.
  void leave(std::uint32_t number) {
    if (!queues_[number].activities.empty()) return;
    for (const std::uint32_t resource : queues_[number].resources) {
      std::vector<std::uint32_t>& waiting = waiting_of_resource_[resource];
      *std::ranges::find(waiting, number) = waiting.back();
      waiting.pop_back();
    }
  }

  [[nodiscard]] bool admits(ActivityId activity) { return !guard_ || guard_->admits(activity); }

  [[nodiscard]] bool is_free(std::span<const std::uint32_t> resources) const {
    return std::none_of(resources.begin(), resources.end(), [&](std::uint32_t r) { return busy_[r]; });
  }

  // Queues that compete for a resource are served in the order of their most urgent activities.
  void serve_queues() {
    std::sort(dirty_.begin(), dirty_.end(), [&](std::uint32_t a, std::uint32_t b) {
      return *queues_[a].activities.begin() < *queues_[b].activities.begin();
    });
    for (const std::uint32_t queue : dirty_) {
      serve(queue);
      queues_[queue].dirty = false;
    }
    dirty_.clear();
  }

  void serve(std::uint32_t number) {
    Queue& queue = queues_[number];
    int refusals = 0;
    for (auto entry = queue.activities.begin(); entry != queue.activities.end() && refusals < kRefusals;) {
      if (!is_free(queue.resources)) return;
      const ActivityId activity = entry->second;
      if (admits(activity)) {
        entry = queue.activities.erase(entry);
        leave(number);
        start(activity);
      } else {
        ++entry;
        ++refusals;
      }
    }
  }

  void start(ActivityId activity) {
    if (guard_) guard_->start(activity);
    starts_[activity] = now_;
    ++started_;
    for (const std::uint32_t resource : resources_[activity]) busy_[resource] = true;
    running_.emplace(now_ + placed_.duration(activity), activity);
  }

  void finish(ActivityId activity) {
    for (const std::uint32_t resource : resources_[activity]) {
      busy_[resource] = false;
      for (const std::uint32_t queue : waiting_of_resource_[resource]) mark(queue);
    }
    if (guard_) {
      guard_->finish(activity, [&](DeviceId device) {
        for (const std::uint32_t queue : queues_of_device_[device.index()]) mark(queue);
      });
    }
    for (const ActivityId successor : placed_.successors(activity)) {
      if (--waiting_[successor] == 0) make_ready(successor);
    }
  }

  /// Nothing runs and nothing was admitted within the candidates that were looked at: by the guard's
  /// invariant the first activity left in the reference order can start.
  void start_first_of_reference() {
    while (starts_[reference_.activities[next_reference_]] >= 0) ++next_reference_;
    const ActivityId activity = reference_.activities[next_reference_];
    if (waiting_[activity] != 0 || !admits(activity)) {
      throw InternalError("list scheduling: the first item of the reference order cannot start");
    }
    queues_[queue_of_[activity]].activities.erase({priority_[activity], activity});
    leave(queue_of_[activity]);
    start(activity);
  }

  const PlacedProblem& placed_;
  const ReferenceOrder& reference_;
  std::span<const std::int64_t> priority_;
  std::optional<MemoryGuard> guard_;        // nothing: memory never refuses anything, and wakes nobody
  detail::Lists<std::uint32_t> resources_;  // per activity
  std::vector<bool> busy_;                  // per resource
  std::vector<Queue> queues_;
  std::vector<std::uint32_t> queue_of_;                          // per activity
  std::vector<std::vector<std::uint32_t>> waiting_of_resource_;  // queues that have activities
  std::vector<std::vector<std::uint32_t>> queues_of_device_;     // woken when memory is released there
  std::vector<std::uint32_t> dirty_;
  std::vector<std::int64_t> starts_;
  std::vector<std::uint32_t> waiting_;
  using Event = std::pair<std::int64_t, ActivityId>;  // end, activity
  std::priority_queue<Event, std::vector<Event>, std::greater<>> running_;
  std::int64_t now_ = 0;
  std::size_t started_ = 0;
  std::size_t next_reference_ = 0;
};

}  // namespace

std::vector<std::int64_t> list_schedule(const PlacedProblem& placed, const ReferenceOrder& reference,
                                        std::span<const std::int64_t> priority) {
  return ListScheduler(placed, reference, priority).run();
}

}  // namespace opweave
