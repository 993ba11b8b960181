/// Small random problems with every feature of the model, for tests that compare or corrupt.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "opweave/error.h"
#include "opweave/problem.h"

namespace opweave::testing {

/// Random numbers that are the same with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// 0 .. count - 1
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(engine_() % count); }
  /// low .. high
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return between(0, 99) < percent; }
  template <class Items>
  auto& pick(Items& items) {
    return items[below(std::size(items))];
  }
  template <class Item>
  void shuffle(std::vector<Item>& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::mt19937_64 engine_;
};

/// 2 to 4 devices of two types; a default link, a star around a switch, or a ring with default links.
inline Cluster random_cluster(Random& random) {
  ClusterParts parts;
  parts.name = "random cluster";
  parts.types = {{"fast", {{"bf16", 2e9}}, 4e9}, {"slow", {{"bf16", 1e9}}, 1e9}};
  const auto count = static_cast<std::size_t>(random.between(2, 4));
  for (std::size_t d = 0; d < count; ++d) {
    Device device;
    device.name = "d" + std::to_string(d);
    device.type = random.chance(50) ? "fast" : "slow";
    if (random.chance(90)) device.streams = {"compute", "comm"};
    parts.devices.push_back(std::move(device));
  }
  const auto link = [&](std::string name, std::string a, std::string b) {
    Link result{std::move(name), std::move(a),     std::move(b), Duration(random.between(0, 5)),
                std::nullopt,    random.chance(60)};
    if (random.chance(80)) result.bandwidth_bytes_per_s = random.between(1, 20) * 1'000'000'000;
    return result;
  };
  const std::size_t shape = random.below(3);
  if (shape == 1) {
    parts.switches = {"hub"};
    for (const Device& device : parts.devices) parts.links.push_back(link("up " + device.name, device.name, "hub"));
  }
  if (shape == 2) {
    for (std::size_t d = 0; d + 1 < count; ++d) {
      parts.links.push_back(link("ring " + std::to_string(d), parts.devices[d].name, parts.devices[d + 1].name));
    }
  }
  if (shape == 0 || random.chance(20)) parts.default_link = link("", "", "");
  return Cluster::create(std::move(parts));
}

inline Operator random_operator(Random& random, std::size_t index, const Cluster& cluster, bool trains,
                                std::uint32_t replicas) {
  const std::vector<Device>& devices = cluster.devices();
  Operator op;
  op.name = "op" + std::to_string(index);
  if (trains) {
    const Phase phases[] = {Phase::kForward, Phase::kForward, Phase::kInputGradient, Phase::kWeightGradient,
                            Phase::kBackward};
    op.phase = random.pick(phases);
  }
  const std::size_t stream = random.below(10);
  if (stream == 0) op.streams = {"compute", "comm"};
  if (stream == 1) op.streams = {"comm"};
  if (random.chance(40)) op.workspace = Bytes(random.between(0, 50));
  if (random.chance(20)) op.colocation = random.chance(50) ? "together 0" : "together 1";
  if (random.chance(20)) op.anti_colocation = {random.chance(50) ? "apart 0" : "apart 1"};

  const auto duration = [&] { return Duration(random.chance(10) ? 0 : random.between(1, 20)); };
  if (random.chance(20)) {
    for (std::size_t d = 0; d < devices.size(); ++d) {
      if (random.chance(60)) op.modes.push_back({{devices[d].name}, duration(), Bytes(random.between(0, 50))});
      if (d > 0 && random.chance(40)) {
        op.modes.push_back({{devices[d].name, devices[d - 1].name}, duration(), Bytes(random.between(0, 50))});
      }
    }
    if (!op.modes.empty()) {
      op.workspace = Bytes();  // a mode has its own
      return op;
    }
  }
  if (random.chance(20)) {
    op.flops = static_cast<double>(random.between(0, 30));
    op.bytes_accessed = static_cast<double>(random.between(0, 30));
  } else if (random.chance(50)) {
    op.durations = {{"", duration()}};
  } else {
    op.durations = {{"fast", duration()}, {"slow", duration()}};
  }
  if (random.chance(30)) {
    const std::size_t lists = replicas > 1 && random.chance(50) ? replicas : 1;
    for (std::size_t i = 0; i < lists; ++i) {
      std::vector<std::string> allowed;
      for (const Device& device : devices) {
        if (random.chance(60)) allowed.push_back(device.name);
      }
      if (allowed.empty()) allowed.push_back(devices[0].name);
      op.devices.push_back(std::move(allowed));
    }
  }
  return op;
}

inline ComputationGraph random_graph(Random& random, const Cluster& cluster, std::size_t most_operators) {
  const bool trains = random.chance(60);
  Training training;
  training.microbatches = static_cast<std::uint32_t>(random.between(1, 4));
  training.replicas = static_cast<std::uint32_t>(random.between(1, std::min<std::int64_t>(2, training.microbatches)));
  if (random.chance(30)) {
    for (std::uint32_t b = 0; b < training.microbatches; ++b) {
      training.replica_of_microbatch.push_back(static_cast<std::uint32_t>(random.below(training.replicas)));
    }
  }
  if (random.chance(50)) {
    training.gradient_bytes_per_weight_byte = 1;
    training.optimizer_bytes_per_weight_byte = 0.3;
  }
  std::vector<Parameter> parameters(random.below(4));
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    parameters[p] = {"p" + std::to_string(p), Bytes(random.between(0, 40))};
  }
  std::vector<Tensor> tensors;
  const auto add_tensor = [&] {
    const Bytes size(random.chance(10) ? 0 : random.between(1, 60));
    tensors.push_back({"t" + std::to_string(tensors.size()), size, {}, {}});
    return TensorId(tensors.size() - 1);
  };
  std::vector<std::pair<TensorId, bool>> made;  // and whether by an optimizer operator
  if (random.chance(70)) made.emplace_back(add_tensor(), false);
  std::vector<Operator> operators;
  const std::size_t count = 2 + random.below(most_operators - 1);
  for (std::size_t i = 0; i < count; ++i) {
    Operator op = random_operator(random, i, cluster, trains, training.replicas);
    if (trains && i + 2 >= count && random.chance(50)) op.phase = Phase::kOptimizer;
    const bool optimizer = op.phase == Phase::kOptimizer;
    for (const auto& [tensor, by_optimizer] : made) {
      if ((optimizer || !by_optimizer) && random.chance(60) && op.inputs.size() < 3) op.inputs.push_back(tensor);
    }
    for (std::size_t j = 0; j < i; ++j) {
      if ((optimizer || operators[j].phase != Phase::kOptimizer) && random.chance(8)) op.after.emplace_back(j);
    }
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      if (random.chance(30)) op.parameters.emplace_back(p);
    }
    for (std::size_t outputs = random.below(3); outputs > 0; --outputs) {
      op.outputs.push_back(add_tensor());
    }
    for (const TensorId output : op.outputs) made.emplace_back(output, optimizer);
    operators.push_back(std::move(op));
  }
  return ComputationGraph::create("random graph", std::move(operators), std::move(tensors), std::move(parameters),
                                  std::move(training));
}

/// A random problem without memory limits, or nothing where the constraints drawn contradict each other.
inline std::optional<Problem> varied_problem(Random& random, std::size_t most_operators = 9) {
  const Cluster cluster = random_cluster(random);
  const ComputationGraph graph = random_graph(random, cluster, most_operators);
  ProblemSettings settings = default_settings(graph, cluster);
  const Contention all[] = {Contention::kNone, Contention::kEndpoint, Contention::kLink};
  settings.contention = random.pick(all);
  try {
    return Problem::create(graph, cluster, settings);
  } catch (const InputError&) {
    return std::nullopt;
  }
}

}  // namespace opweave::testing
