/// Random problems that use everything a graph and a cluster may contain.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/problem.h"

namespace opweave::testing {

/// The same on every machine: std::uniform_int_distribution is not.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  /// Uniform in low .. high.
  std::int64_t roll(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return roll(1, 100) <= percent; }

 private:
  std::mt19937_64 engine_;
};

/// How many seeds to try; OPWEAVE_SEEDS multiplies it for a longer hunt.
inline std::uint64_t seeds(std::uint64_t usual) {
  const char* factor = std::getenv("OPWEAVE_SEEDS");
  return factor == nullptr ? usual : usual * std::strtoull(factor, nullptr, 10);
}

struct RandomProblem {
  std::vector<Operator> operators;
  std::vector<Tensor> tensors;
  std::vector<Parameter> parameters;
  Training training;
  ClusterParts cluster;

  [[nodiscard]] Problem problem() const {
    return Problem::create(ComputationGraph::create("random", operators, tensors, parameters, training),
                           Cluster::create(cluster));
  }
};

struct RandomShape {
  std::int64_t most_tasks = 8;
  int pinned_percent = 55;  ///< operators with a single device
  int memory_percent = 65;  ///< devices with limited memory
  bool gangs = true;
  std::int64_t least_microbatches = 1;
};

/// Draws one problem; every roll of the dice has its place in the order, so that seeds keep their problems.
class ProblemDraw {
 public:
  ProblemDraw(std::uint64_t seed, const RandomShape& shape) : shape_(shape), dice_(seed) {}

  RandomProblem draw() {
    devices_ = dice_.roll(1, 3);
    has_comm_ = dice_.chance(40);
    Training& training = result_.training;
    training.microbatches =
        static_cast<std::uint32_t>(shape_.least_microbatches == 1 && dice_.chance(50) ? 1 : dice_.roll(2, 4));
    if (training.microbatches > 1 && dice_.chance(35)) training.replicas = 2;
    if (dice_.chance(30)) training.optimizer_bytes_per_weight_byte = 1;
    const std::int64_t microbatches = training.microbatches;
    const std::int64_t repeated = std::max<std::int64_t>(1, dice_.roll(1, shape_.most_tasks) / microbatches);
    const std::int64_t room = (shape_.most_tasks - repeated * microbatches) / training.replicas;
    const std::int64_t optimizers = room > 0 && dice_.chance(30) ? 1 : 0;
    for (std::int64_t p = dice_.roll(0, 2); p > 0; --p) {
      result_.parameters.push_back({"p" + std::to_string(p), Bytes(dice_.roll(0, 3))});
    }
    for (std::int64_t i = 0; i < repeated + optimizers; ++i) draw_operator(i, repeated);
    draw_cluster();
    return std::move(result_);
  }

 private:
  static std::string device_name(std::int64_t d) { return "d" + std::to_string(d); }
  std::string some_device() { return device_name(dice_.roll(0, devices_ - 1)); }
  std::vector<std::string> some_devices(int percent) {
    std::vector<std::string> names;
    for (std::int64_t d = 0; d < devices_; ++d) {
      if (dice_.chance(percent)) names.push_back(device_name(d));
    }
    if (names.empty()) names.push_back(some_device());
    return names;
  }
  Duration some_duration() { return Duration(dice_.chance(12) ? 0 : dice_.roll(1, 6)); }

  void draw_operator(std::int64_t i, std::int64_t repeated) {
    const bool is_optimizer = i >= repeated;
    Operator op;
    op.name = "o" + std::to_string(i);
    constexpr Phase kPhases[] = {Phase::kForward, Phase::kInputGradient, Phase::kWeightGradient, Phase::kNone};
    op.phase = is_optimizer ? Phase::kOptimizer : kPhases[dice_.roll(0, 3)];
    if (has_comm_) {
      const std::int64_t streams = dice_.roll(0, 5);
      if (streams == 0) op.streams = {"comm"};
      if (streams == 1) op.streams = {"compute", "comm"};
    }
    draw_modes(op);
    if (dice_.chance(15)) op.colocation = "together";
    if (dice_.chance(8)) op.anti_colocation = {"apart"};
    if (!result_.parameters.empty() && dice_.chance(30)) {
      op.parameters = {ParameterId(static_cast<std::size_t>(dice_.roll(0, std::ssize(result_.parameters) - 1)))};
    }
    draw_edges(op, i, repeated);
    result_.operators.push_back(std::move(op));
  }

  /// How long the operator takes, and where it may run.
  void draw_modes(Operator& op) {
    if (shape_.gangs && dice_.chance(15)) {
      for (std::int64_t m = dice_.roll(1, 3); m > 0; --m) {
        ModeSpec mode{{}, some_duration(), Bytes(dice_.chance(50) ? 0 : dice_.roll(0, 2))};
        mode.devices = some_devices(50);
        op.modes.push_back(std::move(mode));
      }
      return;
    }
    op.durations = {{"", some_duration()}};
    if (dice_.chance(20)) op.durations.push_back({"fast", some_duration()});
    if (dice_.chance(15)) op.workspace = Bytes(dice_.roll(1, 2));
    if (dice_.chance(shape_.pinned_percent)) {
      op.devices = {{some_device()}};
      if (result_.training.replicas == 2 && dice_.chance(50)) op.devices.push_back({some_device()});
    } else if (dice_.chance(40)) {
      op.devices = {some_devices(60)};
    }
  }

  /// Inputs from earlier operators, or of the graph; control edges; outputs.
  void draw_edges(Operator& op, std::int64_t i, std::int64_t repeated) {
    for (std::size_t t = 0; t < result_.tensors.size(); ++t) {
      if (dice_.chance(40)) op.inputs.emplace_back(t);
    }
    for (std::int64_t before = 0; before < i; ++before) {
      const bool crosses = before >= repeated && op.phase != Phase::kOptimizer;
      if (!crosses && dice_.chance(8)) op.after.emplace_back(static_cast<std::size_t>(before));
    }
    const auto add_tensor = [&](Bytes bytes) {
      result_.tensors.push_back({"t" + std::to_string(result_.tensors.size()), bytes, {}, {}});
    };
    for (std::int64_t out = dice_.roll(0, 2); out > 0; --out) {
      op.outputs.emplace_back(result_.tensors.size());
      add_tensor(Bytes(dice_.chance(20) ? 0 : dice_.roll(1, 4)));
    }
    if (dice_.chance(10)) {
      op.inputs.emplace_back(result_.tensors.size());
      add_tensor(Bytes(dice_.roll(0, 3)));
    }
  }

  void draw_cluster() {
    ClusterParts& cluster = result_.cluster;
    cluster.name = "random";
    cluster.types = {{"fast", {}, {}}, {"slow", {}, {}}};
    const std::int64_t most_memory = dice_.roll(6, 24);
    for (std::int64_t d = 0; d < devices_; ++d) {
      Device device{device_name(d), dice_.chance(50) ? "fast" : "slow", {}, {"compute"}};
      if (has_comm_) device.streams.push_back("comm");
      if (dice_.chance(shape_.memory_percent)) device.memory = Bytes(dice_.roll(most_memory / 2, most_memory));
      cluster.devices.push_back(std::move(device));
    }
    if (dice_.chance(70)) cluster.default_link = some_link("", "", "");
    if (devices_ > 1 && dice_.chance(50)) {
      for (std::int64_t d = 1; d < devices_; ++d) {
        if (!dice_.chance(85)) continue;
        cluster.links.push_back(some_link("l" + std::to_string(d), device_name(d - 1), device_name(d)));
      }
    }
    constexpr Contention kContentions[] = {Contention::kNone, Contention::kEndpoint, Contention::kLink};
    cluster.contention = kContentions[dice_.roll(0, 2)];
  }

  /// One byte per nanosecond and multiples: transfers of a few bytes take a few nanoseconds.
  Link some_link(std::string name, std::string a, std::string b) {
    Link link{std::move(name), std::move(a), std::move(b), Duration(dice_.roll(0, 2)), {}, dice_.chance(60)};
    if (dice_.chance(60)) link.bandwidth_bytes_per_s = 1'000'000'000 * dice_.roll(1, 3);
    return link;
  }

  const RandomShape& shape_;
  Dice dice_;
  RandomProblem result_;
  std::int64_t devices_ = 1;
  bool has_comm_ = false;
};

/// May be infeasible, and may even be rejected by Problem::create (shared parameters on different devices).
inline RandomProblem random_problem(std::uint64_t seed, const RandomShape& shape = {}) {
  return ProblemDraw(seed, shape).draw();
}

/// The same problem with times and bytes as large as real ones, and as irregular: seconds in nanoseconds, gigabytes in
/// bytes, each with some noise, so that no larger unit will do.
inline RandomProblem enlarged(RandomProblem problem, std::uint64_t seed) {
  constexpr std::int64_t kTime = 1'700'000'001;
  constexpr std::int64_t kBytes = 3'000'000'007;
  Dice dice(seed ^ 0x9e3779b9U);
  const auto longer = [&](Duration& time) {
    if (time > Duration(0)) time = Duration(time.value() * kTime + dice.roll(0, kTime / 10));
  };
  const auto larger = [&](Bytes& bytes) {
    if (bytes > Bytes(0)) bytes = Bytes(bytes.value() * kBytes + dice.roll(0, kBytes / 100));
  };
  for (Operator& op : problem.operators) {
    for (MeasuredDuration& measured : op.durations) longer(measured.duration);
    for (ModeSpec& mode : op.modes) {
      longer(mode.duration);
      larger(mode.workspace);
    }
    larger(op.workspace);
  }
  for (Tensor& tensor : problem.tensors) larger(tensor.size);
  for (Parameter& parameter : problem.parameters) larger(parameter.weights);
  const auto scale = [&](Link& link) {
    longer(link.latency);
    if (link.bandwidth_bytes_per_s) *link.bandwidth_bytes_per_s += dice.roll(0, 100'000'000);
  };
  for (Link& link : problem.cluster.links) scale(link);
  if (problem.cluster.default_link) scale(*problem.cluster.default_link);
  for (Device& device : problem.cluster.devices) {
    if (device.memory) *device.memory = Bytes(device.memory->value() * kBytes + dice.roll(0, kBytes - 1));
  }
  return problem;
}

/// A training pipeline of 1 or 2 stages with little memory: what the bounds on ramps are made for.
inline RandomProblem random_pipeline(std::uint64_t seed) {
  Dice dice(seed);
  RandomProblem result;
  const std::int64_t devices = dice.roll(1, 2);
  const std::int64_t stages = dice.roll(1, 2);
  const bool split = dice.chance(50);  // I and W instead of B
  const std::int64_t per_microbatch = stages * (split ? 3 : 2);
  result.training.microbatches = static_cast<std::uint32_t>(std::max<std::int64_t>(
      2, std::min<std::int64_t>(per_microbatch <= 4 ? 4 : 3, dice.roll(2, 14) / per_microbatch)));
  if (dice.chance(20)) result.training.replicas = 2;
  const bool free = dice.chance(15);
  const bool comm = dice.chance(25);
  std::optional<TensorId> flow;
  std::vector<TensorId> kept;
  std::vector<std::string> homes[2];
  for (std::int64_t s = 0; s < stages; ++s) {
    for (auto& list : homes) list.push_back("d" + std::to_string(dice.roll(0, devices - 1)));
    result.parameters.push_back({"w" + std::to_string(s), Bytes(dice.chance(30) ? dice.roll(1, 2) : 0)});
  }
  const auto add = [&](const std::string& name, Phase phase, std::int64_t stage) -> Operator& {
    Operator op;
    op.name = name + std::to_string(stage);
    op.phase = phase;
    op.durations = {{"", Duration(dice.chance(8) ? 0 : dice.roll(1, 5))}};
    if (comm && dice.chance(25)) op.streams = {"comm"};
    if (!free) {
      for (std::uint32_t r = 0; r < result.training.replicas; ++r) {
        op.devices.push_back({homes[r][static_cast<std::size_t>(stage)]});
      }
    }
    op.parameters = {ParameterId(static_cast<std::size_t>(stage))};
    if (flow && phase != Phase::kWeightGradient) op.inputs.push_back(*flow);
    result.operators.push_back(std::move(op));
    return result.operators.back();
  };
  const auto tensor = [&](std::int64_t low, std::int64_t high) {
    result.tensors.push_back({"t" + std::to_string(result.tensors.size()), Bytes(dice.roll(low, high)), {}, {}});
    return TensorId(result.tensors.size() - 1);
  };
  for (std::int64_t s = 0; s < stages; ++s) {
    Operator& op = add("F", Phase::kForward, s);
    kept.push_back(tensor(1, 3));
    flow = tensor(0, 1);
    op.outputs = {kept.back(), *flow};
  }
  for (std::int64_t s = stages; s-- > 0;) {
    Operator& op = add(split ? "I" : "B", split ? Phase::kInputGradient : Phase::kBackward, s);
    if (!split || dice.chance(50)) op.inputs.push_back(kept[static_cast<std::size_t>(s)]);
    flow = tensor(0, 1);
    op.outputs = {*flow};
    if (!split) continue;
    const TensorId gradient = tensor(0, 2);
    result.operators.back().outputs.push_back(gradient);
    Operator& update = add("W", Phase::kWeightGradient, s);
    update.inputs.push_back(gradient);
    update.inputs.push_back(kept[static_cast<std::size_t>(s)]);
  }
  result.cluster.name = "pipeline";
  const std::int64_t capacity = dice.roll(3, 9);
  for (std::int64_t d = 0; d < devices; ++d) {
    Device device{"d" + std::to_string(d), "", Bytes(capacity), {"compute"}};
    if (comm) device.streams.push_back("comm");
    result.cluster.devices.push_back(std::move(device));
  }
  result.cluster.default_link = Link{"", "", "", Duration(dice.roll(0, 2)), {}, true};
  result.cluster.contention = dice.chance(70) ? Contention::kNone : Contention::kEndpoint;
  return result;
}

}  // namespace opweave::testing
