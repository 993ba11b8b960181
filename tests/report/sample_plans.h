/// Plans of several sizes to draw: a transformer pipeline with communication streams, scheduled naively.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "opweave/plan.h"

namespace opweave::testing {

struct SamplePlan {
  Problem problem;
  Schedule schedule;
  Plan plan;
};

/// Shape of the sample: one stage per device.
struct SampleSize {
  std::uint32_t devices = 2;
  std::uint32_t layers_per_stage = 1;
  std::uint32_t microbatches = 4;
  std::string prefix = "";  ///< of every name of a user
};

/// Ten operators per layer, as of a mixture-of-experts layer: attention and mlp on the compute stream with F, I
/// and W, dispatch and combine on the comm stream with F and I. Times in units of 10 microseconds.
class SampleGraph {
 public:
  explicit SampleGraph(const SampleSize& size) : size_(size) {
    const std::uint32_t layers = size.devices * size.layers_per_stage;
    std::optional<TensorId> flow;
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      for (const Part& part : kParts) flow = add(layer, part, Phase::kForward, part.forward, flow, {});
    }
    for (std::uint32_t layer = layers; layer-- > 0;) {
      for (auto part = std::rbegin(kParts); part != std::rend(kParts); ++part) {
        const std::vector<TensorId> saved = {*saved_.at({layer, part->name})};
        flow = add(layer, *part, Phase::kInputGradient, part->input_gradient, flow, saved);
        if (part->weight_gradient > 0) {
          add(layer, *part, Phase::kWeightGradient, part->weight_gradient, flow, saved);
        }
      }
    }
    for (std::uint32_t stage = 0; stage < size.devices; ++stage) add_optimizer(stage);
  }

  ComputationGraph create() && {
    Training training;
    training.microbatches = size_.microbatches;
    training.gradient_bytes_per_weight_byte = 1;
    training.optimizer_bytes_per_weight_byte = 6;
    return ComputationGraph::create(size_.prefix + "pipeline", std::move(operators_), std::move(tensors_),
                                    std::move(parameters_), training);
  }

 private:
  struct Part {
    const char* name;
    const char* stream;
    std::int64_t forward;
    std::int64_t input_gradient;
    std::int64_t weight_gradient;
  };
  static constexpr Part kParts[] = {{"attention", "compute", 437, 934, 239},
                                    {"dispatch", "comm", 435, 637, 0},
                                    {"mlp", "compute", 460, 531, 354},
                                    {"combine", "comm", 599, 341, 0}};
  static constexpr std::int64_t kUnit = 10'000;
  static constexpr std::int64_t kMebibyte = 1 << 20;

  TensorId tensor(std::string name, std::int64_t bytes) {
    tensors_.push_back({std::move(name), Bytes(bytes), {}, {}});
    return TensorId(tensors_.size() - 1);
  }

  /// Returns what flows on to the next operator.
  TensorId add(std::uint32_t layer, const Part& part, Phase phase, std::int64_t units, std::optional<TensorId> flow,
               const std::vector<TensorId>& saved) {
    Operator op;
    op.name = fmt::format("{}layer{}.{}.{}", size_.prefix, layer, part.name, to_string(phase));
    op.kind = part.name;
    op.phase = phase;
    op.streams = {part.stream};
    op.durations = {{"", Duration(units * kUnit)}};
    op.stage = StageId(layer / size_.layers_per_stage);
    op.layer = fmt::format("layer{}", layer);
    op.devices = {{fmt::format("{}gpu{}", size_.prefix, op.stage->index())}};
    op.workspace = Bytes(16 * kMebibyte);
    if (flow) op.inputs.push_back(*flow);
    op.inputs.insert(op.inputs.end(), saved.begin(), saved.end());
    const TensorId out = tensor(op.name + ".out", 56 * kMebibyte);
    op.outputs.push_back(out);
    if (phase == Phase::kForward) {
      op.outputs.push_back(tensor(op.name + ".saved", 120 * kMebibyte));
      saved_[{layer, part.name}] = op.outputs.back();
      if (part.weight_gradient > 0) parameters_.push_back({op.name + ".weights", Bytes(200 * kMebibyte)});
    }
    if (part.weight_gradient > 0) op.parameters = {ParameterId(parameter_of(layer, part))};
    operators_.push_back(std::move(op));
    return out;
  }

  static std::size_t parameter_of(std::uint32_t layer, const Part& part) {
    return 2 * layer + (std::string_view(part.name) == "mlp" ? 1 : 0);
  }

  void add_optimizer(std::uint32_t stage) {
    Operator op;
    op.name = fmt::format("{}optimizer{}", size_.prefix, stage);
    op.kind = "adam";
    op.phase = Phase::kOptimizer;
    op.durations = {{"", Duration(400 * kUnit)}};
    op.stage = StageId(stage);
    op.devices = {{fmt::format("{}gpu{}", size_.prefix, stage)}};
    for (std::uint32_t layer = stage * size_.layers_per_stage; layer < (stage + 1) * size_.layers_per_stage; ++layer) {
      for (const Part& part : kParts) {
        if (part.weight_gradient > 0) op.parameters.emplace_back(parameter_of(layer, part));
      }
    }
    for (std::size_t o = 0; o < operators_.size(); ++o) {
      if (operators_[o].stage == op.stage && operators_[o].phase == Phase::kWeightGradient) op.after.emplace_back(o);
    }
    operators_.push_back(std::move(op));
  }

  SampleSize size_;
  std::vector<Operator> operators_;
  std::vector<Tensor> tensors_;
  std::vector<Parameter> parameters_;
  std::map<std::pair<std::uint32_t, std::string>, std::optional<TensorId>> saved_;
};

inline Cluster sample_cluster(const SampleSize& size) {
  ClusterParts parts;
  parts.name = size.prefix + "cluster";
  parts.types = {{"H800", {}, {}}};
  for (std::uint32_t d = 0; d < size.devices; ++d) {
    parts.devices.push_back(
        {fmt::format("{}gpu{}", size.prefix, d), "H800", Bytes(std::int64_t{80} << 30), {"compute", "comm"}});
  }
  parts.default_link = Link{"", "", "", Duration(5'000), 50'000'000'000, true};
  return Cluster::create(std::move(parts));
}

/// First come, first served, on the first device of each group; a microbatch enters when the one `window` before
/// it is through. Transfers start as soon as the value exists (contention none).
class NaiveScheduler {
 public:
  NaiveScheduler(const Problem& problem, std::uint32_t window) : problem_(problem), window_(window) {
    waiting_.resize(problem.task_count());
    arrival_.resize(problem.task_count());
    schedule_.tasks.resize(problem.task_count());
    unfinished_.resize(problem.settings().training.microbatches);
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      const TaskId task(t);
      waiting_[t] = problem.predecessors(task).size() + (held_back(task) ? 1 : 0);
      if (!is_optimizer(task)) ++unfinished_[problem.task(task).copy];
      if (waiting_[t] == 0) ready_.emplace(arrival_[t], task);
    }
  }

  Schedule run() {
    while (!ready_.empty()) {
      const TaskId task = ready_.begin()->second;
      ready_.erase(ready_.begin());
      start(task);
    }
    return std::move(schedule_);
  }

 private:
  bool is_optimizer(TaskId task) const { return problem_.op(task).phase == Phase::kOptimizer; }
  bool held_back(TaskId task) const {
    return problem_.predecessors(task).empty() && problem_.task(task).copy >= window_ && !is_optimizer(task);
  }
  DeviceId device(TaskId task) const {
    const GroupId group = problem_.group_of(task);
    const auto devices = problem_.devices_of(group);
    return devices[group.index() % devices.size()];
  }

  void start(TaskId task) {
    const DeviceId place = device(task);
    Duration begin = arrival_[task.index()];
    for (std::uint32_t s = 0; s < 32; ++s) {
      if (problem_.streams(task) >> s & 1U) begin = std::max(begin, free_[{place, s}]);
    }
    schedule_.tasks[task.index()] = {*problem_.mode_on(task, place), begin};
    const Duration end = schedule_.end(problem_, task);
    for (std::uint32_t s = 0; s < 32; ++s) {
      if (problem_.streams(task) >> s & 1U) free_[{place, s}] = end;
    }
    for (const ValueId value : problem_.outputs(task)) send(value, place, end);
    for (const TaskId next : problem_.successors(task)) arrive(next, end);
    if (is_optimizer(task)) return;
    const std::uint32_t copy = problem_.task(task).copy;
    if (--unfinished_[copy] == 0 && copy + window_ < unfinished_.size()) {
      for (std::size_t t = 0; t < problem_.task_count(); ++t) {
        if (held_back(TaskId(t)) && problem_.task(TaskId(t)).copy == copy + window_) arrive(TaskId(t), end);
      }
    }
  }

  void send(ValueId value, DeviceId from, Duration ready) {
    std::set<DeviceId> sent;
    for (const TaskId consumer : problem_.consumers(value)) {
      const DeviceId to = device(consumer);
      if (to == from) continue;
      const Duration end = ready + *problem_.transfer_time(value, from, to);
      if (sent.insert(to).second) schedule_.transfers.push_back({value, from, to, ready, end});
      arrival_[consumer.index()] = std::max(arrival_[consumer.index()], end);
    }
  }

  void arrive(TaskId task, Duration time) {
    arrival_[task.index()] = std::max(arrival_[task.index()], time);
    if (--waiting_[task.index()] == 0) ready_.emplace(arrival_[task.index()], task);
  }

  const Problem& problem_;
  std::uint32_t window_;
  std::vector<std::size_t> waiting_;
  std::vector<Duration> arrival_;
  std::vector<std::uint32_t> unfinished_;  // tasks per microbatch
  std::map<std::pair<DeviceId, std::uint32_t>, Duration> free_;
  std::set<std::pair<Duration, TaskId>> ready_;
  Schedule schedule_;
};

inline Provenance sample_provenance() {
  Provenance provenance;
  provenance.version = "0.1.0";
  provenance.method = "naive";
  provenance.seed = 18446744073709551615ULL;
  provenance.limit = "time 60 s";
  provenance.graph_hash = "0123456789abcdef";
  provenance.cluster_hash = "fedcba9876543210";
  provenance.command = "opweave plan graph.json cluster.json --time-limit 60";
  return provenance;
}

inline SamplePlan make_sample(Problem problem, std::uint32_t window) {
  Schedule schedule = NaiveScheduler(problem, window).run();
  Plan plan = make_plan(problem, schedule, {}, sample_provenance());
  return {std::move(problem), std::move(schedule), std::move(plan)};
}

inline SamplePlan sample_pipeline(const SampleSize& size) {
  Problem problem = Problem::create(SampleGraph(size).create(), sample_cluster(size));
  return make_sample(std::move(problem), size.devices);
}

}  // namespace opweave::testing
