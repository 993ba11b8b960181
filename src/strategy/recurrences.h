/// What one rank does in a recurrence: a mixer with a state of fixed size (docs/strategies.md, "Recurrences").
#pragma once

#include <vector>

#include "strategy/layer_work.h"
#include "strategy/products.h"

namespace opweave::strategy {

/// Into values, gates, queries, keys and decays, and out.
[[nodiscard]] std::vector<Product> recurrence_products(const Setting& s, const Recurrence& recurrence);
/// Words per token that norm, gate, convolution and mixtures with the token before read and write in the forward pass.
[[nodiscard]] double recurrence_traffic(const Setting& s, const Recurrence& recurrence);
/// Adds the core, in chunks of the sequence, what it moves through memory, and the exchange of tokens for heads over
/// the context axis.
void add_recurrence(const Setting& s, const Recurrence& recurrence, LayerTime& time);
/// Bytes per token that a rank keeps for the backward pass.
[[nodiscard]] double recurrence_bytes(const Setting& s, const Recurrence& recurrence, double product_input);

}  // namespace opweave::strategy
