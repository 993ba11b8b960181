#include "planner/repeated_blocks_method.h"

#include <gtest/gtest.h>

#include "list_scheduling/list_schedule.h"
#include "support/equal_layers.h"
#include "support/mergeable_problems.h"

namespace opweave {
namespace {

/// Offers everything on one device, and what the method makes of it.
struct OnOneDevice {
  OnOneDevice(const Problem& problem, const Budget& budget, std::optional<std::uint64_t> evaluations)
      : traits(problem), context{traits, options}, store(problem, budget, {}) {
    store.offer(*list_schedule(problem, std::vector<ModeIndex>(problem.task_count(), 0)), "one device");
    before = *store.makespan();
    RepeatedBlocksMethod(context, 1).advance(store, {budget, evaluations});
  }

  const PlannerOptions options;
  const ProblemTraits traits;
  SearchContext context;
  IncumbentStore store;
  Duration before;
};

// Everything on one device takes 1 + 60 x (1 + 40 + 1). Four devices without transfers take 1 + 60 x (1 + 10 + 1),
// which is the critical path.
TEST(RepeatedBlocksMethod, plans_sixty_layers_like_a_few_by_the_clock_and_under_a_work_limit) {
  const Problem problem = testing::equal_layers({60, 4, false, 4});
  for (const bool by_clock : {true, false}) {
    const Budget budget(by_clock ? std::optional(4.0) : std::nullopt, std::nullopt);
    const OnOneDevice found(problem, budget, by_clock ? std::nullopt : std::optional<std::uint64_t>(400));
    ASSERT_EQ(found.before, Duration(1 + 60 * 42));
    EXPECT_EQ(*found.store.makespan(), Duration(1 + 60 * 12));
    ASSERT_EQ(found.context.starts.size(), 1U);
    EXPECT_EQ(found.context.starts.front().makespan, *found.store.makespan());
    EXPECT_EQ(found.store.last_rejection(), "");
  }
}

TEST(RepeatedBlocksMethod, offers_nothing_without_blocks_or_without_time) {
  const Problem random = testing::heavy_layers(300, 4);
  const Problem layers = testing::equal_layers({60, 4, true, 4});
  for (const auto& [problem, seconds] : {std::pair(&random, 1.0), std::pair(&layers, 0.0)}) {
    const Budget budget(seconds, std::nullopt);
    EXPECT_EQ(OnOneDevice(*problem, budget, std::nullopt).store.trajectory().size(), 1U);
  }
}

}  // namespace
}  // namespace opweave
