// What every engine must do, run on each: status, limits, interruption, start, invalid models.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include "exact/engine.h"
#include "exact/engine_models.h"
#include "exact/linear_program.h"

namespace opweave::exact {
namespace {

using testing::LinearProgram;
using testing::Models;
using testing::Names;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

template <class Model>
std::shared_ptr<const Engine<Model>> engine_for();
template <>
std::shared_ptr<const MipEngine> engine_for<MipModel>() {
  return highs_engine();
}
template <>
std::shared_ptr<const CpEngine> engine_for<CpModel>() {
  return cp_sat_engine();
}

template <class Model>
class EngineConformance : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = engine_->unavailable_because(); !reason.empty()) GTEST_SKIP() << reason;
  }
  Claim<Model> solve(const LinearProgram& program, const EngineLimits& limits = {},
                     const std::function<bool()>& should_stop = {}, const OnImprovement<Model>& on_improvement = {}) {
    return run<Model>(engine_, testing::model_of(program, static_cast<const Model*>(nullptr)), limits, should_stop,
                      on_improvement);
  }
  const std::shared_ptr<const Engine<Model>> engine_ = engine_for<Model>();
};

TYPED_TEST_SUITE(EngineConformance, Models, Names);

TYPED_TEST(EngineConformance, finds_the_optimum_and_its_bound) {
  const auto claim = this->solve(testing::textbook());
  ASSERT_EQ(claim.status, EngineStatus::kOptimal) << claim.message;
  EXPECT_NEAR(static_cast<double>(claim.objective), -13, 1e-6);
  ASSERT_TRUE(claim.bound);
  EXPECT_NEAR(static_cast<double>(*claim.bound), -13, 1e-6);
  EXPECT_NEAR(static_cast<double>(claim.values[0]), 2, 1e-6);
  EXPECT_NEAR(static_cast<double>(claim.values[1]), 0, 1e-6);
  EXPECT_NEAR(static_cast<double>(claim.values[2]), 1, 1e-6);
}

TYPED_TEST(EngineConformance, says_infeasible) {
  // Twice an integer is never 3.
  LinearProgram program = testing::textbook();
  program.rows.push_back({{2, 2, 2}, 3, 3});
  const auto claim = this->solve(program);
  EXPECT_EQ(claim.status, EngineStatus::kInfeasible) << claim.message;
  EXPECT_TRUE(claim.values.empty());
}

TYPED_TEST(EngineConformance, solves_a_program_without_an_objective) {
  LinearProgram program = testing::textbook();
  program.cost = {0, 0, 0};
  program.rows.push_back({{1, 1, 1}, 2, 2});
  const auto claim = this->solve(program);
  ASSERT_EQ(claim.status, EngineStatus::kOptimal) << claim.message;
  EXPECT_NEAR(static_cast<double>(claim.values[0] + claim.values[1] + claim.values[2]), 2, 1e-6);
}

TYPED_TEST(EngineConformance, time_limit_keeps_the_incumbent) {
  const LinearProgram program = testing::market_split(6, 1);
  const auto begin = Clock::now();
  EngineLimits limits;
  limits.seconds = 1.0;
  const auto claim = this->solve(program, limits);
  EXPECT_LT(seconds_since(begin), 1.0 + kGraceSeconds + 0.5);
  ASSERT_EQ(claim.status, EngineStatus::kFeasible) << claim.message;
  EXPECT_FALSE(claim.values.empty());
  if (claim.bound) {
    EXPECT_LE(*claim.bound, claim.objective);
  }
}

TYPED_TEST(EngineConformance, interruption_from_another_thread_returns_within_a_second) {
  const LinearProgram program = testing::market_split(6, 2);
  std::atomic<bool> stop = false;
  Clock::time_point stopped_at;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    stopped_at = Clock::now();
    stop = true;
  });
  const auto claim = this->solve(program, {}, [&] { return stop.load(); });
  const auto returned_at = Clock::now();
  other.join();
  EXPECT_LT(std::chrono::duration<double>(returned_at - stopped_at).count(), 1.0);
  ASSERT_EQ(claim.status, EngineStatus::kFeasible) << claim.message;
  EXPECT_FALSE(claim.values.empty());
}

TYPED_TEST(EngineConformance, never_ends_worse_than_its_start) {
  LinearProgram program = testing::market_split(6, 3);
  EngineLimits limits;
  limits.seconds = 0.5;
  const auto cold = this->solve(program, limits);
  ASSERT_TRUE(cold.has_solution()) << cold.message;
  // Solvers answer 0.9999999 for 1: a cast alone would make another point of it.
  program.start.clear();
  for (const auto value : cold.values) program.start.push_back(std::llround(value));
  limits.seconds = 0.1;
  const auto warm = this->solve(program, limits);
  ASSERT_TRUE(warm.has_solution()) << warm.message;
  // Objectives of solvers that calculate in floating point are equal up to rounding.
  EXPECT_LE(static_cast<double>(warm.objective), static_cast<double>(cold.objective) + 1e-4);
}

TYPED_TEST(EngineConformance, takes_up_a_start_that_it_would_hardly_find) {
  // 6 exact equations over 50 binaries with one planted solution; asked of the engine itself, because `run` would
  // remember the start without it.
  LinearProgram program = testing::market_split(6, 9);
  std::mt19937_64 random(3);
  program.start.assign(program.cost.size(), 0);
  for (std::size_t v = 0; v < 50; ++v) program.start[v] = static_cast<std::int64_t>(random() % 2);
  for (auto& row : program.rows) {
    row.lower = 0;
    for (std::size_t v = 0; v < 50; ++v) row.lower += row.coefficients[v] * program.start[v];
    row.upper = row.lower;
  }
  for (std::size_t v = 50; v < program.cost.size(); ++v) program.upper[v] = 0;
  EngineLimits limits;
  limits.seconds = 10;
  EngineRun<TypeParam> line;
  const auto claim =
      this->engine_->solve(*testing::model_of(program, static_cast<const TypeParam*>(nullptr)), limits, line);
  EXPECT_EQ(claim.status, EngineStatus::kOptimal) << claim.message;
}

TYPED_TEST(EngineConformance, a_start_that_is_no_solution_does_no_harm) {
  LinearProgram program = testing::textbook();
  program.start = {50, 50, 50};
  const auto claim = this->solve(program);
  ASSERT_EQ(claim.status, EngineStatus::kOptimal) << claim.message;
  EXPECT_NEAR(static_cast<double>(claim.objective), -13, 1e-6);
}

TYPED_TEST(EngineConformance, same_seed_and_work_give_the_same_answer) {
  const LinearProgram program = testing::market_split(4, 4);
  EngineLimits limits;
  limits.work = 0.1;
  limits.deterministic = true;
  limits.seconds = 30;
  limits.seed = 7;
  const auto first = this->solve(program, limits);
  const auto second = this->solve(program, limits);
  EXPECT_EQ(first.status, second.status);
  EXPECT_EQ(first.values, second.values);
}

TYPED_TEST(EngineConformance, leaves_no_file_behind) {
  const auto files = [] {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(".")) names.insert(entry.path().filename());
    return names;
  };
  // A folder of its own: other tests run at the same time, and earlier ones may have left something.
  const auto before = std::filesystem::current_path();
  const auto folder = std::filesystem::temp_directory_path() / ("opweave-conformance-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  std::filesystem::current_path(folder);
  static_cast<void>(this->solve(testing::textbook()));
  EXPECT_THAT(files(), ::testing::IsEmpty());
  std::filesystem::current_path(before);
  std::filesystem::remove_all(folder);
}

TYPED_TEST(EngineConformance, rejects_an_invalid_model_with_a_message) {
  LinearProgram program = testing::textbook();
  program.lower[1] = 8;
  program.upper[1] = 7;
  const auto claim = this->solve(program);
  EXPECT_EQ(claim.status, EngineStatus::kInvalidModel);
  EXPECT_THAT(claim.message, ::testing::HasSubstr("1"));
}

TYPED_TEST(EngineConformance, reports_improvements_from_the_callers_thread_in_falling_order) {
  EngineLimits limits;
  limits.seconds = 1.0;
  const auto caller = std::this_thread::get_id();
  std::vector<double> seen;
  const auto claim = this->solve(testing::market_split(6, 5), limits, {}, [&](const auto&, auto objective) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    seen.push_back(static_cast<double>(objective));
  });
  for (std::size_t i = 1; i < seen.size(); ++i) EXPECT_LT(seen[i], seen[i - 1]);
  if (!seen.empty()) {
    EXPECT_LE(static_cast<double>(claim.objective), seen.back() + 1e-6);
  }
}

TEST(MipEngineConformance, says_unbounded) {
  const auto engine = highs_engine();
  if (const std::string reason = engine->unavailable_because(); !reason.empty()) GTEST_SKIP() << reason;
  const auto model = std::make_shared<MipModel>();
  const auto x = model->add_column(0, kInfinity, -1, true, {});
  const auto y = model->add_column(0, kInfinity, 0, false, {});
  model->add_row({{x, 1}, {y, -1}}, -kInfinity, 0);
  EXPECT_EQ(run<MipModel>(engine, model, {}).status, EngineStatus::kUnbounded);
}

TEST(MipEngineConformance, rows_without_columns_are_true_or_infeasible) {
  const auto engine = highs_engine();
  if (const std::string reason = engine->unavailable_because(); !reason.empty()) GTEST_SKIP() << reason;
  for (const double upper : {0.0, -1.0}) {
    const auto model = std::make_shared<MipModel>();
    model->add_row({}, -kInfinity, upper);
    EXPECT_EQ(run<MipModel>(engine, model, {}).status, upper < 0 ? EngineStatus::kInfeasible : EngineStatus::kOptimal);
  }
}

TEST(MipEngineConformance, mixes_integer_and_continuous_columns) {
  const auto engine = highs_engine();
  if (const std::string reason = engine->unavailable_because(); !reason.empty()) GTEST_SKIP() << reason;
  // x integer, y not: 2x + y >= 3.5, x <= 1, least 10x + 4y: x = 1 leaves y = 1.5 (16), x = 0 leaves 3.5 (14).
  const auto model = std::make_shared<MipModel>();
  const auto x = model->add_column(0, 1, 10, true, {});
  const auto y = model->add_column(0, kInfinity, 4, false, {});
  model->add_row({{x, 2}, {y, 1}}, 3.5, kInfinity);
  const auto claim = run<MipModel>(engine, model, {});
  ASSERT_EQ(claim.status, EngineStatus::kOptimal) << claim.message;
  EXPECT_NEAR(claim.objective, 14, 1e-6);
}

TEST(CpEngineConformance, refuses_coefficients_that_solvers_are_not_to_be_trusted_with) {
  for (const std::int64_t coefficient : {std::int64_t{1} << 31, (std::int64_t{1} << 31) + 1}) {
    CpModel model;
    const CpModel::Literal literal = model.add_literal();
    model.add_linear({{literal.variable(), -coefficient}}, -coefficient, 0);
    EXPECT_EQ(model.defect().empty(), coefficient == std::int64_t{1} << 31) << model.defect();
  }
}

TEST(CpEngineConformance, refuses_a_domain_that_may_overflow) {
  // A constraint program has finite domains, so none is unbounded.
  const auto model = std::make_shared<CpModel>();
  const auto x = model->add_variable(0, std::numeric_limits<std::int64_t>::max());
  model->minimise({{x, -1}});
  const auto engine = cp_sat_engine();
  if (const std::string reason = engine->unavailable_because(); !reason.empty()) GTEST_SKIP() << reason;
  const auto claim = run<CpModel>(engine, model, {});
  EXPECT_EQ(claim.status, EngineStatus::kInvalidModel);
  EXPECT_THAT(claim.message, ::testing::HasSubstr("overflow"));
}

TEST(CpEngineConformance, schedules_optional_intervals_under_no_overlap_and_capacity) {
  const auto engine = cp_sat_engine();
  if (const std::string reason = engine->unavailable_because(); !reason.empty()) GTEST_SKIP() << reason;
  // Jobs of 3, 4 and 5 on either of two machines: {3, 4} and {5} end at 7. With 2 units of a shared resource each and 3
  // in all they exclude each other: 12.
  for (const std::int64_t capacity : {6, 3}) {
    const auto model = std::make_shared<CpModel>();
    const auto makespan = model->add_variable(0, 100);
    std::vector<std::vector<CpModel::Interval>> machines(2);
    std::vector<CpModel::Interval> all;
    for (const std::int64_t length : {3, 4, 5}) {
      const CpModel::Affine start{model->add_variable(0, 100), 0};
      const CpModel::Affine end{start.variable, length};
      all.push_back(model->add_interval(start, {std::nullopt, length}, end, std::nullopt));
      std::vector<CpModel::Literal> places;
      for (auto& machine : machines) {
        places.push_back(model->add_literal());
        machine.push_back(model->add_interval(start, {std::nullopt, length}, end, places.back()));
      }
      model->add_choice(CpModel::Choice::Kind::kExactlyOne, places);
      model->add_order(end, {makespan, 0});
    }
    for (const auto& machine : machines) model->add_no_overlap(machine);
    model->add_cumulative(all, {2, 2, 2}, capacity);
    model->minimise({{makespan, 1}});
    const auto claim = run<CpModel>(engine, model, {});
    ASSERT_EQ(claim.status, EngineStatus::kOptimal) << claim.message;
    EXPECT_EQ(claim.objective, capacity == 6 ? 7 : 12);
  }
}

TEST(MissingLibrary, makes_the_engine_unavailable_and_nothing_worse) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        setenv("OPWEAVE_HIGHS_LIB", "/nowhere/libhighs.so", 1);
        setenv("OPWEAVE_ORTOOLS_LIB", "/nowhere/libortools.so", 1);
        const auto mip = run<MipModel>(
            highs_engine(), testing::model_of(testing::textbook(), static_cast<const MipModel*>(nullptr)), {});
        const auto cp = run<CpModel>(cp_sat_engine(),
                                     testing::model_of(testing::textbook(), static_cast<const CpModel*>(nullptr)), {});
        const bool fine = mip.status == EngineStatus::kUnavailable && cp.status == EngineStatus::kUnavailable &&
                          mip.message.find("/nowhere/libhighs.so") != std::string::npos &&
                          write_model(MipModel(), "/tmp/never.mps") == mip.message;
        std::exit(fine ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace opweave::exact
