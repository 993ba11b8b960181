// What `run` must do with engines that do not do what they must.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <string>
#include <thread>

#include "exact/engine.h"
#include "exact/engine_models.h"
#include "exact/linear_program.h"

namespace opweave::exact {
namespace {

using testing::Models;
using testing::Names;

template <class Model>
class Stub final : public Engine<Model> {
 public:
  using Solve = std::function<Claim<Model>(const Model&, const EngineLimits&, EngineRun<Model>&)>;
  explicit Stub(Solve solve) : solve_(std::move(solve)) {}
  std::string name() const override { return "stub"; }
  std::string unavailable_because() const override { return {}; }
  Claim<Model> solve(const Model& model, const EngineLimits& limits, EngineRun<Model>& run) const override {
    return solve_(model, limits, run);
  }

 private:
  Solve solve_;
};

template <class Model>
class HostileEngine : public ::testing::Test {
 protected:
  using Value = typename Model::Value;
  Claim<Model> solve(typename Stub<Model>::Solve solve, const EngineLimits& limits = {}) {
    return run<Model>(std::make_shared<Stub<Model>>(std::move(solve)),
                      testing::model_of(testing::textbook(), static_cast<const Model*>(nullptr)), limits);
  }
  static Claim<Model> claim(EngineStatus status, std::vector<Value> values, Value objective) {
    Claim<Model> result;
    result.status = status;
    result.values = std::move(values);
    result.objective = objective;
    return result;
  }
};
TYPED_TEST_SUITE(HostileEngine, Models, Names);

TYPED_TEST(HostileEngine, solution_that_breaks_a_row_is_refused) {
  // 2 * 3 + 1 = 7 > 5 in the first row.
  const auto answer = this->solve([&](auto&&...) { return this->claim(EngineStatus::kOptimal, {3, 0, 1}, -18); });
  EXPECT_EQ(answer.status, EngineStatus::kFailed);
  EXPECT_THAT(answer.message, ::testing::HasSubstr("nonsense"));
  EXPECT_TRUE(answer.values.empty());
}

TYPED_TEST(HostileEngine, solution_outside_its_bounds_or_of_another_length_is_refused) {
  EXPECT_EQ(this->solve([&](auto&&...) {
                  return this->claim(EngineStatus::kOptimal, {-1, 0, 1}, 2);
                })
                .status,
            EngineStatus::kFailed);
  EXPECT_EQ(this->solve([&](auto&&...) { return this->claim(EngineStatus::kFeasible, {1}, -5); }).status,
            EngineStatus::kFailed);
  EXPECT_EQ(this->solve([&](auto&&...) { return this->claim(EngineStatus::kOptimal, {}, 0); }).status,
            EngineStatus::kFailed);
}

TYPED_TEST(HostileEngine, wrong_objective_is_refused) {
  const auto answer = this->solve([&](auto&&...) { return this->claim(EngineStatus::kOptimal, {1, 0, 1}, -13); });
  EXPECT_EQ(answer.status, EngineStatus::kFailed);
}

TYPED_TEST(HostileEngine, bound_above_its_own_solution_is_refused) {
  const auto answer = this->solve([&](auto&&...) {
    auto claim = this->claim(EngineStatus::kFeasible, {1, 0, 1}, -8);
    claim.bound = -7;
    return claim;
  });
  EXPECT_EQ(answer.status, EngineStatus::kFailed);
}

TYPED_TEST(HostileEngine, optimum_worse_than_what_it_reported_is_refused) {
  const auto answer = this->solve([&](const auto&, const auto&, auto& line) {
    line.improved({2, 0, 1});
    return this->claim(EngineStatus::kOptimal, {1, 0, 1}, -8);
  });
  EXPECT_EQ(answer.status, EngineStatus::kFailed);
}

TYPED_TEST(HostileEngine, infeasible_after_a_solution_is_refused) {
  const auto answer = this->solve([&](const auto&, const auto&, auto& line) {
    line.improved({2, 0, 1});
    return this->claim(EngineStatus::kInfeasible, {}, 0);
  });
  EXPECT_EQ(answer.status, EngineStatus::kFailed);
}

TYPED_TEST(HostileEngine, exception_becomes_a_failure) {
  const auto answer = this->solve([](auto&&...) -> Claim<TypeParam> { throw std::runtime_error("out of paper"); });
  EXPECT_EQ(answer.status, EngineStatus::kFailed);
  EXPECT_EQ(answer.message, "out of paper");
}

TYPED_TEST(HostileEngine, ignored_limit_is_cut_and_the_best_report_survives) {
  const auto sleeping = std::make_shared<std::atomic<bool>>(true);
  EngineLimits limits;
  limits.seconds = 0.2;
  const auto begin = std::chrono::steady_clock::now();
  const auto answer = this->solve(
      [&, sleeping](const auto&, const auto&, auto& line) {
        line.improved({1, 0, 1});
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        line.improved({9, 9, 9});  // nonsense among the reports changes nothing
        std::this_thread::sleep_for(std::chrono::milliseconds(1500));
        *sleeping = false;
        return Claim<TypeParam>{};
      },
      limits);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 0.2 + kGraceSeconds + 0.4);
  EXPECT_TRUE(*sleeping);
  EXPECT_TRUE(answer.abandoned);
  EXPECT_EQ(answer.status, EngineStatus::kFeasible);
  EXPECT_NEAR(static_cast<double>(answer.objective), -8, 1e-9);
  while (*sleeping) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

// With a worker left behind the process still ends, with the status it wanted.
TEST(HostileEngineAtExit, worker_left_behind_does_not_hold_up_the_end_of_the_process) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        EngineLimits limits;
        limits.seconds = 0.05;
        const auto stub = std::make_shared<Stub<CpModel>>([](auto&&...) {
          std::this_thread::sleep_for(std::chrono::seconds(100));
          return Claim<CpModel>{};
        });
        const auto answer =
            run<CpModel>(stub, testing::model_of(testing::textbook(), static_cast<const CpModel*>(nullptr)), limits);
        std::exit(answer.abandoned ? 3 : 4);
      },
      ::testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace opweave::exact
