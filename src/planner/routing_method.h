/// The routing search as a method.
#pragma once

#include <optional>

#include "placement_search/routing_search.h"
#include "planner/search_method.h"

namespace opweave {

/// Works on placement and order at once (docs/routing-search.md), from the incumbent at its first slice.
class RoutingMethod final : public SearchMethod {
 public:
  /// One microbatch, open placement, and not too many tasks.
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);

  RoutingMethod(const SearchContext& context, std::uint64_t seed)
      : model_(context.traits.routing_model()), seed_(seed) {}
  void advance(IncumbentStore& incumbent, const Slice& slice) override;

 private:
  const std::shared_ptr<const routing::Model> model_;
  const std::uint64_t seed_;
  std::optional<RoutingSearch> search_;
};

}  // namespace opweave
