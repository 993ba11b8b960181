#include "training/unequal_microbatches.h"

#include <fmt/format.h>

#include <cmath>

#include "opweave/error.h"

namespace opweave::detail {
namespace {

class Unroller {
 public:
  Unroller(const ComputationGraph& one, const PipelineSpec& spec) : one_(one), training_(one.training()), spec_(spec) {
    check();
  }

  ComputationGraph unroll() {
    for (std::uint32_t replica = 0; replica < training_.replicas; ++replica) {
      for (Parameter parameter : one_.parameters()) {
        if (training_.replicas > 1) parameter.name += fmt::format(" copy {}", replica);
        parameters_.push_back(std::move(parameter));
      }
    }
    for (std::uint32_t microbatch = 0; microbatch < training_.microbatches; ++microbatch) add(microbatch);
    Training training = training_;
    training.microbatches = 1;
    training.replicas = 1;
    training.replica_of_microbatch.clear();
    return ComputationGraph::create(one_.name(), std::move(operators_), std::move(tensors_), std::move(parameters_),
                                    training);
  }

 private:
  void check() const {
    const std::string where = fmt::format("pipeline \"{}\": ", spec_.name);
    const std::size_t scales = spec_.microbatch_scales.size();
    if (scales != training_.microbatches) {
      throw InputError(
          fmt::format("{}{} microbatch scales for {} microbatches", where, scales, training_.microbatches));
    }
    for (const auto& [duration, bytes] : spec_.microbatch_scales) {
      for (const double factor : {duration, bytes}) {
        if (factor >= 0 && factor <= 1000) continue;
        throw InputError(fmt::format("{}microbatch scale is {}, expected a number of 0 to 1000", where, factor));
      }
    }
    constexpr double kMostOperators = 10e6;  // about a kilobyte each
    const double operators = static_cast<double>(one_.operators().size()) * training_.microbatches;
    if (operators > kMostOperators) {
      throw InputError(fmt::format("{}{} operators for each of {} unequal microbatches, expected at most {:.0f} in all",
                                   where, one_.operators().size(), training_.microbatches, kMostOperators));
    }
    if (spec_.shape == PipelineShape::kFree && training_.replicas > 1) {
      throw InputError(
          fmt::format("{}microbatch scales with {} copies of every parameter in shape free, where the "
                      "planner chooses how many there are; expected 1",
                      where, training_.replicas));
    }
  }

  void add(std::uint32_t microbatch) {
    const MicrobatchScale& scale = spec_.microbatch_scales[microbatch];
    const std::uint32_t replica = training_.replica_of(microbatch);
    const auto named = [microbatch](const std::string& name) { return fmt::format("{}#{}", name, microbatch); };
    const std::size_t first_tensor = tensors_.size();
    const std::size_t first_parameter = replica * one_.parameters().size();
    for (const Tensor& tensor : one_.tensors()) {
      tensors_.push_back({named(tensor.name), Bytes(scaled(tensor.size.value(), scale.bytes, tensor.name)), {}, {}});
    }
    for (Operator op : one_.operators()) {
      for (MeasuredDuration& measured : op.durations) {
        measured.duration = Duration(scaled(measured.duration.value(), scale.duration, op.name));
      }
      op.name = named(op.name);
      for (TensorId& tensor : op.inputs) tensor = TensorId(first_tensor + tensor.index());
      for (TensorId& tensor : op.outputs) tensor = TensorId(first_tensor + tensor.index());
      for (ParameterId& parameter : op.parameters) parameter = ParameterId(first_parameter + parameter.index());
      if (op.devices.size() > 1) op.devices = {op.devices[replica]};
      op.stage.reset();
      operators_.push_back(std::move(op));
    }
  }

  /// Rounded up.
  static std::int64_t scaled(std::int64_t value, double factor, const std::string& name) {
    const double result = std::ceil(static_cast<double>(value) * factor);
    if (result > static_cast<double>(kMaxInputValue)) {
      throw InputError(
          fmt::format("\"{}\" is {} x {}, expected at most {} in all", name, value, factor, kMaxInputValue));
    }
    return static_cast<std::int64_t>(result);
  }

  const ComputationGraph& one_;
  const Training& training_;
  const PipelineSpec& spec_;
  std::vector<Operator> operators_;
  std::vector<Tensor> tensors_;
  std::vector<Parameter> parameters_;
};

}  // namespace

ComputationGraph unequal_microbatches(const ComputationGraph& one, const PipelineSpec& spec) {
  return Unroller(one, spec).unroll();
}

}  // namespace opweave::detail
