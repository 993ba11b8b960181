#include "opweave/budget.h"

#include <algorithm>

namespace opweave {

Budget::Budget(std::optional<double> seconds, std::optional<std::uint64_t> work)
    : time_limit_(seconds), work_limit_(work) {
  // A century is as good as forever and keeps the clock's arithmetic from overflowing.
  constexpr double kForever = 3e9;
  if (seconds) {
    deadline_ = start_ + std::chrono::duration_cast<Clock::duration>(
                             std::chrono::duration<double>(std::clamp(*seconds, 0.0, kForever)));
  }
}

std::optional<double> Budget::remaining() const {
  if (!deadline_) return std::nullopt;
  return std::chrono::duration<double>(*deadline_ - Clock::now()).count();
}

Budget Budget::share(double fraction) const {
  const std::optional<double> left = remaining();
  Budget part(left ? std::optional(std::max(0.0, *left) * fraction) : std::nullopt, work_limit_);
  part.stop_flag_ = stop_flag_;
  part.done_flag_ = done_flag_;
  return part;
}

Budget Budget::until(const std::atomic<bool>* flag) const {
  Budget result = *this;
  result.done_flag_ = flag;
  return result;
}

Budget Budget::keeping(double seconds) const {
  Budget result = *this;
  if (result.deadline_) {
    result.deadline_ = std::max(
        start_, *deadline_ - std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
  }
  return result;
}

Budget Budget::with_work(std::uint64_t work) const {
  Budget result = *this;
  result.work_limit_ = work;
  return result;
}

}  // namespace opweave
