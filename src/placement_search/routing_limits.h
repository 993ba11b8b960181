/// What else decides where a group may go: parameters must fit, and some groups must stay apart.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "placement_search/routing_model.h"

namespace opweave::routing {

/// Parameters that lie on each device under the present options.
class PlacementLimits {
 public:
  /// \pre the options are those of a valid schedule
  PlacementLimits(std::shared_ptr<const Model> model, std::vector<std::uint32_t> options);

  /// The group may change to the option while all others stay. O(devices x (parameters + groups to stay apart from)).
  [[nodiscard]] bool allows(std::uint32_t group, std::uint32_t option) const;
  void move(std::uint32_t group, std::uint32_t option);

 private:
  [[nodiscard]] std::uint32_t& readers(ParameterId parameter, DeviceId device);
  [[nodiscard]] std::uint32_t readers(ParameterId parameter, DeviceId device) const;
  void place(std::uint32_t group);
  void remove(std::uint32_t group);

  std::shared_ptr<const Model> model_;
  std::vector<std::uint32_t> option_;  ///< by group
  std::vector<std::uint32_t>
      readers_;  ///< by parameter and device: groups there that read it; empty without parameters
  std::vector<std::int64_t> persistent_;  ///< by device
};

}  // namespace opweave::routing
