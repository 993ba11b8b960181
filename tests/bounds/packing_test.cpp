#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/problem.h"
#include "support/random_problems.h"

namespace opweave {
namespace {

/// Independent operators, each with a parameter, on devices of types "t0", "t1", ...
struct Workshop {
  struct Piece {
    std::vector<std::int64_t> time;  ///< by type of device
    std::int64_t bytes = 0;
  };
  struct Machine {
    std::size_t type = 0;
    std::optional<std::int64_t> capacity;
  };
  std::vector<Piece> pieces;
  std::vector<Machine> machines;
  std::uint32_t microbatches = 1;

  [[nodiscard]] Problem problem() const {
    testing::RandomProblem parts;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      Operator op;
      op.name = "o" + std::to_string(i);
      for (std::size_t t = 0; t < pieces[i].time.size(); ++t) {
        op.durations.push_back({"t" + std::to_string(t), Duration(pieces[i].time[t])});
      }
      op.parameters = {ParameterId(i)};
      parts.parameters.push_back({"p" + std::to_string(i), Bytes(pieces[i].bytes)});
      parts.operators.push_back(std::move(op));
    }
    for (std::size_t t = 0; t < pieces.front().time.size(); ++t) {
      parts.cluster.types.push_back({"t" + std::to_string(t), {}, {}});
    }
    for (std::size_t d = 0; d < machines.size(); ++d) {
      Device device{"d" + std::to_string(d), "t" + std::to_string(machines[d].type), {}, {"compute"}};
      if (machines[d].capacity) device.memory = Bytes(*machines[d].capacity);
      parts.cluster.devices.push_back(std::move(device));
    }
    parts.training.microbatches = microbatches;
    return parts.problem();
  }

  /// The largest load of the best of all assignments; nothing if none fits.
  [[nodiscard]] std::optional<std::int64_t> optimum() const {
    std::optional<std::int64_t> best;
    std::vector<std::int64_t> load(machines.size(), 0);
    std::vector<std::int64_t> bytes(machines.size(), 0);
    assign(0, load, bytes, best);
    return best;
  }

 private:
  void assign(std::size_t piece, std::vector<std::int64_t>& load, std::vector<std::int64_t>& bytes,
              std::optional<std::int64_t>& best) const {
    if (piece == pieces.size()) {
      const std::int64_t longest = *std::max_element(load.begin(), load.end());
      best = std::min(best.value_or(longest), longest);
      return;
    }
    for (std::size_t d = 0; d < machines.size(); ++d) {
      const std::int64_t time = pieces[piece].time[machines[d].type] * microbatches;
      if (machines[d].capacity && bytes[d] + pieces[piece].bytes > *machines[d].capacity) continue;
      load[d] += time;
      bytes[d] += pieces[piece].bytes;
      assign(piece + 1, load, bytes, best);
      load[d] -= time;
      bytes[d] -= pieces[piece].bytes;
    }
  }
};

std::int64_t best_bound_value(const Problem& problem) { return lower_bounds(problem).front().value.value(); }

/// `count` copies of one operator without a parameter, 1 us on a device of speed 1.
Problem equal_jobs(std::uint32_t count, const std::vector<std::int64_t>& time_of_device) {
  testing::RandomProblem parts;
  Operator op;
  op.name = "job";
  for (std::size_t d = 0; d < time_of_device.size(); ++d) {
    const std::string name = std::to_string(time_of_device[d]);
    if (std::ranges::find(parts.cluster.types, name, &DeviceType::name) == parts.cluster.types.end()) {
      parts.cluster.types.push_back({name, {}, {}});
      op.durations.push_back({name, Duration(time_of_device[d])});
    }
    parts.cluster.devices.push_back({"d" + std::to_string(d), name, {}, {"compute"}});
  }
  parts.operators = {op};
  parts.training.microbatches = count;
  return parts.problem();
}

TEST(Packing, equal_jobs_on_devices_of_unequal_speed_come_whole) {
  // Speeds 1 and 1/2. Before 2 us the fast device ends one job and the slow one none: 2 us, not 3 / 1.5 = 2 x 0.975.
  EXPECT_EQ(best_bound_value(equal_jobs(3, {1000, 2000})), 2000);
  // Speeds 1, 1, 1/2, 1/2: before 32 us they end 31 + 31 + 15 + 15 = 92 jobs; at 32 us 32 + 32 + 16 + 16 = 96.
  EXPECT_EQ(best_bound_value(equal_jobs(96, {1000, 1000, 2000, 2000})), 32'000);
  // Speeds 1 and 1/3: 3 + 1 jobs at 3 us; the fifth at 4 us on the fast one.
  EXPECT_EQ(best_bound_value(equal_jobs(5, {1000, 3000})), 4000);
  // 100,000 jobs on three speeds: floor(T / 7) + floor(T / 11) + floor(T / 13) reaches 100,000 first at T = 321,867:
  // 45981 + 29260 + 24759.
  EXPECT_EQ(best_bound_value(equal_jobs(100'000, {7, 11, 13})), 321'867);
}

TEST(Packing, memory_decides_how_many_groups_a_device_can_take) {
  // 10 operators of 1 us and 10 bytes, 4 microbatches: 20 bytes take 2 of them, so the other device works 8 x 4 us.
  Workshop shop;
  shop.pieces.assign(10, {{1000}, 10});
  shop.machines = {{0, 20}, {0, 100}};
  shop.microbatches = 4;
  EXPECT_EQ(best_bound_value(shop.problem()), 32'000);
  // Unequal sizes: 4 of 10 bytes and 4 of 20 bytes, 1 us and 2 us; in 40 bytes 2 and 1 of them, or 0 and 2, take
  // 4 us at most, of 12 us in all.
  shop.pieces.assign(4, {{1000}, 10});
  shop.pieces.insert(shop.pieces.end(), 4, {{2000}, 20});
  shop.machines = {{0, 40}, {0, 1000}};
  shop.microbatches = 1;
  EXPECT_EQ(best_bound_value(shop.problem()), 8000);
}

TEST(Packing, groups_that_fit_on_no_two_devices_are_proven_not_to) {
  // 3 parameters of 6 bytes into 10 + 10 bytes: 18 bytes of 20, but one device would hold two.
  Workshop shop;
  shop.pieces.assign(3, {{1}, 6});
  shop.machines = {{0, 10}, {0, 10}};
  const auto proofs = infeasibility_proofs(shop.problem());
  ASSERT_EQ(proofs.size(), 1U);
  EXPECT_EQ(
      proofs.front(),
      "3 groups of operators with 18 bytes of parameters do not fit into the memory of 2 devices, each group whole "
      "on one of them");
  shop.machines[1].capacity = 12;
  EXPECT_TRUE(infeasibility_proofs(shop.problem()).empty());
}

TEST(Packing, bound_is_the_optimum_of_independent_groups_and_never_above) {
  // Nothing waits for anything here, so the optimum is the best assignment, and the bound is it.
  int infeasible = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(600); ++seed) {
    testing::Dice dice(seed);
    Workshop shop;
    const auto types = static_cast<std::size_t>(dice.roll(1, 3));
    const std::int64_t sizes = dice.roll(1, 4);
    std::vector<Workshop::Piece> kinds;
    for (std::int64_t i = 0; i < sizes; ++i) {
      Workshop::Piece& kind = kinds.emplace_back();
      for (std::size_t t = 0; t < types; ++t) kind.time.push_back(dice.roll(dice.chance(10) ? 0 : 1, 9));
      kind.bytes = dice.roll(0, 5);
    }
    for (std::int64_t i = dice.roll(1, 7); i > 0; --i) {
      shop.pieces.push_back(kinds[static_cast<std::size_t>(dice.roll(0, sizes - 1))]);
    }
    for (std::int64_t d = dice.roll(1, 3); d > 0; --d) {
      Workshop::Machine& machine = shop.machines.emplace_back();
      machine.type = static_cast<std::size_t>(dice.roll(0, static_cast<std::int64_t>(types) - 1));
      if (dice.chance(70)) machine.capacity = dice.roll(4, 14);
    }
    shop.microbatches = static_cast<std::uint32_t>(dice.roll(1, 3));
    const Problem problem = shop.problem();
    const std::optional<std::int64_t> optimum = shop.optimum();
    EXPECT_EQ(infeasibility_proofs(problem).empty(), optimum.has_value()) << "seed " << seed;
    if (optimum) {
      EXPECT_EQ(best_bound_value(problem), *optimum) << "seed " << seed;
    } else {
      ++infeasible;
    }
  }
  EXPECT_GT(infeasible, 30);
}

TEST(Packing, memory_and_load_together_weigh_on_unequal_devices) {
  // 60 different operators of 100 to 159 ns and as many bytes, half as fast on the second device, which has memory for
  // all of them; the first has memory for 2000 bytes. Without memory the first would take two thirds. With it, the
  // second has at least 7770 - 2000 bytes, hence 2 x 5770 ns.
  Workshop shop;
  for (std::int64_t i = 0; i < 60; ++i) shop.pieces.push_back({{100 + i, 2 * (100 + i)}, 100 + i});
  shop.machines = {{0, 2000}, {1, 10'000}};
  const std::int64_t exact = 2 * (60 * 100 + 59 * 60 / 2 - 2000);
  const std::int64_t bound = best_bound_value(shop.problem());
  EXPECT_LE(bound, exact);
  EXPECT_GT(bound, exact * 98 / 100);
}

TEST(Packing, many_groups_of_different_sizes_are_bounded_in_little_time) {
  // 20,000 different operators on 64 devices of two types: too many to tell apart, and still never above a plan:
  // longest first on the device that ends first.
  testing::Dice dice(7);
  Workshop shop;
  for (int i = 0; i < 20'000; ++i) {
    const std::int64_t time = dice.roll(1000, 9000);
    shop.pieces.push_back({{time, 2 * time}, dice.roll(1, 100)});
  }
  for (std::size_t d = 0; d < 64; ++d) shop.machines.push_back({d % 2, 100'000});
  std::vector<std::int64_t> end(64, 0);
  std::vector<Workshop::Piece> sorted = shop.pieces;
  std::ranges::sort(sorted, std::greater<>(), [](const Workshop::Piece& piece) { return piece.time[0]; });
  for (const Workshop::Piece& piece : sorted) {
    std::size_t best = 0;
    for (std::size_t d = 1; d < 64; ++d) {
      if (end[d] + piece.time[d % 2] < end[best] + piece.time[best % 2]) best = d;
    }
    end[best] += piece.time[best % 2];
  }
  EXPECT_LE(best_bound_value(shop.problem()), *std::ranges::max_element(end));
}

}  // namespace
}  // namespace opweave
