/// How much of the layers devices can take under limits: what proves that no cut is better.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "training/cut_loads.h"

namespace opweave::detail {

/// Most weight that each group of devices takes under limits, from the sums that consecutive layers make at all: with
/// ten equal layers of 3 a limit of 11 is one of 9.
class CutCapacity {
 public:
  explicit CutCapacity(const CutLoads& loads);

  /// By group; nothing where some group cannot keep to the limits.
  [[nodiscard]] std::optional<std::vector<std::int64_t>> of_groups(const CutLimits& limits) const;

  /// The next value that a load or a stage may have.
  [[nodiscard]] std::int64_t rounded_up(std::int64_t value) const;

  /// No cut has a smaller largest load than this, nor, with this largest load, a smaller longest stage. Proofs.
  [[nodiscard]] std::int64_t least_load(std::int64_t known) const;
  [[nodiscard]] std::int64_t least_stage(std::int64_t load, std::int64_t known) const;

 private:
  using Sums = std::vector<std::int64_t>;  // ascending; what one stage or one device may take
  /// Which ends of the row lie on a device: they are there in every cut.
  struct Kind {
    bool has_first;
    bool has_last;
    std::uint32_t others;  // stages that are at neither end
    auto operator<=>(const Kind&) const = default;
  };
  [[nodiscard]] Kind kind_of(std::uint32_t group) const;
  /// What a device of a kind may take, none of its stages above a limit.
  struct Reachable {
    std::int64_t load = -1;  ///< sums up to here are known
    Sums sums;
    std::uint32_t left = 0;  ///< stages whose sums were too many to add up
  };
  [[nodiscard]] Reachable reachable(const Kind& kind, std::int64_t load, std::int64_t stage) const;
  [[nodiscard]] std::optional<std::int64_t> most(const Kind& kind, std::int64_t load, std::int64_t stage) const;
  [[nodiscard]] bool holds_all(const CutLimits& limits) const;

  const CutLoads& loads_;
  Sums first_;   // of the first stage
  Sums last_;    // of the last stage
  Sums others_;  // of any other
  std::int64_t unit_ = 1;
  bool others_known_ = true;  // else there are too many sums, and any is thought possible
  mutable std::map<std::pair<Kind, std::int64_t>, Reachable> reachable_;  // by kind and limit of a stage
};

}  // namespace opweave::detail
