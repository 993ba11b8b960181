/// How long a planner may work.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace opweave {

/// Limits that every loop asks. A work limit makes runs repeatable to the byte; a time limit does not.
class Budget {
 public:
  using Clock = std::chrono::steady_clock;

  Budget() = default;
  /// No more than `seconds` from now, if given; no more than `work` evaluations, if given.
  Budget(std::optional<double> seconds, std::optional<std::uint64_t> work);

  /// Makes exhausted() true as soon as *flag is; the flag outlives the budget. Set by signal handlers.
  void watch(const std::atomic<bool>* flag) { stop_flag_ = flag; }

  [[nodiscard]] bool stopped() const { return stop_flag_ != nullptr && stop_flag_->load(std::memory_order_relaxed); }
  /// The clock, the stop flag or the flag of until() says stop. Reads the clock: ask every few microseconds of
  /// work, not every step.
  [[nodiscard]] bool expired() const {
    return stopped() || (done_flag_ != nullptr && done_flag_->load(std::memory_order_relaxed)) ||
           (deadline_ && Clock::now() >= *deadline_);
  }
  [[nodiscard]] std::optional<std::uint64_t> work_limit() const { return work_limit_; }
  [[nodiscard]] std::optional<double> time_limit_seconds() const { return time_limit_; }
  /// Seconds since construction.
  [[nodiscard]] double elapsed() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  /// Seconds until the deadline; nothing without one.
  [[nodiscard]] std::optional<double> remaining() const;
  /// A budget that ends after this share of the remaining time (never, without a deadline), or with the same stop flag.
  [[nodiscard]] Budget share(double fraction) const;
  /// The same limits, and an end as soon as *flag is true because what was wanted is there. The flag outlives the
  /// budget and replaces that of an earlier until().
  [[nodiscard]] Budget until(const std::atomic<bool>* flag) const;
  /// The same limits, with the deadline this much earlier: time kept for what must follow the search.
  [[nodiscard]] Budget keeping(double seconds) const;
  /// The same limits with another work limit.
  [[nodiscard]] Budget with_work(std::uint64_t work) const;

 private:
  Clock::time_point start_ = Clock::now();
  std::optional<Clock::time_point> deadline_;
  std::optional<double> time_limit_;
  std::optional<std::uint64_t> work_limit_;
  const std::atomic<bool>* stop_flag_ = nullptr;
  const std::atomic<bool>* done_flag_ = nullptr;
};

}  // namespace opweave
