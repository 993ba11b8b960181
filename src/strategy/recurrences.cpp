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
/// Operations per column and token of a mean whose weights decay: numerator, denominator and their largest exponent,
/// once with the token's own weight and once for the tokens to come (arXiv 2305.13048, appendix D).
constexpr double kAverageFlops = 24;
/// Operations per column and token of an RG-LRU: two sigmoids, a decay, what it leaves room for, input and update.
constexpr double kLruFlops = 16;
/// The backward pass computes as much once more as it needs, as in attention.
constexpr double kBackwardFlops = 2.5;
constexpr double kBackwardBytes = 2;
constexpr double kStateBytes = 4;
/// Decays by column of keys are in fp32: products of them over a chunk come near to 0.
constexpr double kDecayBytes = 4;
/// Inputs of keys, values and gates, each a mixture of its own of a token and the one before.
constexpr double kMixedInputs = 3;

/// Columns on one rank.
struct Columns {
  double heads;
  double values;
  double queries;           ///< each rank has at least one head of them
  double queries_and_keys;  ///< together
};

Columns columns_of(const Setting& s, const Recurrence& recurrence) {
  const double tensor = s.strategy.tensor;
  const double key_heads = std::max(1.0, static_cast<double>(recurrence.key_heads) / tensor);
  const double queries = key_heads * static_cast<double>(recurrence.key_dim);
  const double per_query =
      static_cast<double>(recurrence.queries_and_keys()) / static_cast<double>(recurrence.queries());
  return {static_cast<double>(recurrence.heads) / tensor, static_cast<double>(recurrence.values()) / tensor, queries,
          per_query * queries};
}

/// Do vector units compute the core?
bool is_elementwise(const Recurrence& recurrence) {
  return recurrence.update != StateUpdate::kDecay && recurrence.update != StateUpdate::kDelta;
}

/// Decays per token that a core reads beside queries, keys and values: by column of values, or of keys. Of an RG-LRU
/// also the shares in which it takes them in.
double decay_columns(const Recurrence& recurrence, const Columns& columns) {
  if (recurrence.update == StateUpdate::kLru) return 2 * columns.values;
  if (recurrence.decay_rank == 0) return 0;
  if (recurrence.update == StateUpdate::kScan) return columns.values;
  return columns.heads * static_cast<double>(recurrence.key_dim);
}

double decay_bytes(const Recurrence& recurrence, const Columns& columns) {
  return (recurrence.update == StateUpdate::kDelta ? kDecayBytes : kWord) * decay_columns(recurrence, columns);
}

/// That of attention without a softmax sees queries and keys too, all others values alone (LFM2 what keys have scaled
/// of them).
double convolved_columns(const Recurrence& recurrence, const Columns& columns) {
  return columns.values + (is_elementwise(recurrence) ? 0 : columns.queries_and_keys);
}

/// Flops of the core per token, in a forward pass.
double core_flops(const Recurrence& recurrence, const Columns& columns) {
  const auto keys = static_cast<double>(recurrence.key_dim);
  const double state = keys * columns.values;  // elements
  switch (recurrence.update) {
    case StateUpdate::kScan:
      return kScanFlops * state;
    case StateUpdate::kAverage:
      return kAverageFlops * columns.values;
    case StateUpdate::kLru:
      return kLruFlops * columns.values;
    case StateUpdate::kConvolve:
      // Keys, a product and a sum per token that is seen, gates.
      return (2 * static_cast<double>(recurrence.convolution) + 2) * columns.values;
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
  const auto decay_rank = static_cast<double>(recurrence.decay_rank);
  const auto gate_rank = static_cast<double>(recurrence.gate_rank);
  const bool is_scan = recurrence.update == StateUpdate::kScan;
  double from_hidden = columns.values;
  if (recurrence.has_gate && gate_rank == 0) from_hidden += columns.values;
  if (!is_scan) from_hidden += columns.queries_and_keys + static_cast<double>(recurrence.decays) * columns.heads;
  std::vector<Product> products = {{tokens, hidden, from_hidden}};
  // Products into a rank are not split: every rank of the tensor axis makes them.
  const double ranks = gate_rank + (is_scan ? 0 : decay_rank);
  if (ranks > 0) products.push_back({tokens, hidden, ranks});
  if (gate_rank > 0) products.push_back({tokens, gate_rank, columns.values});
  if (recurrence.update == StateUpdate::kLru) {
    const auto width = static_cast<double>(recurrence.value_dim);
    products.push_back({tokens, width, 2 * width, columns.heads});
  }
  if (is_scan) products.push_back({tokens, columns.values, decay_rank + columns.queries_and_keys});
  if (decay_rank > 0) products.push_back({tokens, decay_rank, decay_columns(recurrence, columns)});
  products.push_back({tokens, columns.values, hidden});
  return products;
}

double recurrence_traffic(const Setting& s, const Recurrence& recurrence) {
  const Columns columns = columns_of(s, recurrence);
  double words = (recurrence.has_gate ? 3 : 0) * columns.values;  // gate
  const bool has_norm = recurrence.update != StateUpdate::kConvolve && recurrence.update != StateUpdate::kLru;
  if (has_norm) words += 2 * columns.values;  // norm
  if (recurrence.convolution > 0) words += 2 * convolved_columns(recurrence, columns);
  if (recurrence.update == StateUpdate::kAverage) {
    // The token before is mixed in three times, for keys, values and gates.
    words += kMixedInputs * 2 * static_cast<double>(s.model.hidden);
  }
  return words;
}

void add_recurrence(const Setting& s, const Recurrence& recurrence, LayerTime& time) {
  const Columns columns = columns_of(s, recurrence);
  const Accelerator& device = s.machines.device;
  const double rate = device.bf16_flops * (is_elementwise(recurrence) ? kVectorShare : 1);
  const double flops = s.tokens() * core_flops(recurrence, columns);
  // Queries, keys, values and results once, decays by column, and the state of each chunk there and back.
  const double state = static_cast<double>(recurrence.key_dim) * columns.values * kStateBytes;
  const double read = kWord * (columns.queries_and_keys + 2 * columns.values) + decay_bytes(recurrence, columns);
  const double moved =
      s.tokens() * (read + (is_elementwise(recurrence) ? 0 : 2 * state / kChunk)) / device.memory_bandwidth;
  time.forward.attention += flops / (rate * s.profile.attention_forward) + moved;
  time.backward.attention += kBackwardFlops * flops / (rate * s.profile.attention_backward) + kBackwardBytes * moved;
  if (recurrence.update == StateUpdate::kScan && s.strategy.tensor > 1) {
    // What is made from the values is a sum over ranks, each with its share of them.
    const double sums = kWord * s.tokens() * (static_cast<double>(recurrence.decay_rank) + columns.queries_and_keys);
    const double reduce = all_reduce_seconds(tensor_ring(s.machines, s.strategy), sums) * s.profile.communication;
    time.forward.tensor += reduce;
    time.backward.tensor += reduce;
  }
  if (s.strategy.context == 1) return;
  // A rank of the context axis gets all tokens of its share of the heads, and gives the results back.
  const double exchange =
      all_to_all_seconds(context_ring(s.machines, s.strategy), s.tokens() * read) * s.profile.communication;
  time.forward.tensor += exchange;
  time.backward.tensor += exchange;
}

double recurrence_bytes(const Setting& s, const Recurrence& recurrence, double product_input) {
  const Columns columns = columns_of(s, recurrence);
  const double made = columns.values + columns.queries_and_keys + (recurrence.has_gate ? columns.values : 0) +
                      static_cast<double>(recurrence.decays) * columns.heads +
                      static_cast<double>(recurrence.decay_rank + recurrence.gate_rank);
  // What the products make, what the convolution makes of it, the core's result, and that after gate and norm.
  const double convolved = recurrence.convolution > 0 ? convolved_columns(recurrence, columns) : 0;
  double bytes =
      kWord * (made + convolved + columns.values) + product_input * columns.values + decay_bytes(recurrence, columns);
  if (recurrence.update == StateUpdate::kAverage) {
    bytes += product_input * kMixedInputs * static_cast<double>(s.model.hidden);
  }
  return bytes;
}

}  // namespace opweave::strategy
