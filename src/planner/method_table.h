/// Every method of the search for the least makespan, in the order in which they run.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "planner/search_method.h"

namespace opweave {

/// When a method runs.
enum class MethodPhase : std::uint8_t {
  kFirstPlans,  ///< until there is a plan, and on to the end of what it can do without search
  kBefore,      ///< alone, for its share of what is left of the time
  kTogether,    ///< to the end, in turns with all others of this phase
};
/// "first plans", "before", "together".
[[nodiscard]] std::string_view to_string(MethodPhase phase);

/// Which of the threads at hand a method has while it runs.
enum class MethodThreads : std::uint8_t {
  kAll,   ///< one search that spreads over all
  kEach,  ///< a search on every thread, each with its own seed
  kOwn,   ///< a solver: one of its own, all the time, where there are several
};
/// "all", "each", "own".
[[nodiscard]] std::string_view to_string(MethodThreads threads);

/// A method in the table. To add one, write a class and a row.
struct MethodRow {
  std::string_view name;
  bool (*supports)(const ProblemTraits& traits);
  std::unique_ptr<SearchMethod> (*make)(SearchContext& context, std::uint64_t seed);
  MethodPhase phase;
  MethodThreads threads;
  /// In phase kBefore of what is left of the time, in kTogether beside the shares of the others.
  double (*share)(const ProblemTraits& traits);
  /// The method is not begun with less: it would spend more on getting ready than on its search.
  std::uint64_t least_evaluations = 0;
};

/// A row for a class that has supports(traits), share(traits) and a constructor of context and seed.
template <class M>
[[nodiscard]] constexpr MethodRow method_row(std::string_view name, MethodPhase phase, MethodThreads threads,
                                             std::uint64_t least_evaluations = 0) {
  return {name,
          &M::supports,
          [](SearchContext& context, std::uint64_t seed) -> std::unique_ptr<SearchMethod> {
            return std::make_unique<M>(context, seed);
          },
          phase,
          threads,
          &M::share,
          least_evaluations};
}

/// The table.
[[nodiscard]] std::span<const MethodRow> search_methods();

}  // namespace opweave
