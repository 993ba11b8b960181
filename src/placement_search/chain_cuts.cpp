#include "placement_search/chain_cuts.h"

#include <algorithm>
#include <numeric>

namespace opweave {
namespace {

constexpr std::size_t kRounds[] = {1, 2, 3, 4, 6, 8};

using Devices = std::vector<std::size_t>;

/// How the rounds of a pipeline go over the devices.
enum class Turns : std::uint8_t {
  kNone,   ///< each upwards
  kAll,    ///< up and down
  kAtEnd,  ///< all upwards but the last: who comes late in the others has the layers whose gradients come first
};

/// Orders in which a pipeline may go over the devices.
std::vector<Devices> device_orders(const Problem& problem, const StepModel& model) {
  Devices given(model.devices());
  std::iota(given.begin(), given.end(), std::size_t{0});
  std::vector<Devices> orders = {given};
  const auto add = [&](Devices order) {
    if (std::ranges::find(orders, order) == orders.end()) orders.push_back(std::move(order));
  };
  const auto work_of = [&](std::size_t device) {
    std::int64_t sum = 0;
    for (const std::size_t u : model.movable()) {
      if (model.may_run(u, device)) sum += model.work(u, device);
    }
    return sum;
  };
  const auto room_of = [&](std::size_t device) {
    const std::optional<Bytes> capacity = problem.capacity(DeviceId(device));
    return capacity ? capacity->value() : INT64_MAX;
  };
  Devices fast_first = given;
  std::ranges::stable_sort(fast_first, {}, work_of);
  add(fast_first);
  add(Devices(fast_first.rbegin(), fast_first.rend()));
  Devices large_first = given;
  std::ranges::stable_sort(large_first, std::ranges::greater(), room_of);
  add(large_first);
  Devices in_turns;
  for (std::size_t i = 0; i < (given.size() + 1) / 2; ++i) {
    in_turns.push_back(fast_first[i]);
    if (given.size() - 1 - i != i) in_turns.push_back(fast_first[given.size() - 1 - i]);
  }
  add(in_turns);
  return orders;
}

/// Lays the rows of all replicas over the devices.
class Cutter {
 public:
  Cutter(const Problem& problem, const StepModel& model) : model_(model) {
    for (std::size_t d = 0; d < model.devices(); ++d) {
      const std::optional<Bytes> capacity = problem.capacity(DeviceId(d));
      room_.push_back(capacity ? capacity->value() : INT64_MAX);
    }
    for (const StepModel::Bundle& bundle : model.bundles()) {
      std::int64_t bytes = 0;
      for (const ParameterId parameter : bundle.parameters) bytes += problem.persistent_bytes(parameter).value();
      bytes_.push_back(bytes);
    }
  }

  /// \param sequences  by replica: device of each part, every device of the replica as often
  /// \return empty if it does not fit
  Devices cut(const std::vector<Devices>& sequences) {
    std::int64_t high = 1;
    for (const std::size_t u : model_.movable()) {
      std::int64_t longest = 0;
      for (std::size_t d = 0; d < model_.devices(); ++d) {
        if (model_.may_run(u, d)) longest = std::max(longest, model_.work(u, d));
      }
      high += longest;
    }
    if (!lay(sequences, high)) return {};
    std::int64_t low = 0;  // too little
    Devices best = home_;
    while (high - low > 1 + high / 4096) {
      const std::int64_t middle = low + (high - low) / 2;
      if (lay(sequences, middle)) {
        high = middle;
        best = home_;
      } else {
        low = middle;
      }
    }
    return best;
  }

 private:
  /// Whether no device gets more than `most`. A part takes its device's share of what is left for it there, to the
  /// nearest bundle.
  bool lay(const std::vector<Devices>& sequences, std::int64_t most) {
    home_.assign(model_.bundles().size(), StepModel::kStays);
    load_.assign(model_.devices(), 0);
    held_.assign(model_.devices(), 0);
    parts_left_.assign(model_.devices(), 0);
    for (const Devices& sequence : sequences) {
      for (const std::size_t device : sequence) ++parts_left_[device];
    }
    const std::vector<std::size_t>& movable = model_.movable();
    for (std::size_t first = 0; first < movable.size();) {
      const std::size_t replica = model_.bundles()[movable[first]].replica;
      std::size_t end = first;
      while (end < movable.size() && model_.bundles()[movable[end]].replica == replica) ++end;
      if (!lay_row(sequences[replica], most, first, end)) return false;
      first = end;
    }
    return true;
  }

  bool lay_row(const Devices& parts, std::int64_t most, std::size_t first, std::size_t end) {
    std::size_t next = first;
    for (const std::size_t device : parts) {
      const std::int64_t share = (most - load_[device]) / parts_left_[device];
      --parts_left_[device];
      std::int64_t taken = 0;
      for (; next < end; ++next) {
        const std::size_t bundle = model_.movable()[next];
        if (!model_.may_run(bundle, device)) break;
        const std::int64_t work = model_.work(bundle, device);
        if (taken + work / 2 > share || load_[device] + work > most) break;
        if (held_[device] + bytes_[bundle] > room_[device]) break;
        home_[bundle] = device;
        taken += work;
        load_[device] += work;
        held_[device] += bytes_[bundle];
      }
    }
    return next == end;
  }

  const StepModel& model_;
  std::vector<std::int64_t> room_;
  std::vector<std::int64_t> bytes_;  // by bundle
  Devices home_;
  std::vector<std::int64_t> load_;
  std::vector<std::int64_t> held_;
  std::vector<std::int64_t> parts_left_;  // of all replicas, by device
};

/// With fewer it is another way to go.
std::size_t fewest_rounds(Turns turns) {
  switch (turns) {
    case Turns::kNone:
      return 1;
    case Turns::kAll:
      return 2;
    case Turns::kAtEnd:
      return 3;
  }
  return 1;
}

/// The device of each part of a replica.
Devices over(const Devices& order, std::size_t rounds, Turns turns) {
  Devices sequence;
  for (std::size_t round = 0; round < rounds; ++round) {
    const bool is_down = turns == Turns::kAll ? round % 2 == 1 : turns == Turns::kAtEnd && round + 1 == rounds;
    if (is_down) {
      sequence.insert(sequence.end(), order.rbegin(), order.rend());
    } else {
      sequence.insert(sequence.end(), order.begin(), order.end());
    }
  }
  return sequence;
}

}  // namespace

std::vector<std::vector<std::size_t>> chain_cuts(const Problem& problem, const StepModel& model) {
  std::vector<Devices> homes;
  Cutter cutter(problem, model);
  const std::size_t replicas = std::max<std::size_t>(1, model.replicas().size());
  const std::size_t row = model.movable().size() / replicas;
  const auto add = [&](const std::vector<Devices>& sequences) {
    Devices home = cutter.cut(sequences);
    if (!home.empty() && std::ranges::find(homes, home) == homes.end()) homes.push_back(std::move(home));
  };
  for (const Devices& order : device_orders(problem, model)) {
    for (const std::size_t rounds : kRounds) {
      for (const Turns turns : {Turns::kNone, Turns::kAll, Turns::kAtEnd}) {
        if (rounds < fewest_rounds(turns)) continue;
        if (rounds == 1 || rounds * order.size() <= row) {
          // Every second replica the other way round.
          std::vector<Devices> sequences(replicas, over(order, rounds, turns));
          for (std::size_t r = 1; r < replicas; r += 2) std::ranges::reverse(sequences[r]);
          add(sequences);
        }
        if (replicas == 1 || order.size() % replicas != 0 || rounds * order.size() / replicas > row) continue;
        // Each replica on devices of its own.
        const auto share = static_cast<std::ptrdiff_t>(order.size() / replicas);
        std::vector<Devices> apart;
        for (auto first = order.begin(); first != order.end(); first += share) {
          apart.push_back(over({first, first + share}, rounds, turns));
        }
        add(apart);
      }
    }
  }
  return homes;
}

}  // namespace opweave
