// Solvers that misbehave, beside methods that do not.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exact/engine.h"
#include "planner/cp_sat_method.h"
#include "planner/cp_sat_targets_method.h"
#include "planner/routing_method.h"
#include "planner/run_methods.h"
#include "planner/searched.h"
#include "support/job_shop.h"

namespace opweave {
namespace {

using testing::by_clock;
using testing::first_schedule;
using testing::is_accepted;
using testing::Searched;
using testing::two_chains;

class HostileStub final : public exact::CpEngine {
 public:
  using Claim = exact::Claim<exact::CpModel>;
  using Solve = std::function<Claim(const exact::CpModel&, const exact::EngineLimits&)>;
  explicit HostileStub(Solve solve) : solve_(std::move(solve)) {}
  [[nodiscard]] std::string name() const override { return "stub"; }
  [[nodiscard]] std::string unavailable_because() const override { return {}; }
  [[nodiscard]] Claim solve(const exact::CpModel& model, const exact::EngineLimits& limits,
                            exact::EngineRun<exact::CpModel>&) const override {
    return solve_(model, limits);
  }

 private:
  Solve solve_;
};

struct HostileCase {
  std::string name;
  HostileStub::Solve solve;
};

class HostileSolver : public ::testing::TestWithParam<HostileCase> {};

TEST_P(HostileSolver, cannot_keep_the_others_from_a_valid_plan_in_time) {
  const Problem problem = testing::random_job_shop(4, 6, 5, 3);
  const Schedule start = first_schedule(problem);
  constexpr MethodRow kRows[] = {
      method_row<RoutingMethod>("routing", MethodPhase::kTogether, MethodThreads::kEach),
      method_row<CpSatMethod>("solver", MethodPhase::kTogether, MethodThreads::kOwn),
  };
  for (const unsigned threads : {1U, 2U}) {
    const Budget budget(0.5, std::nullopt);
    Searched searched(problem, start, budget);
    searched.options.threads = threads;
    searched.context.solver = std::make_shared<HostileStub>(GetParam().solve);
    run_methods(kRows, searched.context, nullptr, budget, std::nullopt, searched.store);
    EXPECT_LT(budget.elapsed(), 0.5 * 1.05 + 0.5);
    EXPECT_LE(*searched.store.makespan(), start.makespan(problem));
    EXPECT_TRUE(is_accepted(problem, searched.store.schedule()));
    EXPECT_FALSE(searched.store.is_optimal());
    EXPECT_LE(searched.store.lower_bound(), *searched.store.makespan());
  }
}

// Its word is all there is for a target that cannot be met; but no such word makes a plan worse or a bound too high.
TEST_P(HostileSolver, cannot_make_targets_go_wrong_visibly) {
  const Problem problem = two_chains();
  const Schedule start = first_schedule(problem);
  const Budget budget(0.5, std::nullopt);
  Searched searched(problem, start, budget);
  searched.context.solver = std::make_shared<HostileStub>(GetParam().solve);
  CpSatTargetsMethod(searched.context, 1).advance(searched.store, by_clock(budget));
  EXPECT_LT(budget.elapsed(), 0.5 * 1.05 + 0.5);
  EXPECT_LE(*searched.store.makespan(), start.makespan(problem));
  EXPECT_TRUE(is_accepted(problem, searched.store.schedule()));
  EXPECT_LE(searched.store.lower_bound(), *searched.store.makespan());
}

HostileStub::Claim claim(exact::EngineStatus status, std::vector<std::int64_t> values) {
  HostileStub::Claim result;
  result.status = status;
  result.values = std::move(values);
  return result;
}

INSTANTIATE_TEST_SUITE_P(
    Cases, HostileSolver,
    ::testing::Values(
        HostileCase{"throws", [](auto&&...) -> HostileStub::Claim { throw std::runtime_error("out of paper"); }},
        HostileCase{"sleeps",
                    [](auto&&...) {
                      std::this_thread::sleep_for(std::chrono::milliseconds(1500));
                      return claim(exact::EngineStatus::kUnknown, {});
                    }},
        HostileCase{"sees_nothing_feasible", [](auto&&...) { return claim(exact::EngineStatus::kInfeasible, {}); }},
        HostileCase{"answers_zeros",
                    [](const exact::CpModel& model, auto&&...) {
                      return claim(exact::EngineStatus::kOptimal, std::vector<std::int64_t>(model.domains().size(), 0));
                    }},
        HostileCase{"claims_an_impossible_bound",
                    [](auto&&...) {
                      auto result = claim(exact::EngineStatus::kUnknown, {});
                      result.bound = 1'000'000;
                      return result;
                    }}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace opweave
