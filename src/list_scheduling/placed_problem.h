/// A problem whose placement is decided: tasks and transfers as activities with durations, precedence and
/// the memory that each makes and uses. Shared by everything that only orders and times.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/problem_data.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// A task (ids below task_count) or a transfer (after them).
using ActivityId = std::uint32_t;

/// One value on one device: from the activity that brings it there to the last activity that uses it there.
struct Residence {
  DeviceId device;
  std::int64_t bytes = 0;
  ActivityId maker = 0;         ///< producer or incoming transfer; meaningless for an input of the graph
  bool is_graph_input = false;  ///< nobody makes it: it appears with the first of its users
};

/// A transfer that the placement makes necessary.
struct NecessaryTransfer {
  ValueId value;
  DeviceId source;
  DeviceId destination;
};

/// Immutable once built. O(tasks + edges) time and memory.
class PlacedProblem {
 public:
  /// A task that is to wait for another although the problem does not ask for it.
  struct ExtraEdge {
    ActivityId earlier;
    ActivityId later;
  };
  /// \pre modes has a valid mode per task; extra edges go from smaller to larger task ids.
  /// Nothing if a value must cross devices that no route joins.
  static std::optional<PlacedProblem> create(const Problem& problem, std::vector<ModeIndex> modes,
                                             const std::vector<ExtraEdge>& extra = {});

  [[nodiscard]] const Problem& problem() const { return *problem_; }
  [[nodiscard]] const std::vector<ModeIndex>& modes() const { return modes_; }
  [[nodiscard]] std::size_t task_count() const { return modes_.size(); }
  [[nodiscard]] std::size_t activity_count() const { return durations_.size(); }
  [[nodiscard]] bool is_task(ActivityId activity) const { return activity < task_count(); }
  [[nodiscard]] const NecessaryTransfer& transfer(ActivityId activity) const {
    return transfers_[activity - task_count()];
  }
  [[nodiscard]] std::int64_t duration(ActivityId activity) const { return durations_[activity]; }
  /// Devices of a task's mode.
  [[nodiscard]] std::span<const DeviceId> devices(ActivityId task) const {
    return problem_->mode(TaskId(task), modes_[task]).devices;
  }
  [[nodiscard]] std::int64_t workspace(ActivityId task) const { return workspaces_[task]; }
  [[nodiscard]] std::span<const ActivityId> predecessors(ActivityId activity) const { return predecessors_[activity]; }
  [[nodiscard]] std::span<const ActivityId> successors(ActivityId activity) const { return successors_[activity]; }

  [[nodiscard]] std::size_t residence_count() const { return residences_.size(); }
  [[nodiscard]] const Residence& residence(std::uint32_t id) const { return residences_[id]; }
  /// Residences that start with the activity (outputs of a task; the arriving copy of a transfer).
  [[nodiscard]] std::span<const std::uint32_t> made(ActivityId activity) const { return made_[activity]; }
  /// Residences that must last until the end of the activity (inputs of a task; the source of a transfer).
  [[nodiscard]] std::span<const std::uint32_t> used(ActivityId activity) const { return used_[activity]; }
  [[nodiscard]] std::span<const ActivityId> users(std::uint32_t residence) const { return users_[residence]; }
  /// Bytes of the parameters on each device.
  [[nodiscard]] const std::vector<std::int64_t>& persistent() const { return persistent_; }
  /// Capacity of each device; the largest integer for unlimited.
  [[nodiscard]] const std::vector<std::int64_t>& capacity() const { return capacity_; }

  /// The same with time reversed: what came last comes first, and a value appears with the first of its users, its
  /// producer being the last. A schedule of it, read backwards, is one of this and takes the same memory.
  [[nodiscard]] PlacedProblem mirrored() const;
  /// Longest chain of durations from the start of each activity to the end of everything. \pre not mirrored.
  [[nodiscard]] std::vector<std::int64_t> tails() const;
  /// Starts of all activities in a schedule with these modes.
  [[nodiscard]] std::vector<std::int64_t> starts(const Schedule& schedule) const;
  /// Schedule with these activity starts.
  [[nodiscard]] Schedule schedule(std::span<const std::int64_t> starts) const;

 private:
  PlacedProblem() = default;
  bool find_transfers();
  void connect_activities(const std::vector<ExtraEdge>& extra);
  void find_residences();

  const Problem* problem_ = nullptr;
  std::vector<ModeIndex> modes_;
  std::vector<NecessaryTransfer> transfers_;   // by value, then destination
  std::vector<std::uint32_t> first_transfer_;  // per value, and one past the end
  std::vector<std::int64_t> durations_;
  std::vector<std::int64_t> workspaces_;
  detail::Lists<ActivityId> predecessors_;
  detail::Lists<ActivityId> successors_;
  std::vector<Residence> residences_;
  detail::Lists<std::uint32_t> made_;
  detail::Lists<std::uint32_t> used_;
  detail::Lists<ActivityId> users_;
  std::vector<std::int64_t> persistent_;
  std::vector<std::int64_t> capacity_;
};

}  // namespace opweave
