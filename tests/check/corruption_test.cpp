#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <limits>

#include "check/spoil.h"
#include "opweave/check.h"
#include "opweave/simulate.h"

namespace opweave {
namespace {

using testing::Random;
using testing::Spoiler;

std::string first_of(const std::vector<Violation>& violations) {
  return violations.empty() ? "accepted" : std::string(to_string(violations[0].rule)) + ": " + violations[0].message;
}

bool found(const std::vector<Violation>& violations, const Spoiler& spoiler) {
  return std::ranges::any_of(violations, [&](const Violation& violation) {
    return violation.rule == spoiler.rule && violation.message.find(spoiler.text) != std::string::npos;
  });
}

/// A valid plan: of the naive serial scheduler, or with everything as early as its order allows.
std::optional<testing::PlannedProblem> valid_plan(Random& random) {
  const auto problem = testing::varied_problem(random);
  if (!problem) return std::nullopt;
  auto schedule = testing::serial_schedule(*problem, random);
  if (!schedule) return std::nullopt;
  if (random.chance(50)) {
    SimulationOptions options;
    options.contention = problem->settings().contention;
    schedule = simulate(*problem, execution_order(*problem, *schedule), options).schedule;
  }
  return testing::with_tight_memory(*problem, *schedule, random);
}

TEST(Check, accepts_valid_plans_and_rejects_every_kind_of_corruption_by_its_rule) {
  constexpr int kWanted = 100;  // of each kind
  const std::vector<Spoiler> spoilers = testing::all_spoilers();
  std::vector<int> applied(spoilers.size(), 0);
  int valid = 0;
  for (std::uint64_t seed = 1; seed <= 6000; ++seed) {
    if (std::ranges::all_of(applied, [](int count) { return count >= kWanted; })) break;
    Random random(seed);
    const auto planned = valid_plan(random);
    if (!planned) continue;
    const Problem& problem = planned->problem;
    const auto accepted = check(problem.graph(), problem.cluster(), planned->plan);
    ASSERT_TRUE(accepted.empty()) << "seed " << seed << ": " << first_of(accepted);
    ++valid;
    for (std::size_t kind = 0; kind < spoilers.size(); ++kind) {
      if (applied[kind] >= kWanted) continue;
      Plan plan = planned->plan;
      if (!spoilers[kind].spoil(problem, plan, random)) continue;
      ++applied[kind];
      const auto violations = check(problem.graph(), problem.cluster(), plan, 1000);
      ASSERT_TRUE(found(violations, spoilers[kind]))
          << "seed " << seed << ", " << spoilers[kind].name << ": " << first_of(violations);
    }
  }
  int total = 0;
  for (std::size_t kind = 0; kind < spoilers.size(); ++kind) {
    std::printf("%4d  %-9s  %s\n", applied[kind], std::string(to_string(spoilers[kind].rule)).c_str(),
                spoilers[kind].name.c_str());
    EXPECT_GE(applied[kind], kWanted) << spoilers[kind].name;
    total += applied[kind];
  }
  std::printf("%4d corruptions of %zu kinds rejected, %d valid plans accepted\n", total, spoilers.size(), valid);
  EXPECT_GE(total, 1000);
}

// Whatever 64-bit numbers a plan contains: no overflow (the dev preset would stop), and no acceptance.
TEST(Check, survives_absurd_numbers) {
  const std::int64_t absurd[] = {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max(),
                                 std::numeric_limits<std::int64_t>::min() + 1, -1, std::int64_t{1} << 62};
  int tried = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    Random random(seed);
    const auto planned = testing::random_planned_problem(random);
    if (!planned) continue;
    Plan plan = planned->plan;
    // Other changes may change nothing: a number cut to 32 bits may be the one that was there.
    plan.bounds.push_back({"absurd", Duration(std::numeric_limits<std::int64_t>::max()), ""});
    const auto number = [&] { return random.pick(absurd); };
    for (int changes = 1 + static_cast<int>(random.below(6)); changes > 0; --changes) {
      PlannedTask& task = random.pick(plan.tasks);
      switch (random.below(9)) {
        case 0:
          task.start = Duration(number());
          break;
        case 1:
          task.end = Duration(number());
          break;
        case 2:
          task.op = OperatorId(static_cast<std::size_t>(number()));
          break;
        case 3:
          task.copy = static_cast<std::uint32_t>(number());
          break;
        case 4:
          task.devices = {DeviceId(static_cast<std::size_t>(number()))};
          break;
        case 5:
          plan.transfers.push_back({TensorId(0), 0, DeviceId(0), DeviceId(1), Duration(number()), Duration(number())});
          break;
        case 6:
          plan.statistics.makespan = Duration(number());
          break;
        case 7:
          random.pick(plan.statistics.devices).bubble = Duration(number());
          break;
        default:
          plan.settings.training.microbatches = static_cast<std::uint32_t>(number());
          break;
      }
    }
    ++tried;
    EXPECT_FALSE(check(planned->problem.graph(), planned->problem.cluster(), plan).empty()) << "seed " << seed;
  }
  EXPECT_GT(tried, 100);
}

}  // namespace
}  // namespace opweave
