/// Which movements make a tensor present in a layout on a gang, and how long they take.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "cost/movement.h"
#include "layouts/gangs.h"
#include "opweave/layout_graph.h"
#include "opweave/layouts.h"

namespace opweave {

/// A tensor on a gang in a layout.
struct Holding {
  std::uint32_t gang = 0;
  TensorLayout layout;
  auto operator<=>(const Holding&) const = default;
};

/// A movement on the way of a tensor.
struct MovementStep {
  LayoutMovementKind kind = LayoutMovementKind::kSend;
  Holding result;             ///< what there is after it; perhaps not yet what is wanted
  std::uint32_t devices = 0;  ///< gang of all that take part
  MovementTime time;
};

/// What a reader does about a tensor that is held somewhere.
struct TensorWay {
  enum class Fault : std::uint8_t {
    kNone,
    kNoPartialSums,  ///< they are wanted elsewhere, or of what is none: no movement makes them
    kNoRoute,        ///< no route joins devices of a movement
  };
  Fault fault = Fault::kNone;
  std::vector<MovementStep> steps;  ///< none where it is there, or comes by transfers like any whole value
  Holding end;                      ///< what there is after them
  /// The transfers behind them: of each device that lacks it, the ways from those that have it, each once. None where
  /// no route joins them.
  std::vector<std::vector<Rate>> arrivals;

  /// Movements and transfers can be made.
  [[nodiscard]] bool exists() const;
  /// Of the longest of the transfers, for a tensor of so many bytes. \pre exists()
  [[nodiscard]] std::int64_t arrival_time(Bytes bytes) const;
};

/// The ways between holdings, each found once.
class TensorWays {
 public:
  explicit TensorWays(const LayoutProblem& problem) : cluster_(problem.cluster()), gangs_(problem) {}

  [[nodiscard]] const Gangs& gangs() const { return gangs_; }
  /// On one device every layout is R.
  [[nodiscard]] Holding normal(std::uint32_t gang, TensorLayout layout) const;
  /// The address is good as long as this lives.
  [[nodiscard]] const TensorWay& between(const Holding& held, const Holding& wanted);

 private:
  struct Ends {
    Holding held;
    Holding wanted;
    bool operator==(const Ends&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Ends& ends) const;
  };
  [[nodiscard]] TensorWay find(Holding held, const Holding& wanted);
  [[nodiscard]] std::vector<std::vector<Rate>> arrivals(const Holding& held, const Holding& wanted) const;

  const Cluster& cluster_;
  Gangs gangs_;
  std::unordered_map<Ends, TensorWay, Hash> ways_;
};

}  // namespace opweave
