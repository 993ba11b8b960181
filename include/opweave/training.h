/// How a one-microbatch graph is repeated in one training iteration.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "opweave/quantity.h"

namespace opweave {

/// Settings of the iteration. Every operator of phase F, I, W, B or none runs once per microbatch;
/// operators of phase O run once per replica.
struct Training {
  std::uint32_t microbatches = 1;
  /// Copies of every parameter that may exist: each replica is a complete set of homes.
  std::uint32_t replicas = 1;
  /// Replica that microbatch b is bound to; empty = contiguous blocks, floor(b * replicas / microbatches).
  std::vector<std::uint32_t> replica_of_microbatch = {};
  /// Bytes kept per byte of weights for gradients and optimizer state (bf16 Adam with fp32 master
  /// weights: 1 and 6, i.e. 2 + 2 + 12 bytes per weight). Zero for inference.
  double gradient_bytes_per_weight_byte = 0;
  double optimizer_bytes_per_weight_byte = 0;
  /// The stream that an all_reduce holds on every device that keeps a parameter of several replicas, after the last W
  /// and B of all of them and before O (docs/memory-modes.md, "Gradients of replicas"). Empty = their gradients are
  /// summed in no time.
  std::string reduction_stream = {};

  /// Replica of microbatch b.
  [[nodiscard]] std::uint32_t replica_of(std::uint32_t microbatch) const {
    if (!replica_of_microbatch.empty()) return replica_of_microbatch[microbatch];
    return static_cast<std::uint32_t>(std::uint64_t{microbatch} * replicas / microbatches);
  }

  /// Gradients of replicas take time.
  [[nodiscard]] bool reduces_gradients() const { return replicas > 1 && !reduction_stream.empty(); }

  /// weights + ceil(weights x gradient factor) + ceil(weights x optimizer factor).
  [[nodiscard]] Bytes persistent_bytes(Bytes weights) const;

  bool operator==(const Training&) const = default;
};

/// \throws InputError unless microbatches and replicas are at least 1, replicas <= microbatches,
///   replica_of_microbatch is empty or names a valid replica for every microbatch, the factors are finite and not
///   negative, and gradients that are reduced have bytes.
void validate(const Training& training);

}  // namespace opweave
