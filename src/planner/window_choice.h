/// Which part of a schedule is worth solving anew.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/random.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// Draws windows of a schedule: sets of tasks that have to do with each other, around some of those that decide the
/// makespan. Windows of a kind grow while the solver finishes them and shrink while it does not.
class WindowChoice {
 public:
  enum class Kind : std::uint8_t {
    kTime,          ///< what runs around a moment
    kDevicePair,    ///< what two devices do around a moment
    kMicrobatches,  ///< consecutive microbatches around a moment
    kCriticalPath,  ///< a part of the critical path and what is next to it on its devices
  };
  static constexpr std::size_t kKinds = 4;

  WindowChoice(const Problem& problem, std::uint64_t seed);

  struct Window {
    Kind kind = Kind::kTime;
    std::vector<TaskId> tasks;
  };
  /// \pre the schedule is valid. O(n log n)
  [[nodiscard]] Window draw(const Schedule& schedule);
  /// The solver was done with the last window, or was not.
  void finished(Kind kind, bool in_time);

 private:
  [[nodiscard]] std::size_t size(Kind kind) const {
    return static_cast<std::size_t>(sizes_[static_cast<std::size_t>(kind)]);
  }
  void measure(const Schedule& schedule);
  [[nodiscard]] TaskId draw_critical();
  template <class Belongs>
  [[nodiscard]] std::vector<TaskId> around(std::int64_t moment, std::size_t count, Belongs belongs) const;
  [[nodiscard]] std::vector<TaskId> along_critical_path(TaskId from, std::size_t count) const;

  const Problem& problem_;
  Random random_;
  std::array<double, kKinds> sizes_;
  // Of the schedule at hand:
  std::vector<std::int64_t> start_;
  std::vector<std::int64_t> end_;
  std::vector<std::vector<DeviceId>> devices_;
  std::vector<std::vector<TaskId>> on_device_;  ///< by start
  std::vector<TaskId> critical_;                ///< from the end to the beginning
};

}  // namespace opweave
