#include "opweave/plan_alone.h"

#include <gtest/gtest.h>

#include "opweave/error.h"
#include "opweave/io.h"
#include "support/serial_plan.h"

namespace opweave {
namespace {

// A plan read alone names the same things at the same times: written again it is the same file, but for
// what only the graph tells (streams are in the file, so even those agree).
TEST(PlanAlone, holds_what_the_file_says) {
  int plans = 0;
  for (std::uint64_t seed = 1; plans < 100; ++seed) {
    testing::Random random(seed);
    const auto planned = testing::random_planned_problem(random);
    if (!planned) continue;
    const std::string json = plan_to_json(planned->plan, planned->problem.graph(), planned->problem.cluster());
    const PlanAlone alone = parse_plan_alone(json, "plan.json");
    EXPECT_EQ(plan_to_json(alone.plan, alone.graph, alone.cluster), json) << "seed " << seed;
    ++plans;
  }
}

TEST(PlanAlone, refuses_what_is_no_plan) {
  EXPECT_THROW(static_cast<void>(parse_plan_alone("{}", "x.json")), InputError);
  EXPECT_THROW(static_cast<void>(parse_plan_alone("[", "x.json")), InputError);
}

}  // namespace
}  // namespace opweave
