/// Random training pipelines that are short of memory and have hosts: for benchmarks and tests of memory modes.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "opweave/pipeline.h"
#include "support/random_problems.h"

namespace opweave::testing {

struct ModePipeline {
  std::string name;
  Problem problem;  ///< no value may have a mode yet
};

/// Throws a pipeline: 4 .. 16 devices, 8 .. 32 microbatches, one to three chunks, one way or two, some with an encoder
/// before the layers of the model; layers of one, two or four operators, the last with streams for communication, equal
/// or not; W apart or not. A device holds from 1.2 microbatches to almost as many as there are devices, which is what
/// 1F1B needs. The host link takes 0.3 to 2.5 times as long for what a microbatch keeps as the busiest device computes
/// for it.
class ModePipelineDice {
 public:
  explicit ModePipelineDice(std::uint64_t seed) : seed_(seed), dice_(seed) {}

  ModePipeline pipeline() {
    choose_shape();
    add_layers();
    const std::int64_t tenths =
        dice_.chance(30) ? dice_.roll(12, 25) : dice_.roll(20, std::max<std::int64_t>(25, 9 * std::int64_t{devices_}));
    const std::int64_t percent = dice_.roll(30, 250);
    ClusterParts parts =
        uniform_cluster(devices_, streams_, Bytes(most(held_) * tenths / 10 + kBoundary * 4 * devices_),
                        Duration(dice_.chance(50) ? 0 : dice_.roll(20, 200) * 1000))
            .parts();
    const auto bandwidth = static_cast<std::int64_t>(static_cast<double>(most(held_)) * 1e9 * 100 /
                                                     static_cast<double>(percent * most(work_)));
    parts.types = {{"gpu", {}, {}, HostLink{Duration(0), std::max<std::int64_t>(1, bandwidth)}}};
    for (Device& device : parts.devices) device.type = "gpu";
    return {fmt::format("{}: {}{} {}x{}{}{} memory {:.1f} host {:.1f}", seed_, to_string(spec_.shape), name_, devices_,
                        spec_.training.microbatches, is_unequal_ ? " unequal" : "", is_fused_ ? " fused" : "",
                        static_cast<double>(tenths) / 10, static_cast<double>(percent) / 100),
            Problem::create(build_pipeline(spec_), Cluster::create(std::move(parts)))};
  }

 private:
  static constexpr std::int64_t kBoundary = 1000;   // bytes of a tensor between layers
  static constexpr std::int64_t kSlot = 1'000'000;  // bytes that a layer keeps

  static std::int64_t most(const std::vector<std::int64_t>& values) { return *std::ranges::max_element(values); }

  void choose_shape() {
    constexpr PipelineShape kShapes[] = {PipelineShape::kLinear, PipelineShape::kV, PipelineShape::kLoop,
                                         PipelineShape::kTwoWay};
    spec_.shape = kShapes[dice_.roll(0, 3)];
    const bool is_two_way = spec_.shape == PipelineShape::kTwoWay;
    devices_ = static_cast<std::uint32_t>(is_two_way ? 2 * dice_.roll(2, 8) : dice_.roll(4, 16));
    chunks_ = 1;
    if (spec_.shape == PipelineShape::kV) chunks_ = 2;
    if (spec_.shape == PipelineShape::kLoop) chunks_ = static_cast<std::uint32_t>(dice_.roll(2, 3));
    spec_.training.replicas = is_two_way ? 2 : 1;
    spec_.training.microbatches = static_cast<std::uint32_t>(is_two_way ? 2 * dice_.roll(4, 16) : dice_.roll(8, 32));
    layers_of_stage_ = static_cast<std::uint32_t>(dice_.roll(1, chunks_ == 1 ? 4 : 2));
    kind_ = dice_.roll(0, 2);
    // About 10,000 tasks at most.
    const std::int64_t operators = kind_ == 0 ? 3 : kind_ == 1 ? 6 : 10;
    while (layers_of_stage_ > 1 && tasks(operators) > 10'000) --layers_of_stage_;
    if (tasks(operators) > 10'000) kind_ = 0;
    is_unequal_ = dice_.chance(50);
    is_fused_ = dice_.chance(25);
    has_encoder_ = spec_.shape == PipelineShape::kLinear && dice_.chance(40);
    name_ = fmt::format("{}{}{}", chunks_ > 2 ? " of 3 chunks" : "",
                        kind_ == 2   ? " overlap"
                        : kind_ == 1 ? " pairs"
                                     : "",
                        has_encoder_ ? " encoder" : "");
    streams_ = kind_ == 2 ? std::vector<std::string>{"compute", "comm"} : std::vector<std::string>{"compute"};
    for (std::uint32_t d = 0; d < devices_; ++d) spec_.devices.push_back(fmt::format("gpu{}", d));
    held_.assign(devices_, 0);
    work_.assign(devices_, 0);
  }

  [[nodiscard]] std::int64_t tasks(std::int64_t operators) const {
    return operators * layers_of_stage_ * chunks_ * devices_ * spec_.training.microbatches;
  }

  void add_layers() {
    const std::uint32_t stages = chunks_ * devices_;
    input_percent_ = dice_.roll(80, 220);
    weight_percent_ = dice_.roll(30, 120);
    const std::uint32_t encoder = has_encoder_ ? layers_of_stage_ * std::max(1U, stages / 3) : 0;
    for (std::uint32_t s = 0; s < stages; ++s) {
      for (std::uint32_t l = 0; l < layers_of_stage_; ++l) {
        const auto number = static_cast<std::uint32_t>(spec_.layers.size());
        spec_.layers.push_back(layer(number, number < encoder));
        spec_.stage_of_layer.push_back(s);
        count(spec_.layers.back(), s);
      }
    }
    if (!has_encoder_) return;
    spec_.components = {{"encoder", encoder, {}, {}},
                        {"model", static_cast<std::uint32_t>(spec_.layers.size()) - encoder, {{0, {}}}, {}}};
  }

  Layer layer(std::uint32_t number, bool is_of_encoder) {
    const std::int64_t percent = (is_unequal_ ? dice_.roll(60, 150) : 100) * (is_of_encoder ? 2 : 3) / 3;
    const auto time = [&](std::int64_t us, std::int64_t part) {
      return Duration(us * 1000 * percent / 100 * part / 100);
    };
    const auto compute = [&](const char* name, std::int64_t us) {
      const std::int64_t backward = input_percent_ + (is_fused_ ? weight_percent_ : 0);
      LayerOperator op{name, name, {"compute"}, time(us, 100), time(us, backward), std::nullopt};
      if (!is_fused_) op.weight_gradient = time(us, weight_percent_);
      return op;
    };
    const auto send = [&](const char* name, std::int64_t us) {
      return LayerOperator{name, "all_to_all", {"comm"}, time(us, 100), time(us, 110), std::nullopt};
    };
    Layer result;
    result.name = fmt::format("layer{}", number);
    if (kind_ == 0) result.operators = {compute("layer", 1000)};
    if (kind_ == 1) result.operators = {compute("attention", 450), compute("mlp", 550)};
    if (kind_ == 2) {
      result.operators = {compute("attention", 450), send("dispatch", 400), compute("mlp", 550), send("combine", 450)};
    }
    result.activation = Bytes(kSlot / 100 * (is_of_encoder ? 60 : is_unequal_ ? dice_.roll(70, 140) : 100));
    result.output = Bytes(kBoundary);
    return result;
  }

  /// What a microbatch of the first replica keeps and computes on each device.
  void count(const Layer& layer, std::uint32_t stage) {
    std::int64_t ns = 0;
    for (const LayerOperator& op : layer.operators) {
      if (op.streams.front() != "compute") continue;
      for (const auto& time : {op.forward, op.input_gradient, op.weight_gradient}) {
        if (time) ns += time->on("gpu")->value();
      }
    }
    const std::uint32_t device = device_of_stage(spec_.shape, stage, 0, devices_);
    held_[device] += layer.activation.value();
    work_[device] += ns;
  }

  std::uint64_t seed_;
  Dice dice_;
  PipelineSpec spec_;
  std::uint32_t devices_ = 0;
  std::uint32_t chunks_ = 1;
  std::uint32_t layers_of_stage_ = 1;
  std::int64_t kind_ = 0;  ///< 0: one operator in a layer; 1: two; 2: four on two streams
  std::int64_t input_percent_ = 100;
  std::int64_t weight_percent_ = 50;
  bool is_unequal_ = false;
  bool is_fused_ = false;
  bool has_encoder_ = false;
  std::string name_;
  std::vector<std::string> streams_;
  std::vector<std::int64_t> held_;  ///< by device: bytes that one microbatch keeps
  std::vector<std::int64_t> work_;  ///< by device: ns of its compute stream for one microbatch
};

/// The same seed gives the same problem everywhere.
inline ModePipeline random_mode_pipeline(std::uint64_t seed) { return ModePipelineDice(seed).pipeline(); }

}  // namespace opweave::testing
