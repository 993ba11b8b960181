#include "planner/problem_traits.h"

#include <limits>

#include "coarsen/merging.h"
#include "exact/cp_formulation.h"

namespace opweave {
namespace {

/// Modes of all tasks together beyond which no model of the whole is thought of.
constexpr std::size_t kMostModes = 20'000;

}  // namespace

ProblemTraits::ProblemTraits(const Problem& of)
    : problem(of),
      tasks(of.task_count()),
      microbatches(of.settings().training.microbatches),
      can_be_merged(coarsen::can_merge(of)) {
  for (std::size_t g = 0; g < of.group_count() && !has_open_placement; ++g) {
    has_open_placement = of.options(GroupId(g)).size() > 1;
  }
}

const std::shared_ptr<const routing::Model>& ProblemTraits::routing_model() const {
  if (!routing_model_) routing_model_ = routing::Model::create(problem);
  return *routing_model_;
}

std::size_t ProblemTraits::intervals() const {
  if (intervals_) return *intervals_;
  std::size_t modes = 0;
  for (std::size_t t = 0; t < tasks && modes <= kMostModes; ++t) modes += problem.mode_count(TaskId(t));
  intervals_ = modes > kMostModes ? std::numeric_limits<std::size_t>::max() : exact::cp_size(*space()).intervals;
  return *intervals_;
}

const std::shared_ptr<const exact::ScheduleSpace>& ProblemTraits::space() const {
  if (!space_) space_ = std::make_shared<const exact::ScheduleSpace>(problem, exact::exact_unit(problem));
  return space_;
}

}  // namespace opweave
