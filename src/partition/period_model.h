/// The period of a Problem as loads on its streams and channels.
#pragma once

#include <optional>
#include <vector>

#include "opweave/problem.h"
#include "partition/load_model.h"

namespace opweave::partition {

/// Groups become vertices; with `join_copies`, all copies of an operator that nothing binds become one. Loads are
/// nanoseconds per iteration, so the period of a schedule with this placement is its largest load divided by the
/// microbatches.
class PeriodModel {
 public:
  /// Nothing if a group has no mode on a single device, or if the model would be too large.
  static std::optional<PeriodModel> create(const Problem& problem, bool join_copies);

  [[nodiscard]] const LoadModel& model() const { return model_; }
  /// A mode per task.
  [[nodiscard]] std::vector<ModeIndex> modes(const Assignment& assignment) const;
  /// Inverse of modes(); nothing if the tasks of a vertex are on several devices, or on a gang.
  [[nodiscard]] std::optional<Assignment> assignment(const std::vector<ModeIndex>& modes) const;
  /// Two vertices exchange data over a missing route.
  [[nodiscard]] bool is_routed(double largest_load) const;

 private:
  explicit PeriodModel(const Problem& problem) : problem_(&problem) {}
  bool find_vertices(bool join_copies);
  void find_devices();
  void find_nets();

  const Problem* problem_;
  LoadModel model_;
  std::vector<Vertex> vertex_of_;             ///< by group
  std::vector<std::vector<GroupId>> groups_;  ///< by vertex
};

}  // namespace opweave::partition
