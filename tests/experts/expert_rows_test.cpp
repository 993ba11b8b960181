// The published table of expert schedules, row by row. One activation there is one microbatch through
// one full stage; here a unit of time is 1,000,000 ns, so that all its decimals are whole nanoseconds.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "opweave/plan.h"
#include "support/data_dir.h"
#include "support/stage_pipeline.h"

namespace opweave {
namespace {

using nlohmann::json;

constexpr double kUnit = 1e6;

struct Row {
  std::string name;  ///< case and schedule
  std::string expert;
  PipelineShape shape = PipelineShape::kLinear;
  std::uint32_t devices = 0;
  std::uint32_t stages = 0;
  std::uint32_t microbatches = 0;
  StageCosts costs;
  std::optional<Duration> pair;
  PairMode pairs = PairMode::kAtomic;
  std::vector<std::string> order;  ///< empty where the table gives none
  Duration makespan;
  Duration max_idle;
  Duration max_span_idle;
  double peak = 0;
  double peak_until_input_gradient = 0;

  /// Stages in which the table counts one activation: a half stage keeps half of one.
  [[nodiscard]] double stages_per_activation() const { return static_cast<double>(stages) / devices; }
  [[nodiscard]] bool unit_costs() const {
    return costs.forward == costs.input_gradient && costs.forward == costs.weight_gradient;
  }
};

Duration time_of(double units) {
  const double exact = units * kUnit;
  EXPECT_NEAR(exact, std::round(exact), 1e-3) << "not a whole number of nanoseconds";
  return Duration(static_cast<std::int64_t>(std::llround(exact)));
}

std::vector<Row> read_rows(const std::filesystem::path& folder) {
  std::ifstream file(folder / "pipelines" / "experts.json");
  const json data = json::parse(file);
  const std::map<std::string, PipelineShape> shapes = {{"linear", PipelineShape::kLinear},
                                                       {"V", PipelineShape::kV},
                                                       {"loop2", PipelineShape::kLoop},
                                                       {"bidir", PipelineShape::kTwoWay}};
  std::vector<Row> rows;
  for (const json& entry : data.at("cases")) {
    for (const json& expert : entry.at("experts")) {
      Row row;
      row.expert = expert.at("schedule");
      row.name = entry.at("id").get<std::string>() + " " + row.expert;
      row.shape = shapes.at(expert.at("placement"));
      row.devices = entry.at("devices");
      row.microbatches = entry.at("microbatches");
      const bool halves = row.shape == PipelineShape::kV || row.shape == PipelineShape::kLoop;
      row.stages = halves ? 2 * row.devices : row.devices;
      const double share = halves ? 0.5 : 1.0;
      const json& costs = entry.at("stage_costs");
      row.costs = {time_of(share * costs.at("F").get<double>()), time_of(share * costs.at("I").get<double>()),
                   time_of(share * costs.at("W").get<double>()), time_of(entry.at("hop_latency"))};
      if (costs.contains("pair")) row.pair = time_of(share * costs.at("pair").get<double>());
      if (expert.value("pair_mode", "") == "split") row.pairs = PairMode::kSplit;
      if (expert.contains("order")) row.order = data.at("orders").at(expert.at("order").get<std::string>());
      row.makespan = time_of(expert.at("makespan"));
      row.max_idle = time_of(expert.at("max_idle"));
      row.max_span_idle = time_of(expert.at("max_span_idle"));
      row.peak = expert.at("peak_activations");
      row.peak_until_input_gradient = expert.at("peak_activations_if_freed_by_I");
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

PipelineSchedule parse_order(const Row& row) {
  PipelineSchedule schedule;
  schedule.name = row.expert;
  schedule.shape = row.shape;
  schedule.stages = row.stages;
  schedule.microbatches = row.microbatches;
  for (const std::string& line : row.order) {
    schedule.devices.emplace_back();
    std::istringstream tokens(line);
    for (std::string token; tokens >> token;) schedule.devices.back().push_back(action_from_string(token).value());
  }
  return schedule;
}

testing::BlockFigures simulate_row(const Row& row, const PipelineSchedule& schedule) {
  const std::uint32_t replicas = row.shape == PipelineShape::kTwoWay ? 2 : 1;
  const Problem problem =
      testing::stage_pipeline(row.shape, row.devices, row.stages, row.microbatches, row.costs, Bytes(1), replicas);
  ExecutionOrder order = to_order(problem, schedule, row.pairs);
  if (row.pair) {
    for (auto& blocks : order.devices) {
      for (Block& block : blocks) {
        if (block.tasks.size() != 3) continue;  // F, I and W: a pair
        block.duration = *row.pair;
        block.offsets.assign(block.tasks.size(), Duration(0));  // where inside is not said
        block.fixed_duration = true;
      }
    }
  }
  const SimulationResult result = simulate(problem, order);
  testing::BlockFigures figures = testing::block_figures(problem, order, result);
  if (!row.pair && figures.complete) {
    // The memory rule of plans says the same as counting blocks.
    Bytes peak;
    for (const DeviceStatistics& device : statistics(problem, result.schedule).devices) {
      peak = std::max(peak, device.peak_memory);
    }
    EXPECT_EQ(peak, Bytes(figures.peak_until_weight_gradient)) << row.name;
  }
  return figures;
}

void expect_figures(const Row& row) {
  const testing::BlockFigures figures = simulate_row(row, parse_order(row));
  ASSERT_TRUE(figures.complete) << row.name;
  EXPECT_EQ(figures.makespan, row.makespan) << row.name;
  EXPECT_EQ(figures.max_idle, row.max_idle) << row.name;
  EXPECT_EQ(figures.max_span_idle, row.max_span_idle) << row.name;
  EXPECT_DOUBLE_EQ(figures.peak_until_weight_gradient / row.stages_per_activation(), row.peak) << row.name;
  EXPECT_DOUBLE_EQ(figures.peak_until_input_gradient / row.stages_per_activation(), row.peak_until_input_gradient)
      << row.name;
}

// Every action takes 1. The second device runs from 1 to 7 without a pause; the first runs F0 F1 from 0 to 2, I0 W0
// from 3, when I0 has come back, to 5, and I1 W1 from 6 to 8. It holds both microbatches until the end of W0, of I0.
TEST(ExpertRows, simulator_gives_the_figures_of_a_small_order) {
  Row row;
  row.name = row.expert = "1F1B of two microbatches";
  row.devices = row.stages = row.microbatches = 2;
  row.costs = {time_of(1), time_of(1), time_of(1), time_of(0)};
  row.order = {"0F0 0F1 0I0 0W0 0I1 0W1", "1F0 1I0 1W0 1F1 1I1 1W1"};
  row.makespan = time_of(8);
  row.max_idle = time_of(2);
  row.max_span_idle = time_of(2);
  row.peak = row.peak_until_input_gradient = 2;
  expect_figures(row);
}

TEST(ExpertRows, simulator_reproduces_every_row_that_gives_its_order) {
  const auto folder = testing::data_dir();
  if (!folder) GTEST_SKIP() << "OPWEAVE_DATA names no folder with pipelines/experts.json";
  std::size_t checked = 0;
  for (const Row& row : read_rows(*folder)) {
    if (row.order.empty()) continue;
    expect_figures(row);
    ++checked;
  }
  // Per number of devices 4 cases with split pairs and 2 without: 4 x 17 + 2 x 15 and 4 x 19 + 2 x 17.
  EXPECT_EQ(checked, 208U);
}

std::optional<Expert> expert_of(const std::string& schedule) {
  const std::map<std::string, Expert> names = {{"GPipe", Expert::kGPipe},
                                               {"1F1B", Expert::k1F1B},
                                               {"Interleaved-1F1B v2 (Megatron)", Expert::kInterleaved1F1B},
                                               {"PyTorch Interleaved1F1B v2", Expert::kInterleaved1F1B},
                                               {"PyTorch InterleavedZeroBubble v1 (ZB1P)", Expert::kZB1P},
                                               {"ZB auto, limit 2.0P", Expert::kZB2P},
                                               {"ZB-V (sail auto)", Expert::kZBV},
                                               {"V-Half (sail)", Expert::kVHalf},
                                               {"V-Min (sail)", Expert::kVMin},
                                               {"DualPipe", Expert::kDualPipe},
                                               {"DualPipeV", Expert::kDualPipeV}};
  const auto found = names.find(schedule);
  return found == names.end() ? std::nullopt : std::optional(found->second);
}

TEST(ExpertRows, generators_reproduce_the_table) {
  const auto folder = testing::data_dir();
  if (!folder) GTEST_SKIP() << "OPWEAVE_DATA names no folder with pipelines/experts.json";
  std::size_t checked = 0;
  std::size_t same_order = 0;
  std::size_t orders = 0;
  for (const Row& row : read_rows(*folder)) {
    const auto expert = expert_of(row.expert);
    if (!expert) continue;
    const auto schedule = generate(*expert, row.devices, row.microbatches, row.costs);
    ASSERT_TRUE(schedule) << row.name;
    const testing::BlockFigures figures = simulate_row(row, *schedule);
    ASSERT_TRUE(figures.complete) << row.name;
    const double peak = figures.peak_until_weight_gradient / row.stages_per_activation();
    // The search behind ZB-2P and ZB-V decides ties by rounding errors of its decimal times; where
    // there are ties, ours finds other orders, none longer and some shorter.
    const bool searched = *expert == Expert::kZB2P || *expert == Expert::kZBV;
    if (searched && !(row.unit_costs() && row.costs.hop_latency == Duration(0))) {
      EXPECT_LE(figures.makespan, row.makespan) << row.name;
      EXPECT_LE(peak, row.peak) << row.name;
    } else {
      EXPECT_EQ(figures.makespan, row.makespan) << row.name;
      EXPECT_DOUBLE_EQ(peak, row.peak) << row.name;
      EXPECT_EQ(figures.max_span_idle, row.max_span_idle) << row.name;
    }
    ++checked;
    if (row.order.empty()) continue;
    ++orders;
    same_order += schedule->devices == parse_order(row).devices ? 1 : 0;
  }
  std::cout << checked << " rows, " << same_order << " of " << orders << " given orders reproduced to the action\n";
  EXPECT_GE(checked, 200U);
  EXPECT_GE(same_order, 130U);
}

}  // namespace
}  // namespace opweave
