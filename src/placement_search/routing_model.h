/// What the routing search needs to know of a problem whose placement is open, in flat arrays for its inner loop.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "core/problem_data.h"
#include "opweave/problem.h"

namespace opweave::routing {

using Node = std::uint32_t;  ///< index of a task
using Time = std::int64_t;
inline constexpr Node kNone = std::numeric_limits<Node>::max();
/// Lag between two places that no route joins; sums of a few of them do not overflow.
inline constexpr Time kNoRoute = std::numeric_limits<Time>::max() / 8;

/// Tasks with the options of their groups, whose index means the same for all of them. Immutable once built. O(tasks x
/// options + pairs of options of distinct edges).
class Model {
 public:
  /// A precedence, seen from the task at its other end. Lags of all pairs of options are in a table that like edges
  /// share.
  struct Arc {
    Node task = 0;
    std::uint32_t table = 0;
    std::uint32_t twin = 0;  ///< index of the same edge among all successors, or predecessors
  };

  /// Nothing if the tables would have more than `most_entries`.
  static std::shared_ptr<const Model> create(const Problem& problem, std::size_t most_entries = 8'000'000);

  [[nodiscard]] const Problem& problem() const { return problem_; }
  [[nodiscard]] std::size_t task_count() const { return group_of_.size(); }
  [[nodiscard]] std::size_t group_count() const { return options_.size(); }
  [[nodiscard]] std::uint32_t group_of(Node task) const { return group_of_[task]; }
  [[nodiscard]] std::span<const TaskId> tasks_of(std::uint32_t group) const {
    return problem_.tasks_of(GroupId(group));
  }
  [[nodiscard]] std::uint32_t option_count(std::uint32_t group) const {
    return static_cast<std::uint32_t>(options_[group].size());
  }
  [[nodiscard]] std::span<const DeviceId> devices(std::uint32_t group, std::uint32_t option) const {
    return options_[group][option].devices;
  }
  /// Number of this pair among all pairs of a task and an option of it.
  [[nodiscard]] std::size_t entry(Node task, std::uint32_t option) const { return first_option_[task] + option; }
  [[nodiscard]] std::size_t entry_count() const { return modes_.size(); }
  [[nodiscard]] ModeIndex mode(Node task, std::uint32_t option) const { return modes_[first_option_[task] + option]; }
  [[nodiscard]] Time duration(Node task, std::uint32_t option) const {
    return durations_[first_option_[task] + option];
  }
  /// What the task occupies: device * streams + stream. At least one.
  [[nodiscard]] std::span<const std::uint32_t> resources(Node task, std::uint32_t option) const {
    return resources_[first_option_[task] + option];
  }
  [[nodiscard]] std::size_t resource_count() const { return resource_count_; }
  /// Most resources that a task occupies at once.
  [[nodiscard]] std::size_t slots() const { return slots_; }

  [[nodiscard]] std::span<const Arc> predecessors(Node task) const { return predecessors_[task]; }
  [[nodiscard]] std::span<const Arc> successors(Node task) const { return successors_[task]; }
  [[nodiscard]] std::size_t first_predecessor(Node task) const { return predecessors_.offsets[task]; }
  [[nodiscard]] std::size_t first_successor(Node task) const { return successors_.offsets[task]; }
  [[nodiscard]] std::size_t arc_count() const { return predecessors_.items.size(); }
  /// Time that must pass between the end of one task and the start of the other, under options of the two.
  [[nodiscard]] Time lag(std::uint32_t table, std::uint32_t earlier, std::uint32_t later) const {
    const Table& t = tables_[table];
    if (t.columns == 0) return earlier == later ? 0 : t.between;
    return lags_[t.first + std::size_t{earlier} * t.columns + later];
  }

  /// Some group has a choice.
  [[nodiscard]] bool has_choice() const;
  /// Orders alone do not give the times: memory may run out, or transfers may have to wait for each other.
  [[nodiscard]] bool needs_exact_timing() const { return needs_exact_timing_; }

 private:
  struct Table {
    std::size_t first = 0;
    std::uint32_t columns = 0;  ///< 0 = the same between any two different options
    Time between = 0;
  };

  explicit Model(const Problem& problem) : problem_(problem) {}
  bool list_options(std::size_t most_entries);
  bool list_arcs(std::size_t most_entries);
  [[nodiscard]] Time lag_of(std::span<const ValueId> values, std::span<const DeviceId> from,
                            std::span<const DeviceId> to) const;
  /// Every two different ones of these options are single devices joined by routes of the same latency and bandwidth.
  /// Said only where the cluster has a common rate or there are at most `most_pairs` pairs to look at.
  [[nodiscard]] bool are_alike(std::span<const Option> options, std::size_t most_pairs) const;
  [[nodiscard]] bool memory_may_run_out() const;

  Problem problem_;
  std::vector<std::uint32_t> group_of_;
  std::vector<std::span<const Option>> options_;  ///< by group
  std::vector<std::size_t> first_option_;         ///< by task
  std::vector<ModeIndex> modes_;
  std::vector<Time> durations_;
  detail::Lists<std::uint32_t> resources_;
  std::size_t resource_count_ = 0;
  std::size_t slots_ = 1;
  detail::Lists<Arc> predecessors_;
  detail::Lists<Arc> successors_;
  std::vector<Table> tables_;
  std::vector<Time> lags_;
  bool needs_exact_timing_ = false;
};

}  // namespace opweave::routing
