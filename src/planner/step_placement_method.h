/// The placement of training steps as a method.
#pragma once

#include "planner/search_method.h"

namespace opweave {

/// Where the layers of a training step lie (docs/placement-search.md): adds what it finds to the starts.
class StepPlacementMethod final : public SearchMethod {
 public:
  /// As TrainingPlacement::applies_to(), where nobody else looks for placements.
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);

  StepPlacementMethod(SearchContext& context, std::uint64_t seed) : context_(context), seed_(seed) {}
  void advance(IncumbentStore& incumbent, const Slice& slice) override;

 private:
  SearchContext& context_;
  std::uint64_t seed_;
};

}  // namespace opweave
