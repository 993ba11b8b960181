/// The questions behind Explanation, a file each.
#pragma once

#include <optional>
#include <vector>

#include "explain/timeline.h"
#include "opweave/explain.h"

namespace opweave {

struct Explanation::Data {
  Data(const Problem& problem, const Schedule& schedule) : timeline(problem, schedule) {}
  explaining::Timeline timeline;
};

namespace explaining {

/// Something that had to happen before a start, and when it did.
struct Condition {
  Binding binding = Binding::kStart;
  Duration time;
  std::optional<TaskId> task;           ///< kTransfer: the producer of what the transfer brings
  std::optional<std::size_t> transfer;  ///< kTransfer, kLink
  DeviceId device;                      ///< where it is a condition
};
/// Data first, then streams, so that of equal times data is named.
[[nodiscard]] std::vector<Condition> conditions(const Timeline& timeline, TaskId task);
[[nodiscard]] std::vector<Condition> transfer_conditions(const Timeline& timeline, std::size_t transfer);

[[nodiscard]] StartReason reason(const Timeline& timeline, TaskId task);
[[nodiscard]] StartReason transfer_reason(const Timeline& timeline, std::size_t transfer);
[[nodiscard]] std::vector<IdleSpan> idle_spans(const Timeline& timeline);
[[nodiscard]] std::vector<PathStep> critical_path(const Timeline& timeline);
[[nodiscard]] std::vector<Duration> slack(const Timeline& timeline);

}  // namespace explaining
}  // namespace opweave
