#include "placement/earliest_finish.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <tuple>

#include "opweave/check.h"
#include "opweave/plan.h"
#include "support/random_problems.h"

namespace opweave {
namespace {

/// Operators of different lengths on islands of two devices: quick links inside, slow ones between. Some operators are
/// pinned to one island, and device types differ if asked for.
Problem islands(std::uint64_t seed, std::size_t operators, std::size_t islands, bool is_uniform) {
  testing::Dice dice(seed);
  ClusterParts parts;
  parts.name = "islands";
  if (!is_uniform) parts.types = {{"old", {}, std::nullopt}, {"new", {}, std::nullopt}};
  for (std::size_t d = 0; d < 2 * islands; ++d) {
    Device device;
    device.name = fmt::format("d{}", d);
    if (!is_uniform) device.type = d % 3 == 0 ? "old" : "new";
    parts.devices.push_back(device);
  }
  if (!is_uniform) {
    for (std::size_t i = 0; i < islands; ++i) {
      Link link;
      link.name = fmt::format("link{}", i);
      link.a = fmt::format("d{}", 2 * i);
      link.b = fmt::format("d{}", 2 * i + 1);
      link.latency = Duration(2);
      link.bandwidth_bytes_per_s = 3'000'000'000;
      parts.links.push_back(link);
    }
  }
  parts.default_link.emplace();
  parts.default_link->latency = Duration(7);
  parts.default_link->bandwidth_bytes_per_s = 700'000'000;
  std::vector<Operator> list(operators);
  std::vector<Tensor> tensors(operators);
  for (std::size_t i = 0; i < operators; ++i) {
    list[i].name = fmt::format("op{}", i);
    const Duration duration(dice.roll(0, 60));
    list[i].durations = {{"", duration}};
    if (!is_uniform) list[i].durations = {{"old", duration * 2}, {"new", duration}};
    if (dice.chance(10)) list[i].devices = {{"d0", "d1"}};
    tensors[i].name = fmt::format("t{}", i);
    tensors[i].size = Bytes(dice.roll(0, 50));
    list[i].outputs = {TensorId(i)};
    for (std::size_t k = 0; k < 2 && i > 0; ++k) {
      const TensorId input(static_cast<std::size_t>(
          dice.roll(static_cast<std::int64_t>(i > 8 ? i - 8 : 0), static_cast<std::int64_t>(i) - 1)));
      if (std::ranges::find(list[i].inputs, input) == list[i].inputs.end()) list[i].inputs.push_back(input);
    }
  }
  return Problem::create(ComputationGraph::create("g", std::move(list), std::move(tensors), {}),
                         Cluster::create(std::move(parts)));
}

/// The definition, device by device: when the task would end there, after what was placed before it.
std::int64_t end_on(const Problem& problem, const Schedule& schedule, TaskId task, DeviceId device,
                    const std::vector<std::int64_t>& free) {
  std::int64_t start = free[device.index()];
  for (const ValueId value : problem.inputs(task)) {
    const TaskId producer = *problem.producer(value);
    const DeviceId source = problem.mode(producer, schedule.tasks[producer.index()].mode).devices.front();
    const Duration arrival = schedule.end(problem, producer) + *problem.transfer_time(value, source, device);
    start = std::max(start, arrival.value());
  }
  return start + problem.mode(task, *problem.mode_on(task, device)).duration.value();
}

TEST(EarliestFinish, puts_every_task_where_it_ends_first) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const Problem problem = islands(seed, 80, 1 + seed % 6, seed % 2 == 0);
    const std::optional<Schedule> schedule = earliest_finish(problem);
    ASSERT_TRUE(schedule) << seed;
    // The order: longest remaining chain of shortest durations first, then the smaller id.
    std::vector<std::int64_t> tails(problem.task_count(), 0);
    for (std::size_t t = tails.size(); t-- > 0;) {
      for (const TaskId next : problem.successors(TaskId(t))) tails[t] = std::max(tails[t], tails[next.index()]);
      tails[t] += problem.shortest(TaskId(t)).value();
    }
    std::vector<std::size_t> order(tails.size());
    std::iota(order.begin(), order.end(), 0U);
    std::ranges::sort(
        order, [&](std::size_t a, std::size_t b) { return std::tuple(-tails[a], a) < std::tuple(-tails[b], b); });
    std::vector<std::int64_t> free(problem.cluster().device_count(), 0);
    for (const std::size_t t : order) {
      const TaskId task(t);
      std::int64_t best = std::numeric_limits<std::int64_t>::max();
      for (ModeIndex m = 0; m < problem.mode_count(task); ++m) {
        best = std::min(best, end_on(problem, *schedule, task, problem.mode(task, m).devices.front(), free));
      }
      ASSERT_EQ(schedule->end(problem, task).value(), best) << seed << " " << t;
      free[problem.mode(task, schedule->tasks[t].mode).devices.front().index()] = best;
    }
  }
}

TEST(EarliestFinish, gives_a_valid_schedule_where_memory_is_unlimited) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Problem problem = islands(seed, 80, 1 + seed % 6, seed % 2 == 0);
    const std::optional<Schedule> schedule = earliest_finish(problem);
    ASSERT_TRUE(schedule);
    const auto violations = check(problem.graph(), problem.cluster(), make_plan(problem, *schedule, {}, {}), 1);
    EXPECT_TRUE(violations.empty()) << seed << ": " << violations.front().message;
  }
}

}  // namespace
}  // namespace opweave
