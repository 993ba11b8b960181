/// Random graphs, clusters and plans that use every field: what a reader returns must equal what was written.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/plan.h"

namespace opweave::testing {

/// Draws everything from one seed.
class RandomInputs {
 public:
  explicit RandomInputs(std::uint64_t seed) : engine_(seed) {}

  ComputationGraph graph() {
    const std::size_t operator_count = below(12);
    std::vector<Tensor> tensors(below(8));
    for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i] = {name("t", i), Bytes(amount()), {}, {}};
    std::vector<Parameter> parameters(below(4));
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i] = {name("p", i), Bytes(amount())};
    std::vector<Operator> operators(operator_count);
    for (std::size_t i = 0; i < operator_count; ++i) operators[i] = make_operator(i, parameters.size());
    // Each tensor has at most one producer, and its readers come later.
    for (std::size_t t = 0; t < tensors.size() && operator_count > 0; ++t) {
      const std::size_t producer = below(operator_count);
      if (chance()) operators[producer].outputs.emplace_back(t);
      for (std::size_t i = producer + 1; i < operator_count; ++i) {
        if (chance()) operators[i].inputs.emplace_back(t);
      }
    }
    return ComputationGraph::create(chance() ? text() : "", std::move(operators), std::move(tensors),
                                    std::move(parameters), training());
  }

  Cluster cluster() {
    ClusterParts parts;
    parts.name = chance() ? text() : "";
    parts.types.resize(below(3));
    for (std::size_t i = 0; i < parts.types.size(); ++i) {
      parts.types[i].name = name("type", i);
      for (std::size_t k = below(3); k > 0; --k) parts.types[i].peak_flops_per_s[text()] = positive();
      if (chance()) parts.types[i].memory_bandwidth_bytes_per_s = positive();
    }
    std::vector<std::string> vertices;
    parts.devices.resize(1 + below(5));
    for (std::size_t i = 0; i < parts.devices.size(); ++i) {
      Device& device = parts.devices[i];
      device.name = name("d", i);
      vertices.push_back(device.name);
      if (!parts.types.empty() && chance()) device.type = parts.types[below(parts.types.size())].name;
      if (chance()) device.memory = Bytes(amount());
      if (chance()) device.streams = {"comm", "compute", name("stream", i)};
    }
    for (std::size_t i = below(3); i > 0; --i) vertices.push_back(parts.switches.emplace_back(name("s", i)));
    for (std::size_t i = vertices.size() > 1 ? below(6) : 0; i > 0; --i) {
      Link link = channel();
      link.name = name("l", i);
      const std::size_t a = below(vertices.size());
      link.a = vertices[a];
      link.b = vertices[(a + 1 + below(vertices.size() - 1)) % vertices.size()];
      parts.links.push_back(std::move(link));
    }
    if (chance()) parts.default_link = channel();
    parts.contention = static_cast<Contention>(below(3));
    return Cluster::create(std::move(parts));
  }

  /// Well-formed, and otherwise nonsense: readers do not judge plans.
  Plan plan(const ComputationGraph& graph, const Cluster& cluster) {
    Plan plan;
    plan.graph_name = text();
    plan.cluster_name = text();
    plan.settings.training = training();
    plan.settings.contention = static_cast<Contention>(below(3));
    if (chance()) plan.settings.memory_limit = Bytes(amount());
    plan.settings.blocks = static_cast<Blocks>(below(3));
    plan.status = chance() ? PlanStatus::kOptimal : PlanStatus::kFeasible;
    const auto device = [&] { return DeviceId(below(cluster.device_count())); };
    const auto moment = [&] { return Duration(total()); };
    for (std::size_t i = graph.operators().empty() ? 0 : below(10); i > 0; --i) {
      PlannedTask task{OperatorId(below(graph.operators().size())), count(), {device()}, moment(), moment()};
      if (const DeviceId other = device(); other != task.devices.front()) task.devices.push_back(other);
      std::sort(task.devices.begin(), task.devices.end());
      plan.tasks.push_back(std::move(task));
    }
    for (std::size_t i = graph.tensors().empty() ? 0 : below(10); i > 0; --i) {
      plan.transfers.push_back(
          {TensorId(below(graph.tensors().size())), count(), device(), device(), moment(), moment()});
    }
    PlanStatistics& statistics = plan.statistics;
    statistics = {moment(), moment(), positive(), positive(), Bytes(total()), count(), {}, {}, {}};
    for (std::size_t i = 0; i < cluster.device_count(); ++i) {
      statistics.devices.push_back(
          {moment(), moment(), moment(), Bytes(total()), Bytes(total()), Bytes(total()), Bytes(total())});
    }
    for (std::size_t i = below(3); i > 0; --i) plan.bounds.push_back({text(), moment(), chance() ? text() : ""});
    plan.provenance = {text(), text(), engine_(), text(), text(), text(), chance() ? text() : "", std::nullopt, {}};
    if (chance()) plan.provenance.seconds = positive();
    for (std::size_t i = below(3); i > 0; --i) plan.provenance.trajectory.push_back({positive(), moment(), text()});
    return plan;
  }

  std::size_t below(std::size_t limit) { return engine_() % limit; }
  bool chance() { return below(2) == 0; }

 private:
  /// Letters, and all that needs care in JSON.
  std::string text() {
    static const std::vector<std::string> kPieces = {
        "a", "B", "7",  ".",  " ",  "\"",       "\\",       "/",
        "~", "ä", "键", "\n", "\t", "\x01\x7f", "\x1b[31m", "\xF0\x9F\x90\x87"};
    std::string result;
    for (std::size_t i = 1 + below(6); i > 0; --i) result += kPieces[below(kPieces.size())];
    return result;
  }
  std::string name(const std::string& kind, std::size_t i) { return kind + std::to_string(i) + text(); }

  std::int64_t amount() {
    const std::int64_t choices[] = {0, 1, static_cast<std::int64_t>(below(1'000'000)), kMaxInputValue};
    return choices[below(4)];
  }
  std::int64_t total() { return chance() ? amount() : static_cast<std::int64_t>(engine_() >> 1U); }
  std::uint32_t count() {
    return chance() ? static_cast<std::uint32_t>(below(5)) : static_cast<std::uint32_t>(engine_());
  }

  /// Any positive finite double, by its bits.
  double positive() {
    const double choices[] = {
        1, 0.1, 989e12, 5e-324, std::numeric_limits<double>::max(), static_cast<double>(engine_()) / 1e9};
    return choices[below(6)];
  }

  Training training() {
    Training training;
    training.microbatches = 1 + static_cast<std::uint32_t>(below(4));
    training.replicas = 1 + static_cast<std::uint32_t>(below(training.microbatches));
    if (chance()) {
      for (std::uint32_t i = 0; i < training.microbatches; ++i) {
        training.replica_of_microbatch.push_back(static_cast<std::uint32_t>(below(training.replicas)));
      }
    }
    if (chance()) training.gradient_bytes_per_weight_byte = static_cast<double>(below(1000)) / 7;
    if (chance()) training.optimizer_bytes_per_weight_byte = static_cast<double>(below(1000)) / 3;
    return training;
  }

  Link channel() {
    Link link;
    link.latency = Duration(amount());
    if (chance()) link.bandwidth_bytes_per_s = 1 + static_cast<std::int64_t>(below(1'000'000'000));
    link.full_duplex = chance();
    return link;
  }

  Operator make_operator(std::size_t i, std::size_t parameter_count) {
    Operator op;
    op.name = name("op", i);
    if (chance()) op.kind = text();
    op.phase = static_cast<Phase>(below(5));  // not O: that may not precede others
    if (chance()) op.streams = {"comm", text()};
    if (chance()) op.flops = positive();
    if (chance()) op.bytes_accessed = positive();
    if (chance()) op.dtype = text();
    for (std::size_t p = 0; p < parameter_count; ++p) {
      if (chance()) op.parameters.emplace_back(p);
    }
    for (std::size_t before = 0; before < i; ++before) {
      if (below(4) == 0) op.after.emplace_back(before);
    }
    std::shuffle(op.after.begin(), op.after.end(), engine_);
    op.workspace = Bytes(amount());
    switch (below(3)) {
      case 0:
        op.durations = {{"", Duration(amount())}};
        break;
      case 1:
        op.durations = {{"z", Duration(amount())}, {"a", Duration(amount())}, {"", Duration(amount())}};
        std::shuffle(op.durations.begin(), op.durations.end(), engine_);
        op.durations.resize(1 + below(3));
        break;
      default:
        op.modes = {{{"d1", "d0"}, Duration(amount()), Bytes(amount())}, {{text()}, Duration(amount()), Bytes()}};
    }
    if (!op.modes.empty()) op.workspace = Bytes();  // a mode has its own
    if (op.modes.empty() && chance()) {
      op.devices.resize(1 + below(2));
      for (auto& list : op.devices) list = {name("d", 1), name("d", 0)};
    }
    if (chance()) op.colocation = text();
    if (chance()) op.anti_colocation = {name("x", 0), name("y", 1)};
    if (chance()) op.stage = StageId(count());
    if (chance()) op.layer = text();
    return op;
  }

  std::mt19937_64 engine_;
};

}  // namespace opweave::testing
