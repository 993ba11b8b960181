/// The fastest stage of given operators on given devices: degrees, and what is made again.
#pragma once

#include <map>
#include <optional>
#include <tuple>

#include "opweave/operator_profiles.h"

namespace opweave::strategy {

class ProfiledStages {
 public:
  ProfiledStages(const OperatorProfiles& profiles, const ProfileTask& task, std::uint32_t sequences)
      : profiles_(profiles), task_(task), sequences_(sequences) {}

  /// Its `ms` is infinite if none fits. Remembers what was asked.
  const ProfiledStage& fastest(std::size_t begin, std::size_t end, std::uint32_t devices, std::size_t behind);

 private:
  /// Operators of one layer that are made again, of which no others are better in all that follows.
  struct Again {
    std::uint32_t mask = 0;
    double ms = 0;
    double saved_mb = 0;
    double peak_mb = 0;
  };
  using Part = std::tuple<ProfileKey, std::size_t, std::size_t>;

  [[nodiscard]] ProfiledStage with_degrees(std::size_t begin, std::size_t end, const ProfileKey& key,
                                           std::uint32_t data, std::size_t behind);
  /// Of the rows `first` to `last` of a layer.
  const std::vector<Again>& choices(const ProfileKey& key, std::size_t first, std::size_t last);

  const OperatorProfiles& profiles_;
  const ProfileTask& task_;
  std::uint32_t sequences_;
  std::map<Part, std::vector<Again>> choices_;
  std::map<std::tuple<std::size_t, std::size_t, std::uint32_t, std::size_t>, ProfiledStage> stages_;
};

}  // namespace opweave::strategy
