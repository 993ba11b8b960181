/// One microbatch of a training step, as the search for placements looks at it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "list_scheduling/in_flight_limit.h"
#include "opweave/problem.h"
#include "placement/placement_bundles.h"

namespace opweave {

/// What does not change while bundles move between devices: operators of one microbatch of each replica, their times on
/// every device, what they hand on, and the memory that it takes. Built once; safe to read from threads.
class StepModel {
 public:
  /// Device of a bundle that may not move: it lies on a gang, or its groups lie apart.
  static constexpr std::size_t kStays = SIZE_MAX;
  /// What must not be entered, or takes forever.
  static constexpr std::int64_t kNever = INT64_MAX;
  static constexpr std::uint32_t kNothing = UINT32_MAX;

  /// A step that must end before another begins, and what it hands over.
  struct Before {
    std::uint32_t step = 0;
    std::uint32_t size = kNothing;  ///< class of the largest value, whose transfer takes transfer_time(); or none
  };
  /// What is held from its maker to the last of its users on each device.
  struct Held {
    std::int64_t bytes = 0;
    std::uint32_t maker = kNothing;  ///< none: an input of the graph
    std::vector<std::uint32_t> users;
  };
  /// An operator of one microbatch.
  struct Step {
    OperatorId op;
    std::size_t bundle = 0;
    std::uint32_t streams = 0;
    Phase phase = Phase::kNone;
    std::int64_t workspace = 0;
    std::vector<Before> before;
    std::vector<std::int64_t> durations;  ///< by device; kNever where it may not run
    std::vector<std::size_t> fixed_on;    ///< devices, where its bundle stays
    std::int64_t fixed_duration = 0;
  };
  struct Replica {
    std::vector<Step> steps;  ///< in topological order
    std::vector<Held> held;
    std::uint32_t microbatches = 0;
    std::vector<std::uint32_t> gates;  ///< by kLimitProgress: the step that has come so far
  };
  /// What lies on one device together: a group, or all copies of an operator that nothing binds.
  struct Bundle {
    std::vector<GroupId> groups;
    std::size_t replica = 0;
    bool follows = false;  ///< the bundle before it is of the same replica
    std::vector<ParameterId> parameters;
    std::vector<std::size_t> apart_from;  ///< bundles that may not share its device
  };

  /// \param modes  a valid mode per task: where the bundles lie that stay
  StepModel(const Problem& problem, const std::vector<ModeIndex>& modes);

  [[nodiscard]] std::size_t devices() const { return devices_; }
  [[nodiscard]] std::size_t streams() const { return streams_; }
  [[nodiscard]] std::uint32_t microbatches() const { return microbatches_; }
  [[nodiscard]] const std::vector<Replica>& replicas() const { return replicas_; }
  [[nodiscard]] const std::vector<Bundle>& bundles() const { return bundles_; }
  [[nodiscard]] const std::vector<std::size_t>& movable() const { return movable_; }
  /// Device of each bundle in the placement that it was built with.
  [[nodiscard]] const std::vector<std::size_t>& first_home() const { return first_home_; }
  /// Device of each bundle in any placement. \return false if a bundle that may move does not
  /// lie on one device together
  [[nodiscard]] bool home_of(const std::vector<ModeIndex>& modes, std::vector<std::size_t>& home) const;
  [[nodiscard]] bool may_run(std::size_t bundle, std::size_t device) const {
    return work_[(bundle * devices_ + device) * streams_] != kNever;
  }
  /// Work of all microbatches of a bundle on a stream of a device. \pre may_run()
  [[nodiscard]] std::int64_t work(std::size_t bundle, std::size_t device, std::size_t stream) const {
    return work_[(bundle * devices_ + device) * streams_ + stream];
  }
  /// The same on the busiest stream.
  [[nodiscard]] std::int64_t work(std::size_t bundle, std::size_t device) const;
  /// Work of all microbatches by device and stream.
  [[nodiscard]] std::vector<std::int64_t> loads(const std::vector<std::size_t>& home) const;
  /// What is left of each device's memory beside the parameters; nothing if they do not fit, or bundles that must lie
  /// apart do not.
  [[nodiscard]] bool room(const std::vector<std::size_t>& home, std::vector<std::int64_t>& free) const;
  [[nodiscard]] std::int64_t transfer_time(std::uint32_t size, std::size_t from, std::size_t to) const {
    return size == kNothing ? 0 : transfers_[(size * devices_ + from) * devices_ + to];
  }
  /// No two devices differ in type or memory.
  [[nodiscard]] bool devices_are_alike() const { return devices_are_alike_; }
  /// The placement like it that uses devices which may change their names in their order.
  [[nodiscard]] std::vector<std::size_t> canonical(const std::vector<std::size_t>& home) const;
  /// Modes of all tasks; nothing if parameters do not fit or groups must be apart.
  [[nodiscard]] std::optional<std::vector<ModeIndex>> modes(const std::vector<std::size_t>& home) const;

 private:
  void find_bundles();
  [[nodiscard]] bool are_interchangeable(std::size_t a, std::size_t b) const;
  void find_kinds();
  void measure_bundle(std::size_t bundle);
  void add_replica(std::uint32_t replica);
  void add_held(Replica& replica, std::uint32_t copy, const std::vector<std::uint32_t>& position);
  [[nodiscard]] std::uint32_t size_class(ValueId value);

  const Problem& problem_;
  std::size_t devices_;
  std::size_t streams_;
  std::uint32_t microbatches_;
  std::vector<ModeIndex> first_modes_;
  std::vector<Bundle> bundles_;
  std::vector<std::size_t> movable_;
  std::vector<std::size_t> first_home_;
  std::vector<std::size_t> bundle_of_group_;
  std::vector<std::int64_t> work_;  ///< by bundle, device, stream
  std::vector<std::int64_t> fixed_load_;
  std::vector<std::int64_t> capacity_;
  std::vector<Replica> replicas_;
  std::vector<std::pair<std::int64_t, std::uint32_t>> sizes_;  ///< bytes and class
  std::vector<std::int64_t> transfers_;                        ///< by class, from, to
  bool devices_are_alike_ = true;
  std::vector<std::vector<std::size_t>> kinds_;  ///< devices that may change their names, in their order
  std::vector<std::size_t> kind_of_;             ///< by device
};

}  // namespace opweave
