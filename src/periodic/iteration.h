/// A whole iteration around a kernel: ramp-up, the kernel again and again, ramp-down.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "order_search/order_search.h"
#include "periodic/kernel.h"

namespace opweave::periodic {

/// A short iteration whose middle is a few laps of the kernel stands for a long one: where two laps in a row
/// differ by exactly one period, any number of them goes in between, and all that comes after moves by as many periods;
/// where they do not, the laps are put off until they are as in the kernel. What is searched is the short one, so
/// that the effort does not depend on the number of microbatches (docs/periodic.md).
class Iteration {
 public:
  /// A schedule with the placement of the kernel whose ramps may be better than the kernel's own.
  struct Example {
    Problem problem;  ///< the whole one with as many or fewer microbatches
    Schedule schedule;
  };
  /// Ramp-up and ramp-down as the kernel, unrolled, or the example has them. Nothing if `whole` has too few
  /// microbatches for a steady state with this kernel. \pre the kernel is valid; modes of its body are modes of
  /// `whole`. \param example  may be null
  static std::unique_ptr<Iteration> create(const Problem& whole, const Kernel& kernel,
                                           const Example* example = nullptr);
  Iteration(const Iteration&) = delete;
  Iteration& operator=(const Iteration&) = delete;

  /// Searches for better orders of ramp-up and ramp-down than those of the kernel, unrolled, or that an earlier call
  /// found. \param on_improvement  called whenever the whole iteration has become shorter
  void improve(const Budget& budget, const OrderSearchOptions& options,
               const std::function<void(const Iteration&)>& on_improvement);

  [[nodiscard]] const Kernel& kernel() const { return kernel_; }
  /// The best whole iteration. O(its tasks).
  [[nodiscard]] Schedule schedule() const;
  /// Of the best whole iteration.
  [[nodiscard]] Time makespan() const { return *best_makespan_; }
  /// Time between one repetition and the next in its steady state; at most that of the kernel.
  [[nodiscard]] Time period() const { return period_; }

 private:
  Iteration(const Problem& whole, const Kernel& kernel, Problem problem);
  bool connect();
  void assign_bands();
  void let_ramps_fill_gaps();
  void hold_together();
  [[nodiscard]] std::vector<Time> starts_of_example(const Example& example) const;
  bool try_order(std::span<const Time> starts);
  [[nodiscard]] std::optional<Time> steady_period(std::span<const Time> ends) const;
  struct Delay {
    std::optional<Time> kernel_at;  ///< of the kernel's time 0; nothing = the laps stay where they are
    Time of_rest = 0;               ///< what comes after the laps
  };
  [[nodiscard]] Delay delay_to_kernel(std::span<const Time> ends) const;
  [[nodiscard]] Time in_kernel(Node node) const;
  bool take_if_better(std::span<const Time> ends, Time makespan);

  const Problem& whole_;
  const Kernel kernel_;
  const Time least_period_;
  const Problem problem_;
  std::optional<PlacedProblem> placed_;
  Network network_;
  Network with_fillers_;         ///< of the same nodes: weight gradients of the ramps fill gaps
  std::uint32_t first_lap_ = 0;  ///< that is complete
  std::uint32_t laps_ = 0;       ///< complete ones
  std::uint32_t left_out_ = 0;
  std::vector<Node> body_node_;               ///< by node of the short network; kNone = outside the kernel
  std::vector<std::uint32_t> repetition_;     ///< by node
  std::vector<Time> starts_;                  ///< by node, in the best order known
  std::vector<std::pair<Node, Node>> steps_;  ///< the same node of the last two laps
  std::optional<Time> best_makespan_;
  Time period_ = 0;  ///< at which the laps of that order follow each other
};

}  // namespace opweave::periodic
