// Bounds and proofs against exact optima of tiny random problems.
#include "support/brute_force.h"

#include <gtest/gtest.h>

#include <iostream>
#include <map>

#include "opweave/bounds.h"
#include "opweave/error.h"
#include "support/random_problems.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using testing::brute_force;

TEST(BruteForce, tiny_diamond_takes_47_on_one_device_and_with_two) {
  // Two devices: top 0-10 and right 10-40 on d0, left on d1 after a transfer of 3 ns: 13-33, back at
  // 36, bottom 40-45. One device: 10 + 20 + 30 + 5 = 65.
  const Problem two = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  const auto answer = brute_force(two);
  ASSERT_TRUE(answer.finished && answer.best);
  EXPECT_EQ(answer.best->makespan(two), Duration(45));
}

/// What the bounds said about random problems whose optimum is known.
struct Tally {
  int optima = 0;
  int infeasible = 0;
  int proven_infeasible = 0;
  int unfinished = 0;
  int rejected = 0;
  int tight = 0;
  std::map<std::string, int> tight_by_bound;
  std::map<std::string, int> alone_by_bound;  // reached the optimum, and no other bound did
};

void compare(std::uint64_t seed, const testing::RandomProblem& random, Tally& tally) {
  std::optional<Problem> problem;
  try {
    problem = random.problem();
  } catch (const InputError&) {
    ++tally.rejected;
    return;
  }
  const std::vector<std::string> proofs = infeasibility_proofs(*problem);
  const std::vector<LowerBound> bounds = lower_bounds(*problem);
  ASSERT_FALSE(bounds.empty());
  const auto answer = brute_force(*problem, 100'000);
  if (!answer.finished) {
    ++tally.unfinished;
    return;
  }
  if (!answer.best) {
    ++tally.infeasible;
    if (!proofs.empty()) ++tally.proven_infeasible;
    return;
  }
  ++tally.optima;
  ASSERT_TRUE(proofs.empty()) << "seed " << seed << " has a schedule, but: " << proofs.front();
  const Duration optimum = answer.best->makespan(*problem);
  std::vector<std::string> reached;
  for (const LowerBound& bound : bounds) {
    ASSERT_LE(bound.value, optimum) << "seed " << seed << ": bound " << bound.name << " (" << bound.detail << ")";
    if (bound.value == optimum) reached.push_back(bound.name);
  }
  if (!reached.empty()) ++tally.tight;
  for (const std::string& name : reached) ++tally.tight_by_bound[name];
  if (reached.size() == 1) ++tally.alone_by_bound[reached.front()];
}

void print(const char* what, const Tally& tally) {
  std::cout << what << ": " << tally.optima << " optima, bound equal for " << tally.tight << "; " << tally.infeasible
            << " without a schedule, " << tally.proven_infeasible << " of them proven; " << tally.unfinished
            << " too large, " << tally.rejected << " not a problem\n";
  for (const auto& [name, count] : tally.tight_by_bound) {
    const auto alone = tally.alone_by_bound.find(name);
    std::cout << "  " << name << " equal " << count << ", alone "
              << (alone == tally.alone_by_bound.end() ? 0 : alone->second) << "\n";
  }
}

TEST(BruteForce, no_bound_exceeds_the_optimum_of_random_problems) {
  Tally tally;
  const char* count = std::getenv("BF_COUNT");
  const std::uint64_t n = count ? std::stoull(count) : 1000;
  const char* from = std::getenv("BF_FROM");
  const std::uint64_t f = from ? std::stoull(from) : 1;
  for (std::uint64_t seed = f; seed < f + n && !HasFatalFailure(); ++seed) compare(seed, testing::random_problem(seed), tally);
  print("random problems", tally);
}
TEST(BruteForce, pipelines) {
  Tally tally;
  const char* count = std::getenv("BF_COUNT");
  const std::uint64_t n = count ? std::stoull(count) : 1000;
  const char* from = std::getenv("BF_FROM");
  const std::uint64_t f = from ? std::stoull(from) : 1;
  for (std::uint64_t seed = f; seed < f + n && !HasFatalFailure(); ++seed) compare(seed, testing::random_pipeline(seed), tally);
  print("random pipelines", tally);
}
}  // namespace
}  // namespace opweave
