// What holds for every size and every cost; the published figures are in expert_rows_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "opweave/error.h"
#include "opweave/experts.h"
#include "support/stage_pipeline.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;

StageCosts costs(std::int64_t forward, std::int64_t input_gradient, std::int64_t weight_gradient, std::int64_t hop) {
  return {Duration(forward), Duration(input_gradient), Duration(weight_gradient), Duration(hop)};
}

/// Actions of a device as one line.
std::string line(const PipelineSchedule& schedule, std::size_t device) {
  std::string result;
  for (const PipelineAction& action : schedule.devices.at(device)) {
    result += (result.empty() ? "" : " ") + to_string(action);
  }
  return result;
}

testing::BlockFigures run(const PipelineSchedule& schedule, const StageCosts& times) {
  const auto devices = static_cast<std::uint32_t>(schedule.devices.size());
  const std::uint32_t replicas = schedule.shape == PipelineShape::kTwoWay ? 2 : 1;
  const Problem problem = testing::stage_pipeline(schedule.shape, devices, schedule.stages, schedule.microbatches,
                                                  times, Bytes(1), replicas);
  const ExecutionOrder order = to_order(problem, schedule, PairMode::kAtomic);
  return testing::block_figures(problem, order, simulate(problem, order));
}

TEST(Experts, names_are_read_back) {
  std::set<std::string_view> names;
  for (const Expert expert : kAllExperts) {
    EXPECT_EQ(expert_from_string(to_string(expert)), expert);
    names.insert(to_string(expert));
  }
  EXPECT_EQ(names.size(), std::size(kAllExperts));
}

TEST(Experts, names_are_read_as_people_and_pytorch_write_them) {
  EXPECT_EQ(expert_from_string("dualpipe"), Expert::kDualPipe);
  EXPECT_EQ(expert_from_string("ZBV"), Expert::kZBV);
  EXPECT_EQ(expert_from_string("ScheduleZBVZeroBubble"), Expert::kZBV);
  EXPECT_EQ(expert_from_string("InterleavedZeroBubble"), Expert::kInterleavedZB);
  EXPECT_EQ(expert_from_string("loopedbfs"), Expert::kLoopedBFS);
  EXPECT_EQ(expert_from_string("Interleaved1F1B"), Expert::kInterleaved1F1B);
  EXPECT_EQ(expert_from_string("2F2B"), std::nullopt);
  EXPECT_EQ(expert_from_string(""), std::nullopt);
  try {
    (void)expert_named("DualPip");
    ADD_FAILURE() << "no error";
  } catch (const InputError& error) {
    EXPECT_EQ(
        std::string(error.what()),
        "schedule is \"DualPip\", expected one of GPipe, 1F1B, Interleaved-1F1B, Interleaved-ZB, Looped-BFS, ZB1P, "
        "ZB-2P, ZB-V, V-Half, V-Min, DualPipe, DualPipeV");
    EXPECT_EQ(error.hint(), "did you mean \"DualPipe\"?");
  }
}

TEST(Experts, interleaved_with_any_number_of_chunks_has_the_published_bubble) {
  // F = I = W = 1 us per stage: m v (F+I+W) of work, and (P-1)(F+I+W) of ramp: 4 devices, 4 chunks, 8 microbatches:
  // 96 + 9 = 105 us. With the backward split (P-1)(F+I-W): 96 + 3. Breadth first as interleaved.
  const StageCosts unit = costs(1000, 1000, 1000, 0);
  const auto makespan = [&](Expert expert, std::uint32_t devices, std::uint32_t microbatches, std::uint32_t chunks) {
    const auto schedule = generate(expert, ExpertSize{devices, microbatches, chunks, {}}, unit).value();
    const auto figures = run(schedule, unit);
    EXPECT_TRUE(figures.complete);
    return figures.max_idle.value() / 1000 + 3 * microbatches * chunks;
  };
  EXPECT_EQ(makespan(Expert::kInterleaved1F1B, 4, 8, 4), 105);
  EXPECT_EQ(makespan(Expert::kInterleavedZB, 4, 8, 4), 99);
  EXPECT_EQ(makespan(Expert::kLoopedBFS, 4, 8, 4), 105);
  for (const std::uint32_t devices : {2U, 4U, 8U}) {
    for (const std::uint32_t chunks : {1U, 2U, 3U, 5U}) {
      const std::uint32_t m = 3 * devices;
      EXPECT_EQ(makespan(Expert::kInterleaved1F1B, devices, m, chunks), 3 * m * chunks + 3 * (devices - 1));
      EXPECT_EQ(makespan(Expert::kInterleavedZB, devices, m, chunks), 3 * m * chunks + devices - 1);
    }
  }
}

TEST(Experts, groups_of_an_interleaved_schedule_go_through_a_chunk_together) {
  // Groups of 3 on 2 devices, 2 chunks: device 1 runs (v-1) x 3 = 3 ahead; the last group has 2.
  const auto schedule = generate(Expert::kInterleaved1F1B, ExpertSize{2, 5, 2, 3}, costs(1, 1, 1, 0));
  EXPECT_EQ(line(schedule.value(), 1),
            "1F0 1F1 1F2 3F0 3B0 3F1 3B1 3F2 3B2 1F3 1B0 1F4 1B1 3F3 1B2 3F4 3B3 3B4 1B3 1B4");
}

TEST(Experts, sizes_outside_a_definition_have_a_reason) {
  const auto why = [](Expert expert, const ExpertSize& size) { return why_undefined(expert, size).value_or(""); };
  EXPECT_EQ(why(Expert::kDualPipe, {3, 12, 2, {}}), "needs an even number of devices, got 3");
  EXPECT_EQ(why(Expert::kDualPipe, {4, 9, 2, {}}), "needs an even number of microbatches, got 9");
  EXPECT_EQ(why(Expert::kDualPipe, {8, 14, 2, {}}),
            "needs at least 2 microbatches per device, 16 for 8 devices, got 14");
  EXPECT_EQ(why(Expert::kDualPipeV, {4, 7, 2, {}}), "needs at least 2 microbatches per device, 8 for 4 devices, got 7");
  EXPECT_EQ(why(Expert::kInterleaved1F1B, {4, 8, 0, {}}), "needs at least 1 chunk, got 0");
  EXPECT_EQ(why(Expert::kInterleaved1F1B, {4, 8, 2, 3}),
            "needs groups of at least as many microbatches as devices, 4, got 3");
  EXPECT_EQ(
      why(Expert::kInterleavedZB, {4, 10, 2, 8}),
      "needs a last group of at least as many microbatches as devices, 4, 10 microbatches in groups of 8 leave 2");
  EXPECT_EQ(why(Expert::kInterleavedZB, {4, 3, 2, 8}), "") << "one group";
  EXPECT_EQ(why(Expert::kZBV, {4, 1, 2, {}}), "");
}

TEST(Experts, one_forward_one_backward_is_the_textbook_order) {
  const auto schedule = generate(Expert::k1F1B, 3, 4, costs(1, 1, 1, 0));
  EXPECT_EQ(line(schedule.value(), 0), "0F0 0F1 0F2 0B0 0F3 0B1 0B2 0B3");
  EXPECT_EQ(line(schedule.value(), 1), "1F0 1F1 1B0 1F2 1B1 1F3 1B2 1B3");
  EXPECT_EQ(line(schedule.value(), 2), "2F0 2B0 2F1 2B1 2F2 2B2 2F3 2B3");
}

TEST(Experts, interleaved_rounds_differ_by_at_most_one_microbatch) {
  // 5 microbatches on 2 devices: rounds of 3 and 2; device 1 runs one round ahead, then alternates.
  const auto schedule = generate(Expert::kInterleaved1F1B, 2, 5, costs(1, 1, 1, 0));
  EXPECT_EQ(line(schedule.value(), 1),
            "1F0 1F1 1F2 3F0 3B0 3F1 3B1 3F2 3B2 1F3 1B0 1F4 1B1 3F3 1B2 3F4 3B3 3B4 1B3 1B4");
}

TEST(Experts, zb1p_delays_weight_gradients_by_the_number_of_the_device) {
  const auto schedule = generate(Expert::kZB1P, 3, 4, costs(1, 1, 1, 0));
  EXPECT_EQ(line(schedule.value(), 0), "0F0 0F1 0F2 0I0 0W0 0F3 0I1 0W1 0I2 0W2 0I3 0W3");
  EXPECT_EQ(line(schedule.value(), 2), "2F0 2I0 2F1 2I1 2F2 2I2 2W0 2F3 2I3 2W1 2W2 2W3");
}

TEST(Experts, dual_pipe_runs_the_halves_of_the_microbatches_in_opposite_directions) {
  const auto schedule = generate(Expert::kDualPipe, 2, 4, costs(1, 1, 1, 0)).value();
  EXPECT_EQ(line(schedule, 0), "0F0 1F2 0F1 1B2 (1F3;0B0)OVERLAP_F_B 1B3 0I1 0W1");
  EXPECT_EQ(line(schedule, 1), "0F2 1F0 0F3 1B0 (1F1;0B2)OVERLAP_F_B 1B1 0I3 0W3");
}

TEST(Experts, sizes_outside_a_definition_give_nothing) {
  const StageCosts unit = costs(1, 1, 1, 0);
  EXPECT_EQ(generate(Expert::kDualPipe, 3, 12, unit), std::nullopt) << "odd devices";
  EXPECT_EQ(generate(Expert::kDualPipe, 4, 9, unit), std::nullopt) << "odd microbatches";
  EXPECT_EQ(generate(Expert::kDualPipe, 4, 6, unit), std::nullopt) << "fewer than 2 microbatches per device";
  EXPECT_EQ(generate(Expert::kDualPipeV, 4, 7, unit), std::nullopt);
  for (const Expert expert : kAllExperts) {
    EXPECT_EQ(generate(expert, 0, 4, unit), std::nullopt);
    EXPECT_EQ(generate(expert, 4, 0, unit), std::nullopt);
  }
}

TEST(Experts, every_size_and_cost_gives_an_order_that_runs_to_the_end) {
  const StageCosts all_costs[] = {costs(10, 10, 10, 0), costs(10, 12, 8, 1),  costs(10, 13, 3, 1),
                                  costs(7, 20, 0, 5),   costs(0, 0, 0, 0),    costs(30, 10, 20, 0),
                                  costs(10, 0, 30, 2),  costs(5, 10, 10, 100)};
  std::map<Expert, int> covered;
  std::size_t variant = 0;
  for (const Expert expert : kAllExperts) {
    for (std::uint32_t devices = 1; devices <= 8; ++devices) {
      for (std::uint32_t microbatches = 1; microbatches <= 18; ++microbatches) {
        const StageCosts& times = all_costs[variant++ % std::size(all_costs)];
        const std::uint32_t chunks = 1 + static_cast<std::uint32_t>(variant % 4);
        const auto schedule = generate(expert, ExpertSize{devices, microbatches, chunks, {}}, times);
        const bool defined = expert == Expert::kDualPipe
                                 ? devices % 2 == 0 && microbatches % 2 == 0 && microbatches >= 2 * devices
                             : expert == Expert::kDualPipeV ? microbatches >= 2 * devices
                                                            : true;
        ASSERT_EQ(schedule.has_value(), defined) << to_string(expert) << " " << devices << " x " << microbatches;
        if (!schedule) continue;
        // to_order throws if an action is missing or repeated.
        const testing::BlockFigures figures = run(*schedule, times);
        ASSERT_TRUE(figures.complete) << to_string(expert) << " " << devices << " x " << microbatches;
        ++covered[expert];
      }
    }
  }
  EXPECT_EQ(covered[Expert::kGPipe], 144);
  EXPECT_EQ(covered[Expert::kDualPipeV], 17 + 15 + 13 + 11 + 9 + 7 + 5 + 3);
}

TEST(Experts, memory_stays_within_what_each_definition_promises) {
  // In stages held until W, per device; devices d, microbatches enough to fill the pipeline.
  for (std::uint32_t devices : {1U, 2U, 3U, 4U, 6U, 7U, 8U, 12U}) {
    const std::uint32_t microbatches = 3 * devices;
    const std::map<Expert, std::uint32_t> limits = {
        {Expert::kGPipe, microbatches},
        {Expert::k1F1B, devices},
        {Expert::kZB1P, devices},
        {Expert::kInterleavedZB, 2 * devices},  // in half stages
        {Expert::kZB2P, 2 * devices},
        {Expert::kZBV, 2 * devices},
        {Expert::kDualPipeV, 2 * devices + 1},
        // Published as (P + 2) / 2 and (P + 4) / 3 microbatches, rounded down; here in half stages.
        {Expert::kVHalf, 2 * ((devices + 2) / 2)},
        {Expert::kVMin, 2 * ((devices + 4) / 3)}};
    for (const auto& [expert, limit] : limits) {
      for (const StageCosts& times : {costs(10, 10, 10, 0), costs(10, 13, 3, 1)}) {
        const auto figures = run(generate(expert, devices, microbatches, times).value(), times);
        EXPECT_LE(figures.peak_until_weight_gradient, limit) << to_string(expert) << " " << devices;
      }
    }
  }
}

TEST(Experts, unit_cost_bubbles_are_those_of_the_papers) {
  // F = I = W = t per stage, no hop: GPipe and 1F1B idle (P-1)(F+I+W), ZB1P (P-1)(F+I-W), ZB-2P P-1 of
  // ramp only, ZB-V the ramp of its first legs, (P-1) half stages.
  const std::int64_t t = 10;
  for (std::int64_t devices = 2; devices <= 8; ++devices) {
    const std::int64_t microbatches = 3 * devices;
    const auto idle = [&](Expert expert) {
      const auto schedule = generate(expert, static_cast<std::uint32_t>(devices),
                                     static_cast<std::uint32_t>(microbatches), costs(t, t, t, 0));
      return run(schedule.value(), costs(t, t, t, 0)).max_idle.value();
    };
    EXPECT_EQ(idle(Expert::kGPipe), 3 * t * (devices - 1));
    EXPECT_EQ(idle(Expert::k1F1B), 3 * t * (devices - 1));
    EXPECT_EQ(idle(Expert::kZB1P), t * (devices - 1));
    EXPECT_EQ(idle(Expert::kZB2P), t * (devices - 1));
    EXPECT_EQ(idle(Expert::kZBV), t * (devices - 1));
  }
}

TEST(Experts, same_sizes_and_costs_give_the_same_order) {
  for (const Expert expert : kAllExperts) {
    const auto first = generate(expert, 4, 12, costs(10, 12, 8, 1));
    const auto second = generate(expert, 4, 12, costs(10, 12, 8, 1));
    EXPECT_EQ(first.value().devices, second.value().devices);
  }
}

}  // namespace
}  // namespace opweave
