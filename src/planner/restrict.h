/// A problem with less room, for questions of the kind "does it still fit if ...?".
#pragma once

#include <optional>
#include <vector>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

struct Restriction {
  std::optional<Bytes> memory;                   ///< no device may ever hold more than this
  std::optional<std::vector<DeviceId>> devices;  ///< others may run nothing; ascending
};

/// A problem under a restriction. Tasks, values and devices keep their ids; a schedule of it is one of
/// the problem, with other numbers for the modes.
class RestrictedProblem {
 public:
  /// Nothing if some task has no mode left.
  static std::optional<RestrictedProblem> create(const Problem& problem, const Restriction& restriction);

  [[nodiscard]] const Problem& problem() const { return restricted_; }
  /// The schedule in the modes of the problem that was restricted.
  [[nodiscard]] Schedule widen(Schedule schedule) const;
  /// Inverse of widen(); nothing if a task runs on a device that is not allowed. May break the memory restriction.
  [[nodiscard]] std::optional<Schedule> narrow(Schedule schedule) const;

 private:
  RestrictedProblem(Problem original, Problem restricted)
      : original_(std::move(original)), restricted_(std::move(restricted)) {}

  Problem original_;
  Problem restricted_;
};

}  // namespace opweave
