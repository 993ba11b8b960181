#include "layouts/tensor_movements.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace opweave {
namespace {

using Kind = TensorLayout::Kind;
using Pairs = std::vector<std::pair<DeviceId, DeviceId>>;

/// The next movement on the way from what is held to what is wanted. Nothing where no route joins its devices.
class NextStep {
 public:
  NextStep(const Cluster& cluster, const Gangs& gangs, const Holding& held, const Holding& wanted)
      : cluster_(cluster), from_(gangs.at(held.gang)), to_(gangs.at(wanted.gang)), held_(held), wanted_(wanted) {}

  /// No movement: it is there, or comes by transfers like any whole value.
  [[nodiscard]] bool is_free() const {
    if (held_ == wanted_) return true;
    if (wanted_.layout.kind == Kind::kPartial) return false;
    const bool is_there = std::ranges::includes(from_, to_);
    return held_.layout.kind == Kind::kReplicated && (is_there || wanted_.layout.kind == Kind::kReplicated);
  }

  [[nodiscard]] std::optional<MovementStep> find() const {
    if (held_.layout.kind == Kind::kPartial) {
      // Sums leave their gang as sums: in the parts that are wanted where these fit, else whole.
      const bool fits = wanted_.layout.kind == Kind::kSharded && to_.size() == from_.size();
      return within({held_.gang, fits ? wanted_.layout : TensorLayout{}});
    }
    return held_.gang == wanted_.gang ? within(wanted_) : between();
  }

 private:
  /// Between layouts of one gang.
  [[nodiscard]] std::optional<MovementStep> within(const Holding& result) const {
    const auto count = static_cast<std::int64_t>(from_.size());
    const bool is_exchanged = held_.layout.kind == Kind::kSharded && result.layout.kind == Kind::kSharded;
    const auto rate = slowest_rate(cluster_, is_exchanged ? all_pairs(from_, from_) : ring_pairs(from_));
    if (!rate) return std::nullopt;
    MovementStep step{LayoutMovementKind::kAllToAll, result, 0, {}};
    if (is_exchanged) {
      step.time = all_to_all_time(*rate, count);
    } else if (held_.layout.kind == Kind::kPartial && result.layout.kind == Kind::kReplicated) {
      step.kind = LayoutMovementKind::kAllReduce;
      step.time = all_reduce_time(*rate, count);
    } else {
      step.kind =
          held_.layout.kind == Kind::kPartial ? LayoutMovementKind::kReduceScatter : LayoutMovementKind::kAllGather;
      step.time = gather_time(*rate, count);
    }
    return step;
  }

  /// From a gang to another one that wants parts.
  [[nodiscard]] std::optional<MovementStep> between() const {
    const std::size_t from = from_.size();
    const std::size_t to = to_.size();
    const std::int64_t split = wanted_.layout.kind == Kind::kSharded ? static_cast<std::int64_t>(to) : 1;
    const bool is_replicated = held_.layout.kind == Kind::kReplicated;
    if (is_replicated || (held_.layout == wanted_.layout && from == to)) {
      // Each device that wants a part gets it from one that has it; those that have it already need none.
      Pairs pairs;
      for (std::size_t i = 0; i < to; ++i) {
        if (is_replicated && std::ranges::binary_search(from_, to_[i])) continue;
        const DeviceId source = from_[is_replicated ? pairs.size() % from : i];
        if (source != to_[i]) pairs.emplace_back(source, to_[i]);
      }
      const auto rate = slowest_rate(cluster_, pairs);
      const auto rounds = static_cast<std::int64_t>((pairs.size() + from - 1) / from);
      if (!rate) return std::nullopt;
      return MovementStep{LayoutMovementKind::kSend, wanted_, 0, {*rate, rounds, rounds, 1, split}};
    }
    // Every device of one gang has something for every device of the other.
    const auto most = static_cast<std::int64_t>(std::max(from, to));
    const bool gathers = wanted_.layout.kind == Kind::kReplicated;
    const auto rate = slowest_rate(cluster_, all_pairs(from_, to_));
    if (!rate) return std::nullopt;
    return MovementStep{gathers ? LayoutMovementKind::kAllGather : LayoutMovementKind::kAllToAll,
                        wanted_,
                        0,
                        {*rate, most, most, static_cast<std::int64_t>(from), split}};
  }

  const Cluster& cluster_;
  const std::vector<DeviceId>& from_;
  const std::vector<DeviceId>& to_;
  const Holding& held_;
  const Holding& wanted_;
};

}  // namespace

bool TensorWay::exists() const {
  return fault == Fault::kNone && std::ranges::none_of(arrivals, &std::vector<Rate>::empty);
}

std::int64_t TensorWay::arrival_time(Bytes bytes) const {
  std::int64_t last = 0;
  for (const std::vector<Rate>& rates : arrivals) {
    std::int64_t least = transfer_time(bytes, rates.front()).value();
    for (const Rate& rate : rates) least = std::min(least, transfer_time(bytes, rate).value());
    last = std::max(last, least);
  }
  return last;
}

std::size_t TensorWays::Hash::operator()(const Ends& ends) const {
  std::uint64_t hash = 0;
  for (const Holding* holding : {&ends.held, &ends.wanted}) {
    const std::uint64_t layout =
        (std::uint64_t{holding->layout.dim} << 2U) + static_cast<std::uint64_t>(holding->layout.kind);
    hash = (hash ^ (std::uint64_t{holding->gang} << 32U) ^ layout) * 0x9E3779B97F4A7C15U;
    hash ^= hash >> 29U;
  }
  return hash;
}

Holding TensorWays::normal(std::uint32_t gang, TensorLayout layout) const {
  if (gangs_.at(gang).size() == 1) layout = {};
  return {gang, layout};
}

const TensorWay& TensorWays::between(const Holding& held, const Holding& wanted) {
  const auto [entry, is_new] = ways_.try_emplace({held, wanted});
  if (is_new) entry->second = find(held, wanted);
  return entry->second;
}

TensorWay TensorWays::find(Holding held, const Holding& wanted) {
  TensorWay way;
  while (!NextStep(cluster_, gangs_, held, wanted).is_free()) {
    if (wanted.layout.kind == Kind::kPartial) {
      way.fault = TensorWay::Fault::kNoPartialSums;
      return way;
    }
    std::optional<MovementStep> step = NextStep(cluster_, gangs_, held, wanted).find();
    if (!step) {
      way.fault = TensorWay::Fault::kNoRoute;
      return way;
    }
    step->devices = gangs_.united(held.gang, step->result.gang);
    held = step->result;
    way.steps.push_back(*step);
  }
  way.end = held;
  way.arrivals = arrivals(held, wanted);
  return way;
}

std::vector<std::vector<Rate>> TensorWays::arrivals(const Holding& held, const Holding& wanted) const {
  std::vector<std::vector<Rate>> result;
  const std::vector<DeviceId>& sources = gangs_.at(held.gang);
  for (const DeviceId device : gangs_.at(wanted.gang)) {
    if (std::ranges::binary_search(sources, device)) continue;
    std::vector<Rate> rates;
    for (const DeviceId source : sources) {
      const std::optional<Rate> rate = cluster_.rate(source, device);
      if (rate && std::ranges::find(rates, *rate) == rates.end()) rates.push_back(*rate);
    }
    if (std::ranges::find(result, rates) == result.end()) result.push_back(std::move(rates));
  }
  return result;
}

}  // namespace opweave
