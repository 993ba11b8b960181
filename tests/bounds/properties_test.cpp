// What must hold between the bounds of related problems.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "opweave/bounds.h"
#include "opweave/error.h"
#include "support/random_problems.h"

namespace opweave {
namespace {

using testing::Dice;
using testing::RandomProblem;

Duration best(const Problem& problem) { return lower_bounds(problem).front().value; }

/// Bounds of a random problem and of its variant; nothing if it is not a problem or has no schedule:
/// every number is a bound then.
template <class Change>
std::optional<std::pair<Duration, Duration>> before_and_after(RandomProblem random, Change change) {
  try {
    const Problem problem = random.problem();
    if (!infeasibility_proofs(problem).empty()) return std::nullopt;
    const Duration before = best(problem);
    change(random);
    return std::pair(before, best(random.problem()));
  } catch (const InputError&) {
    return std::nullopt;
  }
}

/// Random problems of all kinds, by seed.
RandomProblem any_problem(std::uint64_t seed) {
  return seed % 2 == 0 ? testing::random_problem(seed) : testing::random_pipeline(seed);
}

TEST(BoundProperties, relabelling_operators_tensors_and_devices_changes_no_bound) {
  int compared = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(2000); ++seed) {
    const auto values = before_and_after(any_problem(seed), [seed](RandomProblem& random) {
      Dice dice(seed + 77);
      const auto shuffled = [&dice](std::size_t count) {
        std::vector<std::size_t> order(count);
        std::iota(order.begin(), order.end(), std::size_t{0});
        for (std::size_t i = count; i > 1; --i) {
          std::swap(order[i - 1], order[static_cast<std::size_t>(dice.roll(0, static_cast<std::int64_t>(i) - 1))]);
        }
        return order;
      };
      const auto permute = [](auto& list, const std::vector<std::size_t>& to) {
        auto copy = list;
        for (std::size_t i = 0; i < list.size(); ++i) copy[to[i]] = std::move(list[i]);
        list = std::move(copy);
      };
      const auto operators = shuffled(random.operators.size());
      const auto tensors = shuffled(random.tensors.size());
      for (Operator& op : random.operators) {
        for (TensorId& tensor : op.inputs) tensor = TensorId(tensors[tensor.index()]);
        for (TensorId& tensor : op.outputs) tensor = TensorId(tensors[tensor.index()]);
        for (OperatorId& before : op.after) before = OperatorId(operators[before.index()]);
      }
      permute(random.operators, operators);
      permute(random.tensors, tensors);
      permute(random.cluster.devices, shuffled(random.cluster.devices.size()));
    });
    if (!values) continue;
    ++compared;
    EXPECT_EQ(values->first.value(), values->second.value()) << "seed " << seed;
  }
  EXPECT_GT(compared, 1000);
}

TEST(BoundProperties, a_faster_link_never_raises_a_bound) {
  int compared = 0;
  int lowered = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(2000); ++seed) {
    RandomProblem random = any_problem(seed);
    const auto hasten = [](Link& link) {
      link.latency = Duration(link.latency.value() / 2);
      if (link.bandwidth_bytes_per_s) link.bandwidth_bytes_per_s = *link.bandwidth_bytes_per_s * 3;
    };
    // Alone in the cluster, so that no route changes.
    if (!random.cluster.default_link || !random.cluster.links.empty()) continue;
    const auto values =
        before_and_after(std::move(random), [&](RandomProblem& changed) { hasten(*changed.cluster.default_link); });
    if (!values) continue;
    ++compared;
    EXPECT_LE(values->second.value(), values->first.value()) << "seed " << seed;
    if (values->second < values->first) ++lowered;
  }
  EXPECT_GT(compared, 500);
  EXPECT_GT(lowered, 50);
}

TEST(BoundProperties, doubling_every_duration_doubles_the_bound) {
  int compared = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(2000); ++seed) {
    const auto values = before_and_after(any_problem(seed), [](RandomProblem& random) {
      for (Operator& op : random.operators) {
        for (MeasuredDuration& measured : op.durations) measured.duration += measured.duration;
        for (ModeSpec& mode : op.modes) mode.duration += mode.duration;
      }
      // A bandwidth of 1 to 3 bytes per ns does not halve exactly where the transfer is rounded up.
      const auto slow_down = [](Link& link) { link.latency += link.latency; };
      if (random.cluster.default_link) slow_down(*random.cluster.default_link);
      for (Link& link : random.cluster.links) slow_down(link);
    });
    RandomProblem random = any_problem(seed);
    const auto finite = [](const Link& link) { return link.bandwidth_bytes_per_s.has_value(); };
    if (!values || (random.cluster.default_link && finite(*random.cluster.default_link)) ||
        std::any_of(random.cluster.links.begin(), random.cluster.links.end(), finite)) {
      continue;
    }
    ++compared;
    // Quotients of work by machines, halves of known bounds and the work that fits into an interval are
    // rounded after doubling instead of before.
    EXPECT_NEAR(static_cast<double>(values->second.value()), 2.0 * static_cast<double>(values->first.value()), 3)
        << "seed " << seed;
  }
  EXPECT_GT(compared, 500);
}

TEST(BoundProperties, more_memory_never_raises_a_bound) {
  int compared = 0;
  int lowered = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(2000); ++seed) {
    const auto values = before_and_after(testing::random_pipeline(seed), [](RandomProblem& random) {
      for (Device& device : random.cluster.devices) {
        if (device.memory) *device.memory += Bytes(2);
      }
    });
    if (!values) continue;
    ++compared;
    EXPECT_LE(values->second.value(), values->first.value()) << "seed " << seed;
    if (values->second < values->first) ++lowered;
  }
  EXPECT_GT(compared, 1000);
  EXPECT_GT(lowered, 50);
}

TEST(BoundProperties, the_same_problem_gives_the_same_bounds_in_order) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const Problem problem = testing::random_pipeline(seed).problem();
    const auto first = lower_bounds(problem);
    const auto second = lower_bounds(problem);
    ASSERT_EQ(first.size(), second.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      EXPECT_EQ(first[i].name, second[i].name);
      EXPECT_EQ(first[i].value, second[i].value);
      EXPECT_EQ(first[i].detail, second[i].detail);
      EXPECT_LE(first[i].value, first[i == 0 ? 0 : i - 1].value);
    }
  }
}

TEST(BoundProperties, an_exhausted_budget_still_gives_a_bound) {
  const Problem problem = testing::random_pipeline(3).problem();
  const auto bounds = lower_bounds(problem, Budget(0.0, std::nullopt));
  ASSERT_FALSE(bounds.empty());
  EXPECT_EQ(bounds.front().name, "critical-path");
}

}  // namespace
}  // namespace opweave
