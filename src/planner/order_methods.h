/// The order search as methods: beside searches of the placement, and alone (docs/order-search.md).
#pragma once

#include "planner/search_method.h"

namespace opweave {

/// One cooling per slice, with the placement of the incumbent: where the routing search finds placements without
/// looking at memory and contention exactly.
class OrderTurns final : public SearchMethod {
 public:
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);

  OrderTurns(const SearchContext& context, std::uint64_t seed) : problem_(context.problem()), seed_(seed) {}
  void advance(IncumbentStore& incumbent, const Slice& slice) override;

 private:
  const Problem& problem_;
  std::uint64_t seed_;
};

/// Trials of the best starts of different placements, and the rest of the slice for the best of them: where nobody
/// looks for placements meanwhile. Where placements were searched before, the best guess has its trials too, so a
/// search that was misled costs its time and nothing else; then bundles of the winner move, in its order. The starts
/// get better.
class OrdersOfStarts final : public SearchMethod {
 public:
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);

  OrdersOfStarts(SearchContext& context, std::uint64_t seed) : context_(context), seed_(seed) {}
  void advance(IncumbentStore& incumbent, const Slice& slice) override;

 private:
  /// One search from one start, with its own seed.
  struct Attempt {
    Start* start;
    std::uint64_t seed;
    double initial_temperature;
    Schedule result;
  };

  [[nodiscard]] std::vector<Attempt> trials(std::uint64_t seed) const;
  [[nodiscard]] std::vector<Attempt> finalists(std::vector<Attempt> attempts) const;
  [[nodiscard]] bool moves_bundles(const Slice& slice) const;
  bool improve_placement(Start& start, IncumbentStore& incumbent, const Slice& slice, std::uint64_t seed) const;
  void run(std::vector<Attempt>& attempts, IncumbentStore& incumbent, const Slice& slice) const;

  SearchContext& context_;
  std::uint64_t seed_;
};

}  // namespace opweave
