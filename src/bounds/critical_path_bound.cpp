#include <fmt/format.h>

#include "bounds/bound_context.h"

namespace opweave::bounds {

std::optional<LowerBound> path_bound(const Relaxation& relaxation, const Ends& ends, std::string name) {
  std::optional<Index> longest;
  const auto length = [&](Index task) { return ends.head[task] + relaxation.duration(task) + ends.tail[task]; };
  for (Index task = 0; task < relaxation.task_count(); ++task) {
    if (!longest || length(task) > length(*longest)) longest = task;
  }
  if (!longest) return std::nullopt;
  return LowerBound{std::move(name), Duration(length(*longest)),
                    fmt::format("through operator \"{}\"", relaxation.problem().task_name(TaskId(*longest)))};
}

}  // namespace opweave::bounds
