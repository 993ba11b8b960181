/// Sets of devices by number.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "opweave/layouts.h"

namespace opweave {

/// The gangs of a problem, with the numbers that they have there, and those that movements between them are on.
class Gangs {
 public:
  explicit Gangs(const LayoutProblem& problem);

  [[nodiscard]] std::size_t count() const { return sets_.size(); }
  /// Its devices, ascending.
  [[nodiscard]] const std::vector<DeviceId>& at(std::uint32_t gang) const { return sets_[gang]; }
  /// The devices of both.
  [[nodiscard]] std::uint32_t united(std::uint32_t a, std::uint32_t b);

 private:
  std::vector<std::vector<DeviceId>> sets_;
  std::map<std::vector<DeviceId>, std::uint32_t> number_;
  std::unordered_map<std::uint64_t, std::uint32_t> united_;
};

}  // namespace opweave
