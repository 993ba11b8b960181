#include "coarsen/merging.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

namespace opweave::coarsen {
namespace {

/// Levels of the graph in one span.
constexpr std::uint32_t kLevelSpan = 2;
/// Clusters of one level of the graph that a device can take turns with: fewer than that are not merged further.
constexpr std::size_t kClustersPerDevice = 2;

/// Groups of tasks that share their devices, as they are joined by clusters.
class Groups {
 public:
  explicit Groups(const Problem& problem)
      : parent_(problem.group_count()), duration_(problem.group_count(), 0), bytes_(problem.group_count(), 0) {
    std::iota(parent_.begin(), parent_.end(), 0U);
    for (std::size_t g = 0; g < parent_.size(); ++g) {
      for (const TaskId task : problem.tasks_of(GroupId(g))) duration_[g] += problem.shortest(task).value();
      for (const ParameterId parameter : problem.parameters_of(GroupId(g))) {
        bytes_[g] += problem.persistent_bytes(parameter).value();
      }
    }
  }

  [[nodiscard]] bool may_join(GroupId a, GroupId b, const MergeOptions& options) {
    const std::uint32_t x = find(a);
    const std::uint32_t y = find(b);
    return x == y || (duration_[x] + duration_[y] <= options.most_work_of_group.value() &&
                      bytes_[x] + bytes_[y] <= options.most_bytes_of_group.value());
  }

  void join(GroupId a, GroupId b) {
    const std::uint32_t x = find(a);
    const std::uint32_t y = find(b);
    if (x == y) return;
    parent_[x] = y;
    duration_[y] += duration_[x];
    bytes_[y] += bytes_[x];
  }

 private:
  std::uint32_t find(GroupId group) {
    auto g = static_cast<std::uint32_t>(group.index());
    while (parent_[g] != g) g = parent_[g] = parent_[parent_[g]];
    return g;
  }

  std::vector<std::uint32_t> parent_;
  std::vector<std::int64_t> duration_;
  std::vector<std::int64_t> bytes_;
};

class Merger {
 public:
  Merger(const Problem& problem, const MergeOptions& options)
      : problem_(problem),
        options_(options),
        level_(problem.task_count(), 0),
        cluster_of_(problem.task_count(), kNone),
        groups_(problem) {}

  Merging run() {
    find_kinds();
    find_levels();
    for (std::size_t i = 0; i < order_.size();) {
      const std::uint32_t level = level_[order_[i]];
      roots_.clear();
      for (; i < order_.size() && level_[order_[i]] == level; ++i) {
        if (!joins(order_[i])) roots_.push_back(order_[i]);
      }
      pair_siblings();
    }
    return {std::move(cluster_of_), static_cast<std::uint32_t>(clusters_.size())};
  }

 private:
  struct Cluster {
    std::uint32_t kind;
    TaskId example;
    std::int64_t duration;
  };

  [[nodiscard]] std::span<const TaskId> before(std::uint32_t task) const {
    return options_.backward ? problem_.successors(TaskId(task)) : problem_.predecessors(TaskId(task));
  }

  [[nodiscard]] std::span<const TaskId> after(TaskId task) const {
    return options_.backward ? problem_.predecessors(task) : problem_.successors(task);
  }

  /// Tasks of one kind use the same streams and may run on the same devices. What must stay apart from something is a
  /// kind of its own.
  void find_kinds() {
    std::map<std::tuple<std::uint32_t, const DeviceId*, std::size_t>, std::uint32_t> by_streams_and_devices;
    std::map<std::vector<DeviceId>, const DeviceId*> known_sets;
    std::uint32_t next = 0;
    kind_.resize(problem_.task_count());
    std::map<std::pair<const DeviceId*, std::size_t>, const DeviceId*> canonical;
    for (std::size_t t = 0; t < kind_.size(); ++t) {
      const GroupId group = problem_.group_of(TaskId(t));
      if (!problem_.apart_from(group).empty()) {
        kind_[t] = kNone;
        continue;
      }
      const auto devices = problem_.devices_of(group);
      const auto [known, is_new] = canonical.try_emplace({devices.data(), devices.size()}, nullptr);
      if (is_new) {
        known->second =
            known_sets.try_emplace(std::vector<DeviceId>(devices.begin(), devices.end()), devices.data()).first->second;
      }
      const auto [entry, is_first] =
          by_streams_and_devices.try_emplace({problem_.streams(TaskId(t)), known->second, devices.size()}, next);
      if (is_first) ++next;
      kind_[t] = entry->second;
    }
  }

  /// Longest paths in edges, and the tasks by them.
  void find_levels() {
    const auto count = static_cast<std::uint32_t>(level_.size());
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t task = options_.backward ? count - 1 - i : i;
      for (const TaskId other : before(task)) level_[task] = std::max(level_[task], level_[other.index()] + 1);
    }
    order_.resize(count);
    std::iota(order_.begin(), order_.end(), 0U);
    std::ranges::stable_sort(order_, {}, [&](std::uint32_t task) { return level_[task]; });
  }

  [[nodiscard]] bool fits(std::uint32_t task, const Cluster& cluster) {
    return kind_[task] != kNone && kind_[task] == cluster.kind &&
           cluster.duration + problem_.shortest(TaskId(task)).value() <= options_.longest.value() &&
           groups_.may_join(problem_.group_of(TaskId(task)), problem_.group_of(cluster.example), options_);
  }

  void add(std::uint32_t task, std::uint32_t cluster) {
    cluster_of_[task] = cluster;
    clusters_[cluster].duration += problem_.shortest(TaskId(task)).value();
    groups_.join(problem_.group_of(TaskId(task)), problem_.group_of(clusters_[cluster].example));
  }

  std::uint32_t open(std::uint32_t task) {
    clusters_.push_back({kind_[task], TaskId(task), 0});
    add(task, static_cast<std::uint32_t>(clusters_.size() - 1));
    return cluster_of_[task];
  }

  /// What a cluster makes leaves when all of it has run: whoever else waits for a predecessor would wait for the task
  /// too.
  [[nodiscard]] bool delays_others(std::uint32_t task) const {
    return std::ranges::any_of(before(task), [&](TaskId other) {
      return level_[other.index()] / kLevelSpan == level_[task] / kLevelSpan && after(other).size() > 1;
    });
  }

  /// Puts the task into the cluster of all its predecessors within the span, if there is such a one with room.
  bool joins(std::uint32_t task) {
    std::uint32_t cluster = kNone;
    for (const TaskId other : before(task)) {
      if (level_[other.index()] / kLevelSpan != level_[task] / kLevelSpan) continue;
      const std::uint32_t found = cluster_of_[other.index()];
      if (cluster != kNone && cluster != found) return false;
      cluster = found;
    }
    if (cluster == kNone || !fits(task, clusters_[cluster])) return false;
    if (options_.is_gentle && delays_others(task)) return false;
    add(task, cluster);
    return true;
  }

  /// The task from which the largest input comes, or with time turned round to which the largest output goes.
  [[nodiscard]] std::uint32_t nearest(std::uint32_t task) const {
    std::optional<std::pair<std::int64_t, std::uint32_t>> best;
    const auto consider = [&](ValueId value, TaskId other) {
      const std::pair candidate(problem_.size(value).value(), static_cast<std::uint32_t>(other.index()));
      if (!best || candidate > *best) best = candidate;
    };
    if (options_.backward) {
      for (const ValueId value : problem_.outputs(TaskId(task))) {
        for (const TaskId consumer : problem_.consumers(value)) consider(value, consumer);
      }
    } else {
      for (const ValueId value : problem_.inputs(TaskId(task))) {
        if (const auto producer = problem_.producer(value)) consider(value, *producer);
      }
    }
    return best ? best->second : kNone;
  }

  /// Opens clusters for the roots of one level, one for two that are nearest to the same task, as long as there are
  /// more clusters than devices can run at once.
  void pair_siblings() {
    const std::size_t enough = options_.is_gentle ? kClustersPerDevice * problem_.cluster().device_count() : 0;
    std::size_t pairs = roots_.size() - std::min(roots_.size(), enough);
    std::map<std::uint32_t, std::uint32_t> waiting;  // cluster with a single root, by what is nearest to it
    for (const std::uint32_t task : roots_) {
      const std::uint32_t shared = pairs > 0 ? nearest(task) : kNone;
      const auto found = shared == kNone ? waiting.end() : waiting.find(shared);
      if (found != waiting.end() && fits(task, clusters_[found->second])) {
        add(task, found->second);
        waiting.erase(found);
        --pairs;
        continue;
      }
      const std::uint32_t cluster = open(task);
      if (shared != kNone) waiting[shared] = cluster;
    }
  }

  const Problem& problem_;
  const MergeOptions& options_;
  std::vector<std::uint32_t> level_;
  std::vector<std::uint32_t> order_;
  std::vector<std::uint32_t> kind_;
  std::vector<std::uint32_t> cluster_of_;
  std::vector<Cluster> clusters_;
  std::vector<std::uint32_t> roots_;
  Groups groups_;
};

}  // namespace

bool can_merge(const Problem& problem) {
  const Training& training = problem.settings().training;
  return training.microbatches == 1 && training.replicas == 1 &&
         std::ranges::all_of(problem.graph().operators(), [](const Operator& op) { return op.modes.empty(); });
}

Merging merge(const Problem& problem, const MergeOptions& options) { return Merger(problem, options).run(); }

}  // namespace opweave::coarsen
