#include "strategy/recurrences.h"

#include <algorithm>

#include "strategy/axes.h"

namespace opweave::strategy {
namespace {

/// Tokens whose products with each other are computed at once; states are kept between chunks. Mamba-2 uses 256, gated
/// delta nets 64, Megatron-Core 128 for both.
constexpr double kChunk = 128;
/// Rate of vector units in fp32, by that of matrix products in bf16: 19.5 of 312 on A100, 67 of 989 on H100.
constexpr double kVectorShare = 1.0 / 16;
/// Operations per value, element of its state and token in a scan: decay, exponential, input, sum, output.
constexpr double kScanFlops = 9;
/// The backward pass computes as much once more as it needs, as in attention.
constexpr double kBackwardFlops = 2.5;
constexpr double kBackwardBytes = 2;
constexpr double kStateBytes = 4;

/// Columns on one rank.
struct Columns {
  double heads;
  double values;
  double queries;  ///< as many as keys; each rank has at least one head of them
};

Columns columns_of(const Setting& s, const Recurrence& recurrence) {
  const double tensor = s.strategy.tensor;
  const double key_heads = std::max(1.0, static_cast<double>(recurrence.key_heads) / tensor);
  return {static_cast<double>(recurrence.heads) / tensor, static_cast<double>(recurrence.values()) / tensor,
          key_heads * static_cast<double>(recurrence.key_dim)};
}

/// Flops of the core per token, in a forward pass.
double core_flops(const Recurrence& recurrence, const Columns& columns) {
  const auto keys = static_cast<double>(recurrence.key_dim);
  const double state = keys * columns.values;  // elements
  switch (recurrence.update) {
    case StateUpdate::kScan:
      return kScanFlops * state;
    case StateUpdate::kDecay:
      // Scores in a chunk, by head of keys, and their values; into the state, and out of it.
      return 2 * kChunk * (columns.queries + columns.values) + 4 * state;
    case StateUpdate::kDelta:
      // Scores of queries and of keys, what the triangular inverse makes of keys and of values, values by scores; what
      // the state recalls of keys.
      return 2 * kChunk * (3 * keys * columns.heads + 2 * columns.values) + 6 * state;
  }
  return 0;
}

}  // namespace

std::vector<Product> recurrence_products(const Setting& s, const Recurrence& recurrence) {
  const double tokens = s.tokens();
  const auto hidden = static_cast<double>(s.model.hidden);
  const Columns columns = columns_of(s, recurrence);
  const double gated = columns.values * (recurrence.has_gate ? 2 : 1);
  const Product out{tokens, columns.values, hidden};
  if (recurrence.update == StateUpdate::kScan) {
    const auto rank = static_cast<double>(recurrence.decay_rank);
    return {{tokens, hidden, gated},
            {tokens, columns.values, rank + 2 * columns.queries},
            {tokens, rank, columns.values},
            out};
  }
  const double decays = static_cast<double>(recurrence.decays) * columns.heads;
  return {{tokens, hidden, gated + 2 * columns.queries + decays}, out};
}

void add_recurrence(const Setting& s, const Recurrence& recurrence, LayerTime& time) {
  const Columns columns = columns_of(s, recurrence);
  const Accelerator& device = s.machines.device;
  const bool is_scan = recurrence.update == StateUpdate::kScan;
  const double rate = device.bf16_flops * (is_scan ? kVectorShare : 1);
  const double flops = s.tokens() * core_flops(recurrence, columns);
  // Queries, keys, values and results once, and the state of each chunk there and back.
  const double state = static_cast<double>(recurrence.key_dim) * columns.values * kStateBytes;
  const double moved = s.tokens() *
                       (kWord * 2 * (columns.queries + columns.values) + (is_scan ? 0 : 2 * state / kChunk)) /
                       device.memory_bandwidth;
  time.forward.attention += flops / (rate * s.profile.attention_forward) + moved;
  time.backward.attention += kBackwardFlops * flops / (rate * s.profile.attention_backward) + kBackwardBytes * moved;
  if (s.strategy.context == 1) return;
  // A rank of the context axis gets all tokens of its share of the heads, and gives the results back.
  const double bytes = kWord * s.tokens() * 2 * (columns.queries + columns.values);
  const double exchange = all_to_all_seconds(context_ring(s.machines, s.strategy), bytes) * s.profile.communication;
  time.forward.tensor += exchange;
  time.backward.tensor += exchange;
}

double recurrence_bytes(const Setting& s, const Recurrence& recurrence, double product_input) {
  const Columns columns = columns_of(s, recurrence);
  const double convolved = columns.values + 2 * columns.queries;
  const double made = convolved + (recurrence.has_gate ? columns.values : 0) +
                      static_cast<double>(recurrence.decays) * columns.heads +
                      static_cast<double>(recurrence.decay_rank);
  // What the products make, what the convolution makes of it, the core's result, and that after gate and norm.
  return kWord * (made + (recurrence.convolution > 0 ? convolved : 0) + columns.values) +
         product_input * columns.values;
}

}  // namespace opweave::strategy
