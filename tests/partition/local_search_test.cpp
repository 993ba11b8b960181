#include "partition/local_search.h"

#include <gtest/gtest.h>

#include "partition/random_models.h"

namespace opweave::testing {
namespace {

using partition::Assignment;
using partition::CutModel;
using partition::LoadModel;
using partition::LoadState;
using partition::Vertex;

/// An assignment that obeys the model; nothing if enumeration finds none.
std::optional<Assignment> any_assignment(const CutModel& model) {
  std::optional<Assignment> found;
  (void)least_load(model, [&](const Assignment& assignment) {
    if (!found) found = assignment;
    return false;
  });
  return found;
}

TEST(LocalSearch, loads_follow_moves_and_their_taking_back) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20; ++round) {
    CutModel model = random_model(random, 12, 3, 2);
    for (double& work : model.kinds[0].work) work = std::min(work, 9.0);
    const LoadModel loads = partition::load_model(model);
    LoadState state(loads, Assignment(12, 0));
    state.aim(5, 0.5);
    for (int step = 0; step < 200; ++step) {
      const Assignment before = state.assignment();
      for (int moves = 0; moves < 3; ++moves) {
        state.move(static_cast<Vertex>(random() % 12), static_cast<std::uint32_t>(random() % 5));
      }
      if (step % 3 == 0) {
        state.revert();
        EXPECT_EQ(state.assignment(), before);
      }
      state.commit();
      EXPECT_EQ(state.loads(), partition::loads(model, state.assignment()));
      double energy = 0;
      for (const double load : state.loads()) energy += std::max(0.0, load - 5) + 0.5 * load;
      EXPECT_NEAR(state.energy(), energy, 1e-9);
    }
  }
}

TEST(LocalSearch, finds_the_optimum_of_small_models) {
  std::mt19937_64 random(2);
  int searched = 0;
  for (int round = 0; round < 40; ++round) {
    const CutModel model = random_model(random, 6, 2, static_cast<std::uint32_t>(round % 2));
    const auto start = any_assignment(model);
    if (!start) continue;
    ++searched;
    const auto answer =
        partition::improve_assignment(partition::load_model(model), {*start}, Budget(std::nullopt, 30'000), {});
    EXPECT_EQ(answer.value, least_load(model, [](const Assignment&) { return true; })) << "round " << round;
    EXPECT_EQ(partition::largest_load(model, answer.assignment), answer.value);
  }
  EXPECT_GT(searched, 20);
}

TEST(LocalSearch, same_seed_and_work_give_the_same_assignment) {
  std::mt19937_64 random(4);
  CutModel model = random_model(random, 30, 4, 1);
  model.kinds[0].capacity = 1000;
  const LoadModel loads = partition::load_model(model);
  const Assignment start(30, 4);
  partition::SearchOptions options;
  options.seed = 9;
  const auto once = partition::improve_assignment(loads, {start}, Budget(std::nullopt, 20'000), options);
  const auto again = partition::improve_assignment(loads, {start}, Budget(std::nullopt, 20'000), options);
  EXPECT_EQ(once.assignment, again.assignment);
  EXPECT_LT(once.value, partition::largest_load(model, start));
}

TEST(LocalSearch, keeps_what_the_caller_does_not_accept_out) {
  std::mt19937_64 random(6);
  CutModel model = random_model(random, 6, 3, 0);
  model.kinds[0].capacity = 1000;
  const auto accepts = [](const Assignment& assignment) { return assignment[0] == assignment[5]; };
  partition::SearchOptions options;
  options.accepts = accepts;
  const auto answer = partition::improve_assignment(partition::load_model(model), {Assignment(6, 0)},
                                                    Budget(std::nullopt, 30'000), options);
  EXPECT_TRUE(accepts(answer.assignment));
  EXPECT_EQ(answer.value, least_load(model, accepts));
}

}  // namespace
}  // namespace opweave::testing
