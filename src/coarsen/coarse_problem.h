/// The problem whose operators are clusters of another one's, and the way back.
#pragma once

#include <optional>
#include <vector>

#include "coarsen/merging.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::coarsen {

/// A restriction of the finer problem: the members of a cluster run one after the other on one device, everything that
/// they need is there when the first begins, and what they make leaves after the last. Every valid schedule of it is
/// one of the finer problem with the same makespan; so its optimum is an upper bound, and it proves nothing below.
class CoarseProblem {
 public:
  /// \pre the merging is acyclic, and of this problem
  CoarseProblem(const Problem& fine, const Merging& merging);

  [[nodiscard]] const Problem& problem() const { return *coarse_; }
  /// The schedule of the finer problem that one of the coarse problem stands for. O(tasks + transfers log devices)
  [[nodiscard]] Schedule expand(const Schedule& schedule) const;

 private:
  void build(const Merging& merging);
  /// Makes the tensors between clusters. \return position of the last use among the members, by value, for values that
  /// nobody else uses; kNone for others
  std::vector<std::uint32_t> connect(const Merging& merging, std::vector<Operator>& operators,
                                     std::vector<Tensor>& tensors);
  /// The operator of a cluster, but for its tensors and whom it must share its devices with.
  void merge(std::uint32_t cluster, const Merging& merging, const std::vector<std::uint32_t>& last_use,
             Operator& op) const;

  Problem fine_;
  std::optional<Problem> coarse_;
  std::vector<std::vector<TaskId>> members_;  ///< by operator of the coarse problem, in the order in which they run
  std::vector<ValueId> value_of_tensor_;      ///< of the finer problem, by tensor of the coarse one
};

}  // namespace opweave::coarsen
