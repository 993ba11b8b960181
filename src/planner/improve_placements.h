/// Improvement of where the layers of a training step lie.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "planner/incumbent.h"
#include "planner/search_method.h"

namespace opweave {

/// What a search for placements found, best first, and the evaluations of orders that take as long.
struct PlacementsFound {
  std::vector<Start> starts;
  std::uint64_t orders = 0;
};

/// Searches placements from the best starts of different placement, where TrainingPlacement applies and the options
/// want it. Every schedule found is valid, and offered to the incumbent. Under a work limit the parallel_searches and
/// their seeds do not depend on the number of threads, so neither does the result; under a time limit there is a search
/// per thread, and it ends early where it does not get on. \param starts  best first \param work    evaluations of
/// orders, where they are limited: the search takes what as many of them would \param stands_for  microbatches of the
/// step that the problem is a short one of; nothing = it stands for itself
[[nodiscard]] PlacementsFound search_placements(const Problem& problem, const Budget& budget,
                                                const PlannerOptions& options, const std::vector<Start>& starts,
                                                std::optional<std::uint64_t> work, IncumbentStore& incumbent,
                                                std::optional<std::uint32_t> stands_for = {});

/// The same, and adds what is found to the starts, best first again. \return how many orders it took
[[nodiscard]] std::uint64_t improve_placements(const Problem& problem, const Budget& budget,
                                               const PlannerOptions& options, std::vector<Start>& starts,
                                               std::optional<std::uint64_t> work, IncumbentStore& incumbent);

}  // namespace opweave
