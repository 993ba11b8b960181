#include "opweave/cut.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "opweave/error.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;

using Cut = std::vector<std::uint32_t>;

/// Layers whose F, I and W take a third of their time each, in units of 3 ns.
LayerRow row(const std::vector<std::int64_t>& units) {
  LayerRow result;
  result.times.emplace_back();
  for (const std::int64_t unit : units) {
    result.times.front().push_back({Duration(unit), Duration(unit), Duration(unit)});
  }
  return result;
}

/// Load of the busiest device and time of the longest stage, from the definition.
std::pair<std::int64_t, std::int64_t> figures(const LayerRow& layers, const StageRounds& rounds, const Cut& cut) {
  std::vector<std::int64_t> load(rounds.devices, 0);
  std::int64_t longest = 0;
  std::uint32_t first = 0;
  for (std::uint32_t stage = 0; stage < cut.size(); first += cut[stage++]) {
    for (const bool opposite : {false, true}) {
      const std::int64_t runs = opposite ? rounds.opposite_runs : rounds.runs;
      if (runs == 0) continue;
      const std::uint32_t device = rounds.device_of(stage, opposite);
      std::int64_t time = 0;
      for (std::uint32_t layer = first; layer < first + cut[stage]; ++layer) {
        time += layers.times[rounds.kind_of(device)][layer].total().value();
      }
      load[device] += runs * time;
      longest = std::max(longest, time);
    }
  }
  return {*std::ranges::max_element(load), longest};
}

/// Calls `visit` with every cut of so many layers into so many stages.
template <class Visit>
void each_cut(std::uint32_t layers, std::uint32_t stages, Cut& cut, const Visit& visit) {
  if (stages == 1) {
    cut.push_back(layers);
    visit(cut);
    cut.pop_back();
    return;
  }
  for (std::uint32_t count = 1; count + stages - 1 <= layers; ++count) {
    cut.push_back(count);
    each_cut(layers - count, stages - 1, cut, visit);
    cut.pop_back();
  }
}

std::pair<std::int64_t, std::int64_t> best_of_all(const LayerRow& layers, const StageRounds& rounds) {
  std::pair best(std::numeric_limits<std::int64_t>::max(), std::int64_t{0});
  Cut cut;
  each_cut(static_cast<std::uint32_t>(layers.size()), rounds.stages(), cut,
           [&](const Cut& each) { best = std::min(best, figures(layers, rounds, each)); });
  return best;
}

double binomial(std::uint32_t n, std::uint32_t k) {
  double result = 1;
  for (std::uint32_t i = 0; i < k; ++i) result = result * (n - i) / (i + 1);
  return result;
}

StageRounds loop(std::uint32_t devices, std::uint32_t chunks) {
  return rounds_of(PipelineShape::kLoop, devices * chunks, devices, {});
}

TEST(Cut, random_pipelines_are_cut_as_enumeration_cuts_them) {
  // 2 to 16 devices, 1 to 5 rounds, unequal layers, a light embedding and a heavy head; as many layers as leave at most
  // 100,000 cuts to enumerate.
  std::mt19937 random(5);
  int cut_in_full = 0;
  while (cut_in_full < 100) {
    const std::uint32_t devices = 2 + random() % 15;
    const std::uint32_t chunks = 1 + random() % 5;
    const int kind = static_cast<int>(random() % 5);
    StageRounds rounds = loop(devices, chunks);
    if (kind == 1) rounds = rounds_of(PipelineShape::kV, 2 * devices, devices, {});
    if (kind == 2) rounds = rounds_of(PipelineShape::kTwoWay, devices, devices, {.microbatches = 8, .replicas = 2});
    if (kind == 3) rounds.downwards.assign(chunks, random() % 2 == 0);
    if (kind == 4) {
      rounds = rounds_of(PipelineShape::kTwoWay, devices, devices,
                         {.microbatches = 4, .replicas = 2, .replica_of_microbatch = {0, 1, 0, 0}});
    }
    std::uint32_t layers = rounds.stages() + random() % 12;
    while (binomial(layers - 1, rounds.stages() - 1) > 100'000) --layers;
    const std::int64_t range = std::array{2, 9, 1000}[random() % 3];
    std::vector<std::int64_t> units;
    for (std::uint32_t layer = 0; layer < layers; ++layer) units.push_back(1 + random() % range);
    units.front() = 1;
    units.back() = 2 * range;
    const LayerRow all = row(units);
    const auto [load, stage] = best_of_all(all, rounds);
    const StageCut cut = cut_stages(all, rounds);
    ASSERT_EQ(std::accumulate(cut.layers_of_stage.begin(), cut.layers_of_stage.end(), 0U), layers);
    EXPECT_EQ(figures(all, rounds, cut.layers_of_stage), std::pair(load, stage))
        << devices << " devices, " << chunks << " rounds, kind " << kind << ": " << to_string(cut.layers_of_stage);
    EXPECT_EQ(cut.largest_load.value(), load);
    EXPECT_EQ(cut.longest_stage.value(), stage);
    EXPECT_LE(cut.largest_load_bound.value(), load);
    EXPECT_LE(cut.longest_stage_bound.value(), stage);
    EXPECT_TRUE(cut.is_proven()) << devices << " devices, " << chunks << " rounds, kind " << kind << ", " << layers;
    ++cut_in_full;
  }
}

TEST(Cut, random_pipelines_on_devices_of_unequal_speed_too) {
  std::mt19937 random(6);
  for (int round = 0; round < 60; ++round) {
    const std::uint32_t devices = 2 + random() % 4;
    StageRounds rounds = loop(devices, 1 + random() % 3);
    for (std::uint32_t device = 0; device < devices; ++device) rounds.kind_of_device.push_back(random() % 2);
    std::uint32_t layers = rounds.stages() + random() % 8;
    while (binomial(layers - 1, rounds.stages() - 1) > 20'000) --layers;
    LayerRow all = row({});
    all.times.resize(2);
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      const std::int64_t fast = 1 + random() % 9;
      const std::int64_t slow = round % 2 == 0 ? 2 * fast : 1 + static_cast<std::int64_t>(random() % 20);
      all.times[0].push_back({Duration(fast), Duration(), Duration()});
      all.times[1].push_back({Duration(slow), Duration(), Duration()});
    }
    const StageCut cut = cut_stages(all, rounds);
    EXPECT_EQ(figures(all, rounds, cut.layers_of_stage), best_of_all(all, rounds)) << round;
    EXPECT_TRUE(cut.is_proven()) << round;
  }
}

TEST(Cut, one_round_has_the_least_longest_stage_and_is_near_equal_shares) {
  StageRounds three;
  three.devices = 3;
  // Nothing beats 9, so the first stage ends there; of the cuts after it, the one at 11 is nearest to 2/3 of 17.
  EXPECT_THAT(cut_stages(row({9, 1, 1, 1, 1, 4}), three).layers_of_stage, ElementsAre(1, 2, 3));
  // 5 5 5 5 into 3: some stage has two of them; the cuts are nearest to 6.7 and 13.3.
  EXPECT_THAT(cut_stages(row({5, 5, 5, 5}), three).layers_of_stage, ElementsAre(1, 2, 1));
  three.devices = 2;
  EXPECT_THAT(cut_stages(row({0, 0, 0}), three).layers_of_stage, ElementsAre(2, 1));
  for (std::uint32_t layers = 1; layers < 30; ++layers) {
    for (std::uint32_t stages = 1; stages <= layers; ++stages) {
      StageRounds rounds;
      rounds.devices = stages;
      const Cut cut = cut_stages(row(std::vector<std::int64_t>(layers, 1)), rounds).layers_of_stage;
      const auto [least, most] = std::ranges::minmax_element(cut);
      ASSERT_LE(*most - *least, 1U) << layers << " layers, " << stages << " stages";
    }
  }
}

TEST(Cut, sums_of_devices_come_before_the_longest_stage) {
  // 12 layers of 3 in 8 stages on 4 devices: 9 per device, so each has one stage of two layers and one of one.
  const StageCut cut = cut_stages(row(std::vector<std::int64_t>(12, 1)), loop(4, 2));
  EXPECT_EQ(cut.largest_load, Duration(9));
  EXPECT_EQ(cut.longest_stage, Duration(6));
  // 20 layers in 16 stages on 4 devices: 5 layers each, in stages of at most two; on 8 devices 20 / 8 makes 3.
  EXPECT_EQ(cut_stages(row(std::vector<std::int64_t>(20, 1)), loop(4, 4)).largest_load, Duration(15));
  EXPECT_EQ(cut_stages(row(std::vector<std::int64_t>(20, 1)), loop(8, 2)).largest_load, Duration(9));
  // 16 layers of 3 and a head of 12 in a V on 4 devices: 60 / 4 = 15, so the head's device has one layer beside it.
  std::vector<std::int64_t> with_head(17, 1);
  with_head.back() = 4;
  const StageCut v = cut_stages(row(with_head), rounds_of(PipelineShape::kV, 8, 4, {}));
  EXPECT_EQ(v.largest_load, Duration(15));
  EXPECT_EQ(v.longest_stage, Duration(12));
  EXPECT_EQ(v.layers_of_stage.front(), 1U);
  EXPECT_EQ(v.layers_of_stage.back(), 1U);
}

TEST(Cut, bound_of_a_large_pipeline_is_the_one_of_its_few_kinds_of_layers) {
  // 80 layers of 30 with an embedding of 6 and a head of 51 on 8 devices in 5 rounds: 2457 / 8 = 307.1, but a device
  // without either end has a multiple of 30, so 300 at most below 330, and the two others 306 and 291. That holds 2397.
  std::vector<std::int64_t> units(82, 10);
  units.front() = 2;
  units.back() = 17;
  const StageCut cut = cut_stages(row(units), loop(8, 5));
  EXPECT_EQ(cut.largest_load, Duration(330));
  EXPECT_TRUE(cut.is_proven());
}

TEST(Cut, dispatch_decides_among_equal_loads) {
  // Of the 16 cuts of 12 equal layers that put 9 on each of 4 devices, the dispatch ends after 76 for two, after up to
  // 81 for the others; 8 microbatches of 9 are 72, and the last device waits for the forwards of three stages.
  const LayerRow layers = row(std::vector<std::int64_t>(12, 1));
  const StageRounds rounds = loop(4, 2);
  const CutJudge judge = dispatch_judge(layers, rounds, 8);
  EXPECT_EQ(judge.value({1, 1, 2, 2, 2, 2, 1, 1}), 76);
  EXPECT_EQ(judge.value({2, 2, 2, 2, 1, 1, 1, 1}), 78);
  EXPECT_EQ(judge.value({2, 2, 2, 1, 1, 1, 1, 2}), 81);
  const StageCut cut = cut_stages(layers, rounds, judge);
  EXPECT_EQ(judge.value(cut.layers_of_stage), 76);
  EXPECT_TRUE(cut.judged_all);
}

TEST(Cut, large_pipelines_end_soon_and_tell_what_they_know) {
  std::mt19937 random(9);
  for (const auto& [layers, devices, chunks] :
       {std::tuple(200U, 16U, 5U), std::tuple(2000U, 64U, 4U), std::tuple(20000U, 256U, 2U)}) {
    std::vector<std::int64_t> units;
    for (std::uint32_t layer = 0; layer < layers; ++layer) units.push_back(1'000'000 + random() % 1'000'000);
    const LayerRow all = row(units);
    const StageRounds rounds = loop(devices, chunks);
    const StageCut cut = cut_stages(all, rounds);
    EXPECT_EQ(figures(all, rounds, cut.layers_of_stage),
              std::pair(cut.largest_load.value(), cut.longest_stage.value()));
    EXPECT_LE(cut.largest_load_bound, cut.largest_load);
    // Within 2 % of the mean.
    const std::int64_t total = 3 * std::accumulate(units.begin(), units.end(), std::int64_t{0});
    EXPECT_LE(cut.largest_load.value() * devices, total + total / 50) << layers;
  }
}

TEST(CutText, numbers_are_layers_of_each_stage) {
  EXPECT_THAT(parse_cut("4,5,5,2", 16), ElementsAre(4, 5, 5, 2));
  EXPECT_THAT(parse_cut("3,0,1", 4), ElementsAre(3, 0, 1));
  EXPECT_EQ(to_string(Cut{4, 5, 5, 2}), "4,5,5,2");
}

TEST(CutText, layouts_of_megatron_are_read_as_megatron_reads_them) {
  // E and 3 t, 29 times two, then the MTP layer, then the loss: 1 + 3 + 58 + 1 + 1 layers in 32 stages.
  const Cut cut = parse_cut("Et*3|(tt|)*29,m|L", 64);
  ASSERT_EQ(cut.size(), 32U);
  EXPECT_EQ(cut.front(), 4U);
  EXPECT_EQ(std::ranges::count(cut, 2U), 29);
  EXPECT_EQ(cut[30], 1U);
  EXPECT_EQ(cut[31], 1U);
  EXPECT_THAT(parse_cut("E|(t|)*2,||tL", 5), ElementsAre(1, 1, 1, 0, 0, 2));
  EXPECT_THAT(parse_cut("E(t(t|)*2)*2tL", 9), ElementsAre(3, 1, 2, 1, 2));
}

TEST(CutText, what_is_wrong_is_named) {
  const auto message = [](std::string_view text, std::uint32_t layers) -> std::string {
    try {
      (void)parse_cut(text, layers);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message("4,5", 10), "cut \"4,5\" has 9 layers, the pipeline has 10");
  EXPECT_EQ(message("4,,5", 9), "cut is \"4,,5\", expected numbers with commas between them");
  EXPECT_EQ(message("4;5", 9), "cut is \"4;5\", expected a comma before \";5\"");
  EXPECT_EQ(message("4,99999999999", 9), "cut is \"4,99999999999\", expected numbers with commas between them");
  EXPECT_EQ(message("Et|tX", 4),
            "layout \"Et|tX\", character 5: found \"X\", expected E, t, m, L, |, a comma, or a group in parentheses");
  EXPECT_EQ(message("E(tt|", 4), "layout \"E(tt|\", character 6: a group is not closed, expected \")\"");
  EXPECT_EQ(message("Et)t", 4), "layout \"Et)t\", character 3: \")\" closes no group");
  EXPECT_EQ(message("Et*|t", 4), "layout \"Et*|t\", character 4: expected a number from 1 after \"*\"");
  EXPECT_EQ(message("Et*999999L", 4), "layout \"Et*999999L\", character 10: more than 100000 layers and stages");
  EXPECT_EQ(message("tE|L", 3),
            "layout \"tE|L\": \"E\" is out of place, expected at most one E, then t, then m, then at most one L");
  EXPECT_EQ(message("Et|L", 4), "layout \"Et|L\" has 3 layers, the pipeline has 4");
  EXPECT_EQ(message("", 4), "layout \"\" has 0 layers, the pipeline has 4");
}

}  // namespace
}  // namespace opweave
