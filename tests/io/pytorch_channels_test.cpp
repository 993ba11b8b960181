// Messages of exported schedules take turns on any transport without waiting in a circle. Issue 12, point 2.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/pytorch_csv.h"
#include "support/channel_simulator.h"

namespace opweave {
namespace {

using ::testing::AllOf;
using testing::ChannelSimulator;
using ::testing::HasSubstr;
using testing::kTransports;

/// 1F1B on two ranks as it was written before: sends after their producers, receives before their consumers.
constexpr const char* kEndsApart =
    "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1,0REDUCE_GRAD\n"
    "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1,1REDUCE_GRAD\n";

/// Stages on ranks as `rank_of` says, actions in any order that can run.
PipelineSchedule random_schedule(const std::vector<std::uint32_t>& rank_of, std::uint32_t ranks,
                                 std::uint32_t microbatches, std::mt19937_64& random) {
  const auto stages = static_cast<std::uint32_t>(rank_of.size());
  PipelineSchedule schedule;
  schedule.name = "random";
  schedule.stages = stages;
  schedule.microbatches = microbatches;
  schedule.devices.resize(ranks);
  // What each stage and microbatch has done: 0 nothing, 1 F, 2 I, 3 W or B.
  std::vector<std::vector<int>> done(stages, std::vector<int>(microbatches, 0));
  std::vector<std::pair<std::uint32_t, std::uint32_t>> open;
  for (std::uint32_t s = 0; s < stages; ++s) {
    for (std::uint32_t b = 0; b < microbatches; ++b) open.emplace_back(s, b);
  }
  while (!open.empty()) {
    const std::size_t at = std::uniform_int_distribution<std::size_t>(0, open.size() - 1)(random);
    const auto [s, b] = open[at];
    int& state = done[s][b];
    const bool can = state == 0   ? s == 0 || done[s - 1][b] > 0
                     : state == 1 ? s + 1 == stages || done[s + 1][b] > 1
                                  : true;
    if (!can) continue;
    const bool whole = state == 1 && random() % 3 == 0;
    const ActionKind kind = state == 0   ? ActionKind::kForward
                            : whole      ? ActionKind::kBackward
                            : state == 1 ? ActionKind::kInputGradient
                                         : ActionKind::kWeightGradient;
    schedule.devices[rank_of[s]].push_back({kind, s, b, 0, 0});
    state = whole ? 3 : state + 1;
    if (state == 3) open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return schedule;
}

std::string name(const testing::Transport& transport) {
  return (transport.rendezvous ? "rendezvous-" : "buffered-") + transport.queues;
}

void expect_no_circle(const std::string& csv, const std::string& what) {
  ChannelSimulator simulator(csv);
  for (const auto& transport : kTransports) {
    EXPECT_TRUE(simulator.makespan(transport).has_value()) << what << ": waits forever with " << name(transport);
  }
}

TEST(PytorchChannels, both_ends_of_a_message_stand_where_its_producer_ends) {
  // 0F1 ends at 2 with 1F0, before 1B0 starts.
  const auto schedule = generate(Expert::k1F1B, 2, 2, {Duration(1), Duration(1), Duration(1), Duration(0)});
  EXPECT_EQ(to_pytorch_csv(schedule.value(), CsvDialect::kComputeComms),
            "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1,0REDUCE_GRAD\n"
            "1RECV_F0,1F0,1RECV_F1,1B0,1SEND_B0,1F1,1B1,1SEND_B1,1REDUCE_GRAD\n");
}

TEST(PytorchChannels, no_expert_waits_in_a_circle_on_any_transport) {
  std::size_t count = 0;
  const StageCosts costs{Duration(10), Duration(12), Duration(8), Duration(3)};
  for (const Expert expert : kAllExperts) {
    if (expert == Expert::kDualPipe) continue;  // two ranks per stage: no file
    for (const std::uint32_t devices : {2U, 3U, 4U, 6U, 9U, 16U}) {
      for (const std::uint32_t microbatches : {devices, 2 * devices + 1}) {
        for (const std::uint32_t chunks : {1U, 2U, 3U, 5U}) {
          if (chunks != 2 && (shape_of(expert) != PipelineShape::kLoop || devices > 6)) continue;
          const ExpertSize size{.devices = devices, .microbatches = microbatches, .chunks = chunks, .group = {}};
          const auto schedule = generate(expert, size, costs);
          if (!schedule) continue;
          const ActionEnds ends =
              earliest_ends(*schedule, costs.forward, costs.input_gradient, costs.weight_gradient, costs.hop_latency);
          expect_no_circle(to_pytorch_csv(*schedule, CsvDialect::kComputeComms, ends), schedule->name);
          ++count;
        }
      }
    }
  }
  EXPECT_GT(count, 150U);
}

TEST(PytorchChannels, no_random_pipeline_waits_in_a_circle_on_any_transport) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    std::mt19937_64 random(seed);
    const auto ranks = static_cast<std::uint32_t>(2 + seed % 15);
    const auto chunks = static_cast<std::uint32_t>(1 + seed % 5);
    const auto microbatches = static_cast<std::uint32_t>(1 + random() % 6);
    std::vector<std::uint32_t> rank_of(ranks * chunks);
    for (std::uint32_t s = 0; s < rank_of.size(); ++s) rank_of[s] = s % ranks;
    if (seed % 3 == 1) std::shuffle(rank_of.begin(), rank_of.end(), random);
    if (seed % 3 == 2) {  // there and back again
      for (std::uint32_t s = 0; s < rank_of.size(); ++s) {
        rank_of[s] = s / ranks % 2 == 0 ? s % ranks : ranks - 1 - s % ranks;
      }
    }
    const PipelineSchedule schedule = random_schedule(rank_of, ranks, microbatches, random);
    expect_no_circle(to_pytorch_csv(schedule, CsvDialect::kComputeComms), "seed " + std::to_string(seed));
    // Ends of a plan decide where messages stand, but nothing that is claimed depends on them.
    ActionEnds any = earliest_ends(schedule, Duration(0), Duration(0), Duration(0), Duration(0));
    for (auto& row : any) {
      for (Duration& end : row) end = Duration(static_cast<std::int64_t>(random() % 3));
    }
    expect_no_circle(to_pytorch_csv(schedule, CsvDialect::kComputeComms, any), "any ends, " + std::to_string(seed));
  }
}

TEST(PytorchChannels, placing_messages_costs_nothing_where_transfers_take_no_time) {
  // Interleaved 1F1B, 4 devices, 12 microbatches: 2 chunks x 3 units x 12 and a bubble of 3 x 3 = 81.
  const auto schedule = generate(Expert::kInterleaved1F1B, 4, 12, {Duration(1), Duration(1), Duration(1), Duration(0)});
  ChannelSimulator simulator(to_pytorch_csv(schedule.value(), CsvDialect::kComputeComms));
  for (const auto& transport : kTransports) EXPECT_EQ(simulator.makespan(transport), 81) << transport.queues;
}

TEST(PytorchChannels, reader_names_the_circle_of_a_file_of_others) {
  ChannelSimulator simulator(kEndsApart);
  EXPECT_FALSE(simulator.makespan({"rank", true}).has_value());
  EXPECT_FALSE(simulator.makespan({"pair", true}).has_value());
  EXPECT_TRUE(simulator.makespan({"rank", false}).has_value());
  const auto error_of = [](ChannelModel model) -> std::string {
    try {
      (void)parse_pytorch_csv(kEndsApart, "theirs.csv", model);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(error_of(kInOrder),
            "theirs.csv: line 1, column 4: \"0SEND_F1\": messages wait in a circle with rendezvous-rank channels: "
            "\"0SEND_F1\" of row 0 ends with \"1RECV_F1\" of row 1, which comes after \"1SEND_B0\" of row 1, which "
            "ends with \"0RECV_B0\" of row 0, which comes after \"0SEND_F1\" of row 0");
  for (const auto& transport : kTransports) {
    const auto model = channel_model_from_string(name(transport));
    EXPECT_EQ(error_of(model.value()).empty(), simulator.makespan(transport).has_value()) << transport.queues;
  }
  EXPECT_EQ(error_of(ChannelModel{}), "");
}

TEST(PytorchChannels, reader_and_simulator_agree_on_spoiled_files) {
  // Messages of a row are moved to other places; those that the reader still takes for a schedule are judged by both.
  std::size_t ended = 0;
  std::size_t stuck = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<std::uint32_t> rank_of{0, 1, 2, 0, 1, 2};
    const PipelineSchedule schedule = random_schedule(rank_of, 3, 2, random);
    std::istringstream lines(to_pytorch_csv(schedule, CsvDialect::kComputeComms));
    std::string spoiled;
    for (std::string line; std::getline(lines, line);) {
      std::vector<std::string> row;
      std::istringstream cells(line);
      for (std::string cell; std::getline(cells, cell, ',');) row.push_back(cell);
      for (int moves = 0; moves < 2; ++moves) {
        const std::size_t at = random() % (row.size() - 1);
        if (row[at].find("RECV") != std::string::npos || row[at + 1].find("RECV") != std::string::npos) {
          std::swap(row[at], row[at + 1]);
        }
      }
      for (std::size_t i = 0; i < row.size(); ++i) spoiled += (i > 0 ? "," : "") + row[i];
      spoiled += '\n';
    }
    try {
      (void)parse_pytorch_csv(spoiled, "spoiled", ChannelModel{});
    } catch (const InputError&) {
      continue;
    }
    ChannelSimulator simulator(spoiled);
    for (const auto& transport : kTransports) {
      const auto model = channel_model_from_string(name(transport));
      bool is_read = true;
      try {
        (void)parse_pytorch_csv(spoiled, "spoiled", model.value());
      } catch (const InputError& error) {
        is_read = false;
        EXPECT_THAT(error.what(), HasSubstr("messages wait in a circle with " + to_string(model.value())));
      }
      EXPECT_EQ(is_read, simulator.makespan(transport).has_value()) << spoiled << transport.queues;
      ++(is_read ? ended : stuck);
    }
  }
  EXPECT_GT(ended, 100U);
  EXPECT_GT(stuck, 20U);
}

}  // namespace
}  // namespace opweave
