/// Memory that a plan leaves free while values are away.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "opweave/memory_modes.h"

namespace opweave {

/// The memory of every device over the time of a schedule, and what more would fit into it.
class MemorySlack {
 public:
  /// O(n log n) in tasks and transfers
  MemorySlack(const ProblemWithMovements& derived, const Schedule& schedule);

  /// Bytes on a device for a time.
  struct Gap {
    DeviceId device;
    std::int64_t from = 0;
    std::int64_t to = 0;
    std::int64_t bytes = 0;
  };
  /// What it would take, beside what is there, if a value that was let go had stayed where it was made. Empty for a
  /// value that stays.
  [[nodiscard]] std::vector<Gap> gaps(ValueId value) const;
  /// True if all of them fit together; then they are taken.
  bool take(const std::vector<Gap>& gaps);

 private:
  using Levels = std::map<std::int64_t, std::int64_t>;  ///< free bytes from each moment on

  void add(const Gap& gap);
  [[nodiscard]] bool fits(const Gap& gap) const;
  Levels::iterator split(Levels& levels, std::int64_t time) const;

  const ProblemWithMovements& derived_;
  const Schedule& schedule_;
  std::vector<Levels> free_;             ///< by device
  std::vector<TaskId> first_;            ///< by original task: it
  std::map<TaskId, TaskId> again_;       ///< by original task: its repetition
  std::map<ValueId, TaskId> copied_in_;  ///< by original value: its copy back
};

}  // namespace opweave
