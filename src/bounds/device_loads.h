/// Loads that a device can have when groups of tasks go to devices undivided.
#pragma once

#include <cstdint>
#include <vector>

#include "bounds/relaxation.h"

namespace opweave::bounds {

/// Sums of the work of some of the groups. Where the different sums are few they are all known: a device cannot have
/// any load between two of them.
class DeviceLoads {
 public:
  /// One group: its work, and bytes of parameters that a device keeps for it at least.
  struct Part {
    Nanoseconds work = 0;
    std::int64_t bytes = 0;
  };
  /// O(sums x different loads + n log n); sums are given up beyond 10^5.
  explicit DeviceLoads(std::vector<Part> parts);

  [[nodiscard]] Nanoseconds total() const { return total_; }
  /// The largest load that is at most the limit; 0 below 0.
  [[nodiscard]] Nanoseconds most_within(Nanoseconds limit) const;
  /// The largest load below the limit. \pre limit > 0.
  [[nodiscard]] Nanoseconds most_below(Nanoseconds limit) const { return most_within(limit - 1); }
  /// Groups of the same work.
  struct Kind {
    Nanoseconds work;
    std::size_t count;
  };
  /// The most frequent first.
  [[nodiscard]] const std::vector<Kind>& kinds() const { return kinds_; }
  /// False if groups cannot be put on devices that take so much work each. Where all but the most frequent work are
  /// few, that is found out exactly; else what the devices take together is compared. O(devices x states^2).
  /// \param most_with  what a device takes that has, beside groups of the first kind, some of exactly these kinds (bit
  ///   i: kinds()[i + 1]); empty = as much as `most` says
  [[nodiscard]] bool can_be_packed(const std::vector<Nanoseconds>& most,
                                   const std::vector<Nanoseconds>& most_with = {}) const;
  /// Least bytes of parameters of a device with at least this load: groups with the least bytes per work, one of them
  /// in part (the linear relaxation of a covering knapsack).
  [[nodiscard]] std::int64_t bytes_for(Nanoseconds load) const;

 private:
  Nanoseconds total_ = 0;
  std::vector<Part> parts_;        ///< by bytes per work
  std::vector<Nanoseconds> sums_;  ///< ascending; empty if too many
  std::vector<Kind> kinds_;
};

}  // namespace opweave::bounds
