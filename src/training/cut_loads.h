/// Times of consecutive layers, and what a cut puts on each device.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "opweave/cut.h"

namespace opweave::detail {

inline constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

/// A cut as searches move it: where each stage begins, and the number of layers at the end.
using CutBounds = std::vector<std::uint32_t>;

/// What is asked of a cut: of every device, and of every stage.
struct CutLimits {
  std::int64_t load = kNoLimit;
  std::int64_t stage = kNoLimit;
};

/// What a cut comes to. The sums of squares tell apart cuts whose largest values are equal.
struct CutFigures {
  std::int64_t load = 0;   ///< largest of a device
  std::int64_t stage = 0;  ///< longest
  double load_squares = 0;
  double stage_squares = 0;

  [[nodiscard]] bool within(const CutLimits& limits) const { return load <= limits.load && stage <= limits.stage; }
  /// Better in what cuts are made for.
  [[nodiscard]] bool beats(const CutFigures& other) const {
    return load != other.load ? load < other.load : stage < other.stage;
  }
};

/// A round of stages: every group of devices takes one of them, in turn from one end of the round's layers.
struct CutFront {
  std::uint32_t stages = 0;
  std::uint32_t first = 0;  ///< number of its first stage
  bool downwards = false;   ///< the first group takes its last stage
  [[nodiscard]] std::uint32_t stage(std::uint32_t group) const {
    return downwards ? first + stages - 1 - group : first + group;
  }
};

/// Times and loads by groups of devices, whose loads a search settles one after the other: single devices or, where
/// stages run both ways, the two (in the middle the one) that share the same two stages. Keeps a reference to the
/// rounds.
class CutLoads {
 public:
  CutLoads(const LayerRow& layers, const StageRounds& rounds);

  [[nodiscard]] std::uint32_t layers() const { return layers_; }
  [[nodiscard]] std::uint32_t stages() const { return rounds_.stages(); }
  [[nodiscard]] const StageRounds& rounds() const { return rounds_; }
  [[nodiscard]] bool both_ways() const { return rounds_.opposite_runs > 0; }
  [[nodiscard]] bool one_kind() const { return before_.size() == 1; }
  [[nodiscard]] const std::vector<CutFront>& fronts() const { return fronts_; }
  [[nodiscard]] std::uint32_t groups() const { return fronts_.front().stages; }
  /// How many devices a group has: 1 or 2.
  [[nodiscard]] std::uint32_t devices_in(std::uint32_t group) const {
    return both_ways() && group != rounds_.devices - 1 - group ? 2 : 1;
  }

  /// Time of layers [begin, end) on a device.
  [[nodiscard]] std::int64_t time(std::uint32_t device, std::uint32_t begin, std::uint32_t end) const {
    const auto& before = before_[rounds_.kind_of(device)];
    return before[end] - before[begin];
  }
  /// Weight of layers [begin, end): no device takes more weight in a time than its kind's speed times that time. With
  /// one kind of device weight is time and the speed is 1.
  [[nodiscard]] std::int64_t weight(std::uint32_t begin, std::uint32_t end) const {
    return weight_before_[end] - weight_before_[begin];
  }
  [[nodiscard]] const std::vector<std::int64_t>& weight_before() const { return weight_before_; }
  [[nodiscard]] std::int64_t speed(std::uint32_t device) const { return speed_[rounds_.kind_of(device)]; }

  /// What layers [begin, end) as a stage of a group put on the group's first and second device, and the longest that
  /// the stage takes.
  struct Share {
    std::int64_t first;
    std::int64_t second;
    std::int64_t longest;
  };
  [[nodiscard]] Share share(std::uint32_t group, std::size_t front, std::uint32_t begin, std::uint32_t end) const;

  [[nodiscard]] CutFigures figures(const CutBounds& bounds) const;

 private:
  std::uint32_t layers_;
  const StageRounds& rounds_;
  std::vector<std::vector<std::int64_t>> before_;  // by kind of device: time of the layers before each
  std::vector<std::int64_t> weight_before_;
  std::vector<std::int64_t> speed_;  // by kind
  std::vector<CutFront> fronts_;
};

/// The cut whose longest stage is as short as it can be and whose ends are, beyond that, near their shares of the
/// whole weight; on devices of one kind. With more it is near the shares that the devices' speeds give.
[[nodiscard]] CutBounds even_cut(const CutLoads& loads);

/// Least `limit` such that at most `parts` consecutive parts hold everything, none more than the limit.
[[nodiscard]] std::int64_t least_part(const std::vector<std::int64_t>& before, std::uint32_t parts);

}  // namespace opweave::detail
