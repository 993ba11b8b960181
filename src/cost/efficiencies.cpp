#include <algorithm>
#include <array>
#include <cmath>

#include "opweave/analytic.h"

namespace opweave::analytic {
namespace {

using Points = std::vector<std::pair<double, double>>;

const std::string kMeasured = "measured with benchmarks/gpu_layer on one H200, torch 2.11, 2026-11-29";
const std::string kFits = "fitted to published steps (docs/strategies.md)";
const std::string kMamf =
    "largest rate of bf16 products found by S. Bekman, Machine Learning Engineering, accelerator chapter";

// Relative to large products, to memory-bound calls of any size, to sequences of 8192 tokens.
const Points kProducts = {{1e7, 0.05}, {1e8, 0.12}, {5e8, 0.28}, {2e9, 0.55}, {1.6e10, 0.92}, {7e10, 1.0}};
const Points kTraffic = {{1e5, 0.10}, {1e6, 0.25}, {1e7, 0.62}, {3e7, 0.80}, {1e8, 0.87}, {1e9, 0.915}};
const Points kForward = {{512, 0.55}, {1024, 0.73}, {2048, 0.86}, {4096, 0.95}, {8192, 1.0}, {16384, 1.02}};
const Points kBackward = {{512, 0.37}, {1024, 0.57}, {2048, 0.75}, {4096, 0.90}, {8192, 1.0}, {16384, 1.05}};

Curve scaled(Points points, double factor, const std::string& source) {
  for (auto& [_, share] : points) share *= factor;
  return {std::move(points), source + "; by size: " + kMeasured};
}

/// From the shares of large products and of attention over 8192 tokens.
Efficiencies from_shares(double matrix, double forward, double backward, const std::string& source) {
  return {.matrix = scaled(kProducts, matrix, source),
          .memory = {kTraffic, kMeasured},
          .attention_forward = scaled(kForward, forward, source),
          .attention_backward = scaled(kBackward, backward, source),
          .optimizer = 0.67,  // AdamW in one kernel on fp32: 28 bytes of 218 million parameters in 1.90 ms of 4.8 TB/s
          .overhead_ns = 2000};  // measured there, too
}

}  // namespace

double Curve::at(double size) const {
  const auto is_beyond = [](double value, const auto& point) { return value < point.first; };
  const auto above = std::upper_bound(points.begin(), points.end(), size, is_beyond);
  if (above == points.begin()) return points.front().second;
  if (above == points.end()) return points.back().second;
  const auto& [low, first] = *(above - 1);
  const auto& [high, second] = *above;
  return first + (second - first) * std::log(size / low) / std::log(high / low);
}

const Efficiencies& efficiencies_of(std::string_view device_type) {
  static const Efficiencies hopper = from_shares(
      0.60, 0.44, 0.374, "mean of NeMo's 0.684, 0.52, 0.442 and torchtitan's 0.514, 0.36, 0.306 on H100, " + kFits);
  static const Efficiencies ampere =
      from_shares(0.755, 0.58, 0.493, "mean of Megatron's 0.78 and fms-fsdp's 0.73 on A100, " + kFits);
  // Without fits: Hopper's share of what is largest for it (0.803) of what is largest here.
  static const Efficiencies blackwell =
      from_shares(0.58, 0.425, 0.36, kMamf + ": 0.776 of peak; the rest as on Hopper");
  static const Efficiencies cdna3 = from_shares(0.385, 0.28, 0.24, kMamf + ": 0.514 of peak; the rest as on Hopper");
  if (device_type == "a100") return ampere;
  if (device_type == "b200") return blackwell;
  if (device_type == "mi300x") return cdna3;
  return hopper;
}

const Efficiencies& efficiencies_alone() {
  // Of 8192^3, and of attention over 8192 tokens without a pause; in short runs 0.81, 0.65 and 0.55.
  static const Efficiencies alone = from_shares(0.67, 0.55, 0.47, kMeasured + ", at its power limit of 700 W");
  return alone;
}

}  // namespace opweave::analytic
