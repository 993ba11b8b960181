/// What no stages of profiled operators take less than.
#pragma once

#include <optional>

#include "opweave/operator_profiles.h"

namespace opweave::strategy {

/// Lower bounds on single stages for one number of sequences per microbatch. Every operator has the degrees, the
/// algorithm and the memory that suit it best under a price for memory (Lagrange), and nothing is paid for changes of
/// layout between operators (docs/stages.md).
class ProfiledBound {
 public:
  ProfiledBound(const OperatorProfiles& profiles, const ProfileTask& task, std::uint32_t sequences);

  /// Numbers of devices that a stage may have.
  [[nodiscard]] const std::vector<std::uint32_t>& sizes() const { return sizes_; }
  /// Milliseconds of operators begin to end on the `size`-th number of devices with so many stages behind.
  [[nodiscard]] double stage(std::size_t begin, std::size_t end, std::size_t size, std::size_t behind) const {
    return stage_[((behind * sizes_.size() + size) * (count_ + 1) + begin) * (count_ + 1) + end];
  }
  /// The longest stage of any stages for all operators is at least this; infinite if there are none.
  [[nodiscard]] double longest() const;
  /// Fewest devices for the operators from `begin` on with exactly so many stages behind the first of them, none longer
  /// than `limit`; by behind, then begin.
  [[nodiscard]] std::vector<std::vector<std::uint32_t>> devices_from(double limit) const;
  /// Fewest devices for the operators before `begin`, if the stage that begins there has so many behind it.
  [[nodiscard]] std::vector<std::vector<std::uint32_t>> devices_before(double limit) const;
  /// The sum of the stages of any stages for all operators is at least this.
  [[nodiscard]] double sum() const;

  static constexpr std::uint32_t kNever = 1U << 30U;

 private:
  struct Totals;
  void add_stages(std::size_t size, std::size_t behind);

  const OperatorProfiles& profiles_;
  const ProfileTask& task_;
  std::uint32_t sequences_;
  std::size_t count_;
  std::vector<std::uint32_t> sizes_;
  std::vector<double> stage_;
};

}  // namespace opweave::strategy
