// Bounds on pipelines whose optima, or whose best published schedules, are known.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <tuple>

#include "opweave/bounds.h"
#include "support/data_dir.h"
#include "support/pipeline_optimum.h"
#include "support/pipelines.h"

namespace opweave {
namespace {

using testing::kUnit;

double in_units(Duration value) { return static_cast<double>(value.value()) / static_cast<double>(kUnit); }

Duration best_bound(const Problem& problem) { return lower_bounds(problem).front().value; }

struct Optimum {
  PipelineShape shape;
  std::uint32_t devices;
  std::uint32_t microbatches;
  double activations;  // 0 = unlimited
  double makespan[3];  // for the costs below
};
constexpr double kCosts[3][3] = {{1, 1, 1}, {1, 1.2, .8}, {1, 1.27, .31}};
constexpr Optimum kOptima[] = {
    {PipelineShape::kLinear, 2, 4, 2, {13, 13.4, 12.28}}, {PipelineShape::kLinear, 3, 6, 3, {20, 20.8, 19.4}},
    {PipelineShape::kLinear, 3, 6, 2, {25, 26, 24.25}},   {PipelineShape::kLinear, 4, 4, 4, {15, 16.2, 16.2}},
    {PipelineShape::kLinear, 4, 8, 4, {27, 28.2, 26.52}}, {PipelineShape::kLinear, 4, 8, 3, {31, 32.6, 31.06}},
    {PipelineShape::kTwoWay, 4, 4, 0, {13, 13.2, 11.93}}, {PipelineShape::kTwoWay, 4, 8, 0, {25, 25, 21.64}},
    {PipelineShape::kV, 4, 8, 0, {25.5, 25.5, 22.14}},
};

Problem problem_of(const Optimum& o, int costs) {
  testing::StagePipeline p{o.shape, o.devices, o.microbatches, kCosts[costs][0], kCosts[costs][1], kCosts[costs][2],
                           0,       {}};
  if (o.activations > 0) p.activations.assign(o.devices, o.activations);
  return testing::stage_pipeline(p);
}

TEST(PipelineBounds, no_bound_exceeds_a_known_optimum_and_most_prove_it) {
  int proven = 0;
  for (const Optimum& o : kOptima) {
    std::cout << to_string(o.shape) << " " << o.devices << " " << o.microbatches << " " << o.activations << ":";
    for (int costs = 0; costs < 3; ++costs) {
      const double bound = in_units(best_bound(problem_of(o, costs)));
      std::cout << "  " << bound << " of " << o.makespan[costs];
      EXPECT_LE(bound, o.makespan[costs] + 1e-9);
      if (bound > o.makespan[costs] - 1e-9) ++proven;
    }
    std::cout << "\n";
  }
  // The others have fewer activations than devices.
  EXPECT_GE(proven, 21) << "of 27";
}

TEST(PipelineBounds, a_search_of_its_own_finds_the_known_optima_of_small_linear_pipelines) {
  for (const Optimum& o : kOptima) {
    if (o.shape != PipelineShape::kLinear) continue;
    for (int costs = 0; costs < 3; ++costs) {
      // The remaining ones take minutes.
      if (o.devices == 4 && o.microbatches == 8 && (o.activations == 4 || costs > 0)) continue;
      const auto hundredths = [](double value) { return static_cast<std::int64_t>(std::llround(value * 100)); };
      const auto found = testing::pipeline_optimum(
          {static_cast<int>(o.devices), static_cast<int>(o.microbatches), static_cast<int>(o.activations),
           hundredths(kCosts[costs][0]), hundredths(kCosts[costs][1]), hundredths(kCosts[costs][2])},
          hundredths(o.makespan[costs]) + 1);
      ASSERT_TRUE(found) << "nothing at " << o.makespan[costs];
      EXPECT_EQ(*found, hundredths(o.makespan[costs]));
    }
  }
}

struct Headline {
  PipelineShape shape;
  double activations;
  std::uint32_t replicas;
  double at_least_ms;
  double best_plan_ms;  // a plan that is known to exist; 0 = none is
};

TEST(PipelineBounds, operator_level_overlap_of_a_mixture_of_experts_layer) {
  const auto dir = testing::data_dir();
  if (!dir) GTEST_SKIP() << "OPWEAVE_DATA is not there";
  // Free placement: 2364 ms of work per device and more.
  for (const Headline& row :
       {Headline{PipelineShape::kTwoWay, 9, 2, 3241.39, 3274.69}, Headline{PipelineShape::kV, 8.5, 1, 3387.97, 3450.49},
        Headline{PipelineShape::kV, 8, 1, 3447.07, 4479.7}, Headline{PipelineShape::kV, 5, 1, 3969.1, 5205.1},
        Headline{PipelineShape::kFree, 9, 2, 2834.28, 3034.91},
        Headline{PipelineShape::kFree, 8.5, 1, 3072.94, 3310.3}}) {
    const Problem problem = testing::layer_pipeline(*dir / "models/deepseek_v3_layer.json", row.shape, 8, 20,
                                                    row.activations, row.replicas);
    const std::vector<LowerBound> bounds = lower_bounds(problem);
    const double value = in_units(bounds.front().value);
    std::cout << to_string(row.shape) << ", " << row.activations << " activations, " << row.replicas
              << " copies: " << value << " ms by " << bounds.front().name << ", " << bounds.front().detail << "\n";
    EXPECT_GE(value, row.at_least_ms - 0.005);
    EXPECT_LE(value, row.best_plan_ms);
  }
}

/// Runs an order of pipeline actions as its conventions say: earliest starts, hops that occupy nobody.
class OrderedRun {
 public:
  OrderedRun(const testing::StagePipeline& pipeline, const std::vector<std::string>& rows, bool atomic_pairs)
      : p_(pipeline), parts_(testing::chunks(pipeline.shape)), stages_(parts_ * pipeline.devices) {
    for (const std::string& row : rows) {
      std::vector<PipelineAction>& actions = actions_.emplace_back();
      std::istringstream text(row);
      for (std::string token; text >> token;) {
        const auto action = action_from_string(token);
        if (!action) throw std::runtime_error("not an action: " + token);
        if (action->kind == ActionKind::kPair && !atomic_pairs) {
          actions.push_back({ActionKind::kForward, action->stage, action->microbatch, 0, 0});
          actions.push_back({ActionKind::kBackward, action->backward_stage, action->backward_microbatch, 0, 0});
        } else {
          actions.push_back(*action);
        }
      }
    }
    run();
  }

  double makespan = 0;
  std::vector<double> peaks;  // activations per device, held until W

 private:
  struct Key {
    char what;
    std::uint32_t stage;
    std::uint32_t microbatch;
    auto operator<=>(const Key&) const = default;
  };

  [[nodiscard]] std::uint32_t device(std::uint32_t stage, std::uint32_t microbatch) const {
    const bool second = p_.shape == PipelineShape::kTwoWay && microbatch >= (p_.microbatches + 1) / 2;
    return device_of_stage(p_.shape, stage, second ? 1 : 0, p_.devices);
  }

  /// When the input of an action from another stage is there; nothing if it does not exist yet.
  [[nodiscard]] std::optional<double> arrival(char what, std::uint32_t stage, std::uint32_t microbatch) const {
    const bool forward = what == 'F';
    if (forward ? stage == 0 : stage + 1 == stages_) {
      if (forward) return 0;
      const auto own = ends_.find({'F', stage, microbatch});
      return own == ends_.end() ? std::nullopt : std::optional(own->second);
    }
    const std::uint32_t from = forward ? stage - 1 : stage + 1;
    const auto found = ends_.find({what, from, microbatch});
    if (found == ends_.end()) return std::nullopt;
    const bool hop = device(from, microbatch) != device(stage, microbatch);
    return found->second + (hop ? p_.hop_latency : 0);
  }

  void run() {
    std::vector<std::size_t> next(actions_.size(), 0);
    std::vector<double> free(actions_.size(), 0);
    std::vector<std::map<double, double>> held(actions_.size());
    const double f = p_.forward / parts_;
    const double i = p_.input_gradient / parts_;
    const double w = p_.weight_gradient / parts_;
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t d = 0; d < actions_.size(); ++d) {
        while (next[d] < actions_[d].size()) {
          const PipelineAction& a = actions_[d][next[d]];
          double start = free[d];
          const auto need = [&](std::optional<double> moment) {
            if (moment) start = std::max(start, *moment);
            return moment.has_value();
          };
          double duration = 0;
          const double size = 1.0 / parts_;
          if (a.kind == ActionKind::kForward) {
            if (!need(arrival('F', a.stage, a.microbatch))) break;
            duration = f;
            ends_[{'F', a.stage, a.microbatch}] = start + f;
            held[d][start] += size;
          } else if (a.kind == ActionKind::kInputGradient || a.kind == ActionKind::kBackward) {
            if (!need(arrival('I', a.stage, a.microbatch))) break;
            const bool fused = a.kind == ActionKind::kBackward;
            duration = fused ? i + w : i;
            ends_[{'I', a.stage, a.microbatch}] = start + duration;
            if (fused) held[d][start + duration] -= size;
          } else if (a.kind == ActionKind::kWeightGradient) {
            duration = w;
            held[d][start + w] -= size;
          } else {
            if (!need(arrival('F', a.stage, a.microbatch))) break;
            if (!need(arrival('I', a.backward_stage, a.backward_microbatch))) break;
            duration = f + i + w;
            ends_[{'F', a.stage, a.microbatch}] = start + duration;
            ends_[{'I', a.backward_stage, a.backward_microbatch}] = start + duration;
            held[d][start] += size;
            held[d][start + duration] -= size;
          }
          free[d] = start + duration;
          makespan = std::max(makespan, free[d]);
          ++next[d];
          moved = true;
        }
      }
    }
    for (const auto& changes : held) {
      double level = 0;
      double peak = 0;
      // Releases and starts that meet differ by rounding only: take what ends within it as gone.
      std::map<long long, double> rounded;
      for (const auto& [time, change] : changes) rounded[std::llround(time * 1e6)] += change;
      for (const auto& [time, change] : rounded) peak = std::max(peak, level += change);
      peaks.push_back(peak);
    }
  }

  const testing::StagePipeline& p_;
  const std::uint32_t parts_;
  const std::uint32_t stages_;
  std::vector<std::vector<PipelineAction>> actions_;
  std::map<Key, double> ends_;
};

const std::map<std::string, PipelineShape> kShapes = {{"linear", PipelineShape::kLinear},
                                                      {"V", PipelineShape::kV},
                                                      {"loop2", PipelineShape::kLoop},
                                                      {"bidir", PipelineShape::kTwoWay}};

TEST(PipelineBounds, equal_or_beat_the_given_bound_of_every_published_schedule) {
  const auto dir = testing::data_dir();
  if (!dir) GTEST_SKIP() << "OPWEAVE_DATA is not there";
  const auto file = nlohmann::json::parse(std::ifstream(*dir / "pipelines/experts.json"));
  int equal = 0;
  int better = 0;
  int optimal = 0;
  int given_optimal = 0;
  int not_expressible = 0;
  // Peaks per device of a schedule; its definition does not let them depend on anything else.
  std::map<std::tuple<std::string, std::uint32_t, double>, std::vector<double>> peaks;
  for (const auto& c : file["cases"]) {
    for (const auto& row : c["experts"]) {
      const bool atomic = row.value("pair_mode", "") == "atomic";
      const std::string name = row["schedule"];
      const std::string where = c["id"].get<std::string>() + " " + name;
      // A pair that is shorter than its parts is no valid plan of the stages' operators.
      if (atomic && c["stage_costs"].contains("pair")) {
        ++not_expressible;
        continue;
      }
      testing::StagePipeline p;
      p.shape = kShapes.at(row["placement"]);
      p.devices = c["devices"];
      p.microbatches = c["microbatches"];
      p.forward = c["stage_costs"]["F"];
      p.input_gradient = c["stage_costs"]["I"];
      p.weight_gradient = c["stage_costs"]["W"];
      p.hop_latency = c["hop_latency"];
      const double peak = row["peak_activations"];
      std::vector<double>& activations = peaks[{name, p.devices, peak}];
      if (row.contains("order")) {
        const auto order = file["orders"][row["order"].get<std::string>()].get<std::vector<std::string>>();
        const OrderedRun run(p, order, atomic);
        ASSERT_NEAR(run.makespan, row["makespan"], 1e-6) << where;
        ASSERT_NEAR(*std::max_element(run.peaks.begin(), run.peaks.end()), peak, 1e-6) << where;
        activations = run.peaks;
      }
      p.activations = activations.empty() ? std::vector<double>(p.devices, peak) : activations;
      const double bound = in_units(best_bound(testing::stage_pipeline(p)));
      const double given = row["lower_bound_at_this_peak"];
      const double makespan = row["makespan"];
      EXPECT_LE(bound, makespan + 1e-6) << where;
      EXPECT_GE(bound, given - 1e-3) << where;
      ++(bound > given + 1e-3 ? better : equal);
      if (bound > makespan - 1e-6) ++optimal;
      if (given > makespan - 1e-3) ++given_optimal;
    }
  }
  std::cout << "equal on " << equal << " rows, better on " << better
            << ", worse on none; the schedule is proven optimal on " << optimal << " (by the given bounds on "
            << given_optimal << "); " << not_expressible << " rows with pairs shorter than their parts left out\n";
  EXPECT_GT(better, 0);
}

struct Published {
  PipelineShape shape;
  double costs[3];
  double hop;
  double activations;
  double bound;     // stated with the published figures; 0 = an optimum is stated instead
  double schedule;  // best published makespan
};

TEST(PipelineBounds, eight_devices_and_twenty_microbatches) {
  constexpr Published kRows[] = {
      {PipelineShape::kTwoWay, {1, 1, 1}, 0, 9, 63, 63},
      {PipelineShape::kTwoWay, {1, 1.2, .8}, 0, 9, 63, 64.2},
      {PipelineShape::kTwoWay, {1, 1, 1}, .1, 9, 63.3, 64.7},
      {PipelineShape::kV, {1, 1, 1}, 0, 8, 63.5, 63.5},
      {PipelineShape::kV, {1, 1.2, .8}, .1, 8, 66.3, 67.5},
      {PipelineShape::kV, {1, 1.2, .8}, 0, 5, 67.2, 71.5},
      {PipelineShape::kLinear, {1, 1, 1}, 0, 8, 67, 67},
      {PipelineShape::kLinear, {1, 1.27, .31}, 0, 12, 58.6, 64.08},
      {PipelineShape::kV, {1, 1, 1}, 0, 4, 67.5, 71.5},
      {PipelineShape::kV, {1, 1.2, .8}, .1, 4, 72.4, 90.8},
  };
  for (const Published& row : kRows) {
    const testing::StagePipeline p{
        row.shape, 8, 20, row.costs[0], row.costs[1], row.costs[2], row.hop, std::vector<double>(8, row.activations)};
    const double bound = in_units(best_bound(testing::stage_pipeline(p)));
    std::cout << to_string(row.shape) << " " << row.costs[0] << "," << row.costs[1] << "," << row.costs[2] << " hop "
              << row.hop << ", " << row.activations << " activations: " << bound << " (stated " << row.bound
              << ", schedule " << row.schedule << ")\n";
    EXPECT_GE(bound, row.bound - 1e-9);
    EXPECT_LE(bound, row.schedule + 1e-9);
  }
}

}  // namespace
}  // namespace opweave
