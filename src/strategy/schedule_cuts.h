/// Long ways through the orders of schedules: each is a bound on the schedule of any stages.
#pragma once

#include <map>
#include <vector>

#include "strategy/schedule_order.h"

namespace opweave::strategy {

/// Those that a search has met, by what the order depends on. A mesh may use what others of the same order have found.
class ScheduleCuts {
 public:
  /// The latest of them.
  [[nodiscard]] const std::vector<PathCounts>& of(const OrderSize& size) { return paths_[size]; }
  void add(const OrderSize& size, const PathCounts& path);

 private:
  std::map<OrderSize, std::vector<PathCounts>> paths_;
};

/// Of these paths in equal parts: as good a bound as each of them on something.
[[nodiscard]] PathCounts mean_of(const std::vector<PathCounts>& paths);

}  // namespace opweave::strategy
