// Where a problem is small, there is a plan or a proof that none exists, whatever the method and the work limit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "exact/engine.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/planner.h"
#include "placement_search/fitting_search.h"
#include "planner/incumbent.h"
#include "support/brute_force.h"
#include "support/tight_problems.h"

namespace opweave {
namespace {

/// Problems to try; OPWEAVE_RANDOM_INSTANCES replaces the usual number.
std::uint64_t problem_count(std::uint64_t usual) {
  const char* count = std::getenv("OPWEAVE_RANDOM_INSTANCES");
  return count != nullptr ? std::strtoull(count, nullptr, 10) : usual;
}

/// Calls visit(problem, whether there is a plan) for random tight problems that brute force finishes.
template <class Visit>
void for_each_tight_problem(std::uint64_t count, Visit visit) {
  std::uint64_t seen = 0;
  for (std::uint64_t seed = 1; seen < count; ++seed) {
    std::optional<Problem> problem;
    try {
      testing::RandomProblem random = testing::tight_problem(seed);
      if (seed % 5 == 0) random = testing::enlarged(std::move(random), seed);
      problem = random.problem();
    } catch (const InputError&) {
      continue;
    }
    const auto truth = testing::brute_force(*problem, 2'000'000);
    if (!truth.finished) continue;
    ++seen;
    SCOPED_TRACE(seed);
    visit(*problem, truth.best.has_value());
  }
}

/// Operators of 10 ns in a chain, each with an output of so many bytes.
struct Chain {
  std::vector<Operator> operators;
  std::vector<Tensor> tensors;
  ClusterParts cluster;

  Operator& add(std::int64_t bytes) {
    Operator op;
    op.name = "o" + std::to_string(operators.size());
    op.durations = {{"", Duration(10)}};
    if (!tensors.empty()) op.inputs = {TensorId(tensors.size() - 1)};
    op.outputs = {TensorId(tensors.size())};
    tensors.push_back({"t" + std::to_string(tensors.size()), Bytes(bytes), {}, {}});
    operators.push_back(std::move(op));
    return operators.back();
  }
  void add_device(std::optional<Bytes> memory) {
    cluster.devices.push_back({"d" + std::to_string(cluster.devices.size()), "", memory, {"compute"}});
  }
  [[nodiscard]] Problem problem() const {
    return Problem::create(ComputationGraph::create("chain", operators, tensors, {}, {}), Cluster::create(cluster));
  }
};

constexpr Method kMethods[] = {Method::kAuto, Method::kHeuristic, Method::kCp, Method::kMipDisjunctive,
                               Method::kMipTimeIndexed};

void expect_optimum(const Problem& problem, Duration optimum) {
  for (const Method method : kMethods) {
    PlannerOptions options;
    options.method = method;
    const PlanResult result = plan(problem, Budget(std::nullopt, 100), options);
    ASSERT_TRUE(result.plan) << to_string(method) << ": " << result.detail;
    EXPECT_EQ(result.plan->statistics.makespan, optimum) << to_string(method);
  }
}

/// Why there is none, in the words of every method that has a solver.
void expect_no_plan(const Problem& problem, const std::string& cause) {
  for (const Method method : kMethods) {
    if (method == Method::kHeuristic) continue;
    PlannerOptions options;
    options.method = method;
    const PlanResult result = plan(problem, Budget(std::nullopt, 1), options);
    EXPECT_EQ(result.reason, PlanResult::Reason::kInfeasible) << to_string(method);
    EXPECT_THAT(result.detail, ::testing::HasSubstr(cause)) << to_string(method);
  }
}

// Issue 20.
TEST(Feasibility, output_that_fits_on_the_second_device_goes_there) {
  Chain chain;
  chain.add(50);
  chain.add_device(Bytes(10));
  chain.add_device(Bytes(100));
  expect_optimum(chain.problem(), Duration(10));
}

// Issue 20. The first operator must go where the second is bound: 10 + 10, one after the other.
TEST(Feasibility, producer_goes_where_its_consumer_is_bound_if_no_route_leads_there) {
  Chain chain;
  chain.add(50);
  chain.add(0).devices = {{"d1"}};
  chain.add_device({});
  chain.add_device({});
  expect_optimum(chain.problem(), Duration(20));
}

// Together they hold 50 + 60 bytes of outputs, the input of the second being held until it ends: more than 100 on one
// device, while 50 + 60 fits nowhere but on d1 either way. Apart, the second needs its input beside its output: again
// 110 bytes.
TEST(Feasibility, memory_that_is_too_small_is_named) {
  Chain chain;
  chain.add(50);
  chain.add(60);
  chain.add_device(Bytes(55));
  chain.add_device(Bytes(100));
  chain.cluster.default_link = Link{};
  const PlanResult result = plan(chain.problem(), Budget(std::nullopt, 1));
  EXPECT_EQ(result.reason, PlanResult::Reason::kInfeasible);
  EXPECT_THAT(result.detail, ::testing::HasSubstr("\"o1\" fits on no device that it may use"));
}

// The ends of a chain may not share a device, and without routes a chain cannot leave one.
TEST(Feasibility, exclusion_and_missing_routes_are_named_where_both_are_to_blame) {
  Chain chain;
  for (int i = 0; i < 3; ++i) chain.add(1);
  chain.operators[0].anti_colocation = chain.operators[2].anti_colocation = {"apart"};
  chain.add_device(Bytes(100));
  chain.add_device({});
  expect_no_plan(chain.problem(),
                 "no placement and order keeps to anti-colocation \"apart\" and the routes that there are");
  chain.cluster.default_link = Link{};
  expect_optimum(chain.problem(), Duration(30));
}

// Three operators that exclude each other need three devices.
TEST(Feasibility, exclusion_alone_is_named) {
  Chain chain;
  for (int i = 0; i < 3; ++i) chain.add(1).anti_colocation = {"apart"};
  chain.add_device(Bytes(100));
  chain.add_device(Bytes(100));
  chain.cluster.default_link = Link{};
  expect_no_plan(chain.problem(), "no placement and order keeps to anti-colocation \"apart\"");
}

// Each of the two has a workspace of 8 and an output of 1 that a third reads with the other's: on d0 (10 bytes) the
// second runs beside the output of the first, 1 + 1 + 8; with one byte less it must run elsewhere, where its output
// could be sent from, but d1 holds only 8.
TEST(Feasibility, memory_of_the_device_to_blame_is_named) {
  Chain chain;
  chain.add(1).workspace = Bytes(8);
  chain.add(1).workspace = Bytes(8);
  chain.operators[1].inputs = {};
  chain.add(0).inputs = {TensorId(0), TensorId(1)};
  chain.add_device(Bytes(10));
  chain.add_device(Bytes(8));
  chain.cluster.default_link = Link{};
  expect_optimum(chain.problem(), Duration(30));
  chain.cluster.devices[0].memory = Bytes(9);
  // The first output is sent away before the second runs: to d1, for the third. 10 + 10 + 10.
  expect_optimum(chain.problem(), Duration(30));
  chain.cluster.default_link.reset();
  expect_no_plan(chain.problem(), "the memory of \"d0\" (9 bytes)");
}

// Operators that take no time hold nothing.
TEST(Feasibility, what_takes_no_time_needs_no_memory) {
  Chain chain;
  for (int i = 0; i < 3; ++i) chain.add(50).durations = {{"", Duration(0)}};
  chain.add_device(Bytes(10));
  expect_optimum(chain.problem(), Duration(0));
}

// The same bytes for any number of threads, also where the solver or the fitting search has made the first plan.
TEST(Feasibility, same_work_limit_gives_the_same_bytes_with_any_number_of_threads) {
  int compared = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    std::optional<Problem> problem;
    try {
      problem = testing::tight_problem(seed, 16).problem();
    } catch (const InputError&) {
      continue;
    }
    const auto bytes = [&](unsigned threads) {
      PlannerOptions options;
      options.threads = threads;
      const PlanResult result = plan(*problem, Budget(std::nullopt, 50), options);
      return result.plan ? plan_to_json(*result.plan, problem->graph(), problem->cluster()) : result.detail;
    };
    EXPECT_EQ(bytes(1), bytes(4)) << seed;
    ++compared;
  }
  EXPECT_GT(compared, 30);
}

// 60 layers on 6 devices whose memories hold the parameters and little else.
TEST(Feasibility, larger_problems_use_their_limit_to_find_a_plan) {
  testing::Dice dice(1);
  Chain chain;
  std::vector<Parameter> parameters;
  for (std::size_t i = 0; i < 60; ++i) {
    Operator& op = chain.add(dice.roll(1, 100));
    op.inputs.clear();
    for (std::size_t before = i > 6 ? i - 6 : 0; before < i; before += 3) op.inputs.emplace_back(before);
    op.parameters = {ParameterId(i)};
    parameters.push_back({"p" + std::to_string(i), Bytes(dice.roll(1, 100))});
  }
  for (int d = 0; d < 6; ++d) chain.add_device(Bytes(d % 2 == 0 ? 1100 : 750));
  chain.cluster.default_link = Link{"", "", "", Duration(1), {}, true};
  const Problem problem =
      Problem::create(ComputationGraph::create("layers", chain.operators, chain.tensors, parameters, {}),
                      Cluster::create(chain.cluster));
  const PlanResult result = plan(problem, Budget(std::nullopt, 1000));
  ASSERT_TRUE(result.plan) << result.detail;
  // Whatever an attempt brings home is valid, parameters that are placed late among it.
  FittingSearch search(problem, 1);
  int found = 0;
  for (int attempt = 0; attempt < 50; ++attempt) {
    const std::optional<Schedule> schedule = search.attempt({});
    if (!schedule) continue;
    ++found;
    EXPECT_TRUE(is_valid(problem, *schedule));
  }
  EXPECT_GT(found, 0);
}

class TightProblems : public ::testing::TestWithParam<Method> {
 protected:
  void SetUp() override {
    for (const std::string& reason :
         {exact::cp_sat_engine()->unavailable_because(), exact::highs_engine()->unavailable_because()}) {
      if (!reason.empty()) GTEST_SKIP() << reason;
    }
  }
};

TEST_P(TightProblems, have_a_plan_or_a_proof_that_there_is_none) {
  int planned = 0;
  int infeasible = 0;
  int missed = 0;
  for_each_tight_problem(
      problem_count(GetParam() == Method::kAuto ? 400 : 60), [&](const Problem& problem, bool has_plan) {
        for (const std::uint64_t work : {1, 300}) {
          PlannerOptions options;
          options.method = GetParam();
          const PlanResult result = plan(problem, Budget(std::nullopt, work), options);
          if (has_plan && options.method == Method::kHeuristic) {
            missed += result.plan ? 0 : 1;
            planned += result.plan ? 1 : 0;
            EXPECT_NE(result.reason, PlanResult::Reason::kInfeasible) << result.detail;
          } else if (has_plan) {
            ++planned;
            ASSERT_EQ(result.reason, PlanResult::Reason::kPlanned) << "work " << work << ": " << result.detail;
            EXPECT_TRUE(check(problem.graph(), problem.cluster(), *result.plan).empty());
          } else if (options.method == Method::kHeuristic) {
            EXPECT_FALSE(result.plan);  // without a solver bounds alone prove something
            infeasible += result.reason == PlanResult::Reason::kInfeasible ? 1 : 0;
          } else {
            ++infeasible;
            EXPECT_EQ(result.reason, PlanResult::Reason::kInfeasible) << "work " << work << ": " << result.detail;
            EXPECT_NE(result.detail, "");
          }
        }
      });
  std::cout << planned << " plans, " << infeasible << " proofs, " << missed << " missed without a solver\n";
  EXPECT_LE(100 * missed, planned);
  EXPECT_GT(planned, 30);
  EXPECT_GT(infeasible, 30);
}

INSTANTIATE_TEST_SUITE_P(Methods, TightProblems, ::testing::ValuesIn(kMethods), [](const auto& info) {
  std::string name;
  for (const char c : to_string(info.param)) name += c == '-' ? '_' : c;
  return name;
});

}  // namespace
}  // namespace opweave
