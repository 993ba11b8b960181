/// The searches as lanes of a portfolio.
#pragma once

#include <cstdint>
#include <memory>

#include "placement_search/routing_search.h"
#include "planner/portfolio.h"
#include "planner/problem_traits.h"

namespace opweave {

/// What plans found by it say.
inline constexpr const char* kRoutingSearch = "routing search";
inline constexpr const char* kOrderSearch = "order search";

/// Works on placement and order at once. \pre the incumbent has a schedule
class RoutingLane final : public Lane {
 public:
  /// One microbatch, open placement, and not too many tasks.
  [[nodiscard]] static bool supports(const ProblemTraits& traits);

  RoutingLane(std::shared_ptr<const routing::Model> model, std::uint64_t seed, IncumbentStore& incumbent);
  void advance(const Budget& budget) override;

 private:
  IncumbentStore& incumbent_;
  RoutingSearch search_;
};

/// The order search as a lane: one cooling per turn, with the placement of the incumbent.
class OrderLane final : public Lane {
 public:
  OrderLane(const Problem& problem, std::uint64_t seed, IncumbentStore& incumbent)
      : problem_(problem), incumbent_(incumbent), seed_(seed) {}
  void advance(const Budget& budget) override;

 private:
  const Problem& problem_;
  IncumbentStore& incumbent_;
  std::uint64_t seed_;
};

}  // namespace opweave
