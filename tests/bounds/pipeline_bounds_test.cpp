// Bounds on pipelines whose optima, or whose best published schedules, are known.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "opweave/bounds.h"
#include "support/data_dir.h"
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

TEST(Tmp, optima) {
  for (const Optimum& o : kOptima) {
    std::cout << to_string(o.shape) << " " << o.devices << " " << o.microbatches << " " << o.activations;
    for (int c = 0; c < 3; ++c) {
      testing::StagePipeline p{o.shape, o.devices, o.microbatches, kCosts[c][0], kCosts[c][1], kCosts[c][2], 0, {}};
      if (o.activations > 0) p.activations.assign(o.devices, o.activations);
      std::cout << "  " << in_units(best_bound(testing::stage_pipeline(p))) << " / " << o.makespan[c];
    }
    std::cout << "\n";
  }
}
TEST(Tmp, headline) {
  const auto dir = testing::data_dir();
  if (!dir) GTEST_SKIP();
  struct Row { PipelineShape shape; double k; std::uint32_t reps; };
  for (Row row : {Row{PipelineShape::kTwoWay, 9, 0}, Row{PipelineShape::kV, 8.5, 0}, Row{PipelineShape::kV, 8, 0}, Row{PipelineShape::kV, 5, 0}, Row{PipelineShape::kFree, 9, 2}, Row{PipelineShape::kFree, 8.5, 1}}) {
    const Problem p = testing::layer_pipeline(*dir / "models/deepseek_v3_layer.json", row.shape, 8, 20, row.k, row.reps);
    auto t0 = std::chrono::steady_clock::now();
    auto bounds = lower_bounds(p);
    std::cout << to_string(row.shape) << " " << row.k << " tasks " << p.task_count() << " in " << std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count() << " s\n";
    for (auto& b : bounds) std::cout << "   " << b.name << " " << b.value.value() / 1e6 << " " << b.detail << "\n";
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

TEST(Tmp, experts) {
  const auto dir = testing::data_dir();
  if (!dir) GTEST_SKIP();
  const auto file = nlohmann::json::parse(std::ifstream(*dir / "pipelines/experts.json"));
  const std::map<std::string, PipelineShape> shapes = {{"linear", PipelineShape::kLinear}, {"V", PipelineShape::kV}, {"loop2", PipelineShape::kLoop}, {"bidir", PipelineShape::kTwoWay}};
  int eq = 0, better = 0, worse = 0, skipped = 0, opt = 0, given_opt = 0;
  for (const auto& c : file["cases"]) {
    for (const auto& e : c["experts"]) {
      testing::StagePipeline p;
      p.shape = shapes.at(e["placement"]);
      p.devices = c["devices"]; p.microbatches = c["microbatches"];
      p.forward = c["stage_costs"]["F"]; p.input_gradient = c["stage_costs"]["I"]; p.weight_gradient = c["stage_costs"]["W"];
      p.hop_latency = c["hop_latency"];
      const bool atomic = e.value("pair_mode", "") == "atomic";
      if (atomic && c["stage_costs"].contains("pair")) { ++skipped; continue; }
      p.activations.assign(p.devices, e["peak_activations"]);
      bool has = e.contains("order");
      if (has) {
        OrderedRun run(p, file["orders"][e["order"].get<std::string>()].get<std::vector<std::string>>(), atomic);
        if (std::abs(run.makespan - e["makespan"].get<double>()) > 1e-6) std::cout << "MAKESPAN " << c["id"] << " " << e["schedule"] << " " << run.makespan << " " << e["makespan"] << "\n";
        double mx = *std::max_element(run.peaks.begin(), run.peaks.end());
        if (std::abs(mx - e["peak_activations"].get<double>()) > 1e-6) std::cout << "PEAK " << c["id"] << " " << e["schedule"] << " " << mx << " " << e["peak_activations"] << "\n";
        p.activations = run.peaks;
      }
      const double b = in_units(best_bound(testing::stage_pipeline(p)));
      const double g = e["lower_bound_at_this_peak"], mk = e["makespan"];
      if (b > mk + 1e-6) std::cout << "ABOVE " << c["id"] << e["schedule"] << " " << b << " " << mk << "\n";
      if (std::abs(b - mk) < 1e-6) ++opt;
      if (std::abs(g - mk) < 1e-3) ++given_opt;
      if (std::abs(b - g) <= 1e-3) ++eq; else if (b > g) ++better; else { ++worse; std::cout << "WORSE " << c["id"] << " " << e["schedule"] << " " << e["placement"] << " order " << has << " ours " << b << " given " << g << " mk " << mk << "\n"; }
    }
  }
  std::cout << "equal " << eq << " better " << better << " worse " << worse << " skipped " << skipped << " proven optimal " << opt << " (given " << given_opt << ")\n";
}

}  // namespace
}  // namespace opweave
