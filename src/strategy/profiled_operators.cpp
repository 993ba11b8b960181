#include "strategy/profiled_operators.h"

#include <algorithm>
#include <cmath>

namespace opweave {

std::size_t OperatorProfiles::operators() const { return tables.begin()->second.size() + (layers - 1) * layer; }

std::size_t OperatorProfiles::row(std::size_t i) const {
  if (i < head) return i;
  const std::size_t end = head + layers * layer;
  return i < end ? head + (i - head) % layer : i - (layers - 1) * layer;
}

namespace strategy {

bool keeps_nothing(const OperatorProfile& op) { return op.name == "enc-attention-softmax"; }

double kept_mb(const OperatorProfile& op) {
  // Softmax writes over its input; dropout keeps its result and a mask of half its size.
  if (keeps_nothing(op)) return 0;
  return op.activations_mb * (op.name == "enc-attention-dropout" ? 1.5 : 1);
}

double transfer_ms(const OperatorProfiles& profiles, double mb, bool is_between_nodes) {
  if (mb <= 0) return 0;
  const auto& table = is_between_nodes ? profiles.fabric_gb_per_s : profiles.node_gb_per_s;
  // The model takes the entry before that of the size, rounded down to a power of two.
  const auto power = static_cast<std::int64_t>(std::log2(mb));
  const auto entry =
      std::clamp<std::int64_t>(power >= 1 ? power - 1 : power, 0, static_cast<std::int64_t>(table.size()) - 1);
  return mb / table[static_cast<std::size_t>(entry)];
}

}  // namespace strategy
}  // namespace opweave
