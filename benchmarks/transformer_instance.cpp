/// Operators of a transformer, split by attention heads and by blocks of the feed-forward layer.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "bench.h"

namespace opweave::bench {
namespace {

constexpr double kTokens = 2048;
constexpr double kWidth = 4096;
constexpr double kFlopsPerSecond = 200e12;
constexpr double kBytesPerSecond = 1.5e12;
constexpr double kLaunchSeconds = 2e-6;
constexpr double kBytes = 2;  // bf16
/// One activation of full width.
constexpr double kActivation = kTokens * kWidth * kBytes;

class TransformerBuilder {
 public:
  explicit TransformerBuilder(const TransformerInstance& instance) : instance_(instance) {}

  ComputationGraph build() {
    TensorId x = tensor(kActivation);
    for (std::size_t layer = 0; layer < instance_.layers; ++layer) x = feed_forward(attention(x));
    if (instance_.training) backward(x);
    return ComputationGraph::create(instance_.name(), std::move(operators_), std::move(tensors_),
                                    std::move(parameters_));
  }

 private:
  TensorId attention(TensorId x) {
    const double width = kWidth / static_cast<double>(instance_.heads);
    const TensorId normed = add("norm", {x}, kActivation, 0, 0);
    std::vector<TensorId> parts = {x};
    for (std::size_t head = 0; head < instance_.heads; ++head) {
      const TensorId qkv =
          add("qkv", {normed}, 3 * kTokens * width * kBytes, 6 * kTokens * kWidth * width, 3 * kWidth * width * kBytes);
      const TensorId mixed = add("attention", {qkv}, kTokens * width * kBytes, 4 * kTokens * kTokens * width, 0);
      parts.push_back(add("projection", {mixed}, kActivation, 2 * kTokens * kWidth * width, kWidth * width * kBytes));
    }
    return add("add", std::move(parts), kActivation, 0, 0);
  }

  TensorId feed_forward(TensorId x) {
    const double width = 4 * kWidth / static_cast<double>(instance_.blocks);
    const TensorId normed = add("norm", {x}, kActivation, 0, 0);
    std::vector<TensorId> parts = {x};
    for (std::size_t block = 0; block < instance_.blocks; ++block) {
      const double flops = 2 * kTokens * kWidth * width;
      const double weights = kWidth * width * kBytes;
      const TensorId up = add("up", {normed}, kTokens * width * kBytes, flops, weights);
      const TensorId active = add("gelu", {up}, kTokens * width * kBytes, 0, 0);
      parts.push_back(add("down", {active}, kActivation, flops, weights));
    }
    return add("add", std::move(parts), kActivation, 0, 0);
  }

  /// Every operator's gradients, in the opposite order: of its inputs, and of its weights where the weights live.
  void backward(TensorId loss_input) {
    const std::size_t forward = operators_.size();
    std::vector<std::vector<TensorId>> gradients(tensors_.size());
    gradients[loss_input.index()] = {add("loss", {loss_input}, kActivation, 0, 0)};
    for (std::size_t i = forward; i-- > 0;) {
      const Operator op = operators_[i];
      const TensorId output = op.outputs.front();
      std::vector<TensorId> given = gradients[output.index()];
      const TensorId gradient = given.size() == 1 ? given.front() : add("sum", given, size(output), 0, 0);
      if (op.kind == "add") {  // its inputs all have the gradient of its output
        for (const TensorId input : op.inputs) gradients[input.index()].push_back(gradient);
        continue;
      }
      const TensorId input = op.inputs.front();
      const double factor = op.kind == "attention" ? 2 : 1;
      gradients[input.index()].push_back(
          add("input gradient", {input, gradient}, size(input), factor * *op.flops, 0, op.parameters));
      if (!op.parameters.empty()) (void)add("weight gradient", {input, gradient}, 0, *op.flops, 0, op.parameters);
    }
  }

  [[nodiscard]] double size(TensorId id) const { return static_cast<double>(tensors_[id.index()].size.value()); }

  TensorId tensor(double bytes) {
    tensors_.push_back({fmt::format("t{}", tensors_.size()), Bytes(static_cast<std::int64_t>(bytes)), {}, {}});
    return TensorId(tensors_.size() - 1);
  }

  TensorId add(const std::string& kind, std::vector<TensorId> inputs, double output, double flops, double weights,
               std::vector<ParameterId> parameters = {}) {
    Operator op;
    op.name = fmt::format("{} {}", kind, operators_.size());
    op.kind = kind;
    op.flops = flops;
    if (weights > 0) {
      parameters.emplace_back(parameters_.size());
      parameters_.push_back({fmt::format("w{}", parameters_.size()), Bytes(static_cast<std::int64_t>(weights))});
    }
    op.parameters = std::move(parameters);
    double bytes = output;
    for (const TensorId input : inputs) bytes += size(input);
    const double seconds = std::max(flops / kFlopsPerSecond, bytes / kBytesPerSecond) + kLaunchSeconds;
    op.durations = {{"", Duration(static_cast<std::int64_t>(seconds * 1e9))}};
    op.inputs = std::move(inputs);
    op.outputs = {tensor(output)};
    operators_.push_back(std::move(op));
    return operators_.back().outputs.front();
  }

  const TransformerInstance& instance_;
  std::vector<Operator> operators_;
  std::vector<Tensor> tensors_;
  std::vector<Parameter> parameters_;
};

}  // namespace

std::string TransformerInstance::name() const {
  return fmt::format("transformer {}, {} layers x ({} heads + {} blocks), {} devices, {:.0f} GB/s{}",
                     training ? "training" : "inference", layers, heads, blocks, devices,
                     static_cast<double>(bandwidth) / 1e9, contention == Contention::kEndpoint ? ", endpoints" : "");
}

Problem TransformerInstance::problem() const {
  ProblemSettings settings;
  settings.contention = contention;
  return Problem::create(TransformerBuilder(*this).build(),
                         uniform_cluster(devices, {"compute"}, std::nullopt, Duration(5000), bandwidth), settings);
}

}  // namespace opweave::bench
