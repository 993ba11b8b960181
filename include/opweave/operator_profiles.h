/// Operators of a transformer measured one by one ("Aceso", Liu et al., EuroSys 2024), cut into the stages of a
/// pipeline under the cost model of those who measured them.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "opweave/budget.h"

namespace opweave {

/// What one operator takes: milliseconds and MB (2^20 bytes) as double, as published.
struct OperatorProfile {
  std::string name;
  double forward_ms = 0;
  double backward_ms = 0;
  double input_mb = 0;
  double output_mb = 0;
  double weights_mb = 0;
  double activations_mb = 0;
  double forward_reserved_mb = 0;
  double backward_reserved_mb = 0;
};

/// One table: sequences of a microbatch, tensor degree, algorithm (0 or 1: which dimension is split first).
struct ProfileKey {
  std::uint32_t sequences = 1;
  std::uint32_t tensor = 1;
  std::uint32_t algorithm = 0;
  auto operator<=>(const ProfileKey&) const = default;
};
struct OperatorProfiles {
  std::map<ProfileKey, std::vector<OperatorProfile>> tables;  ///< of the same operators in the same order
  std::size_t head = 1;                                       ///< operators before the layers
  std::size_t layer = 13;                                     ///< operators of a layer; those after it end the model
  std::uint32_t layers = 1;
  std::vector<double> node_gb_per_s;    ///< between devices of a node, by power of two of MB
  std::vector<double> fabric_gb_per_s;  ///< between nodes

  [[nodiscard]] std::size_t operators() const;
  /// Place of the model's i-th operator in a table.
  [[nodiscard]] std::size_t row(std::size_t i) const;
};

struct ProfileTask {
  std::uint32_t devices = 1;
  std::uint32_t devices_per_node = 8;
  std::uint32_t batch = 1024;  ///< sequences of an iteration
  double memory_mb = 28000;
};

struct ProfiledStage {
  std::size_t begin = 0;  ///< operators of the model
  std::size_t end = 0;
  std::uint32_t tensor = 1;
  std::uint32_t data = 1;
  std::vector<bool> made_again;  ///< by operator of the stage
  double ms = 0;                 ///< of one microbatch
  double memory_mb = 0;
};

struct ProfiledAnswer {
  std::uint32_t sequences = 0;  ///< of one microbatch, over all data-parallel copies of a stage
  std::vector<ProfiledStage> stages;
  double value_ms = std::numeric_limits<double>::infinity();  ///< of an iteration
  double bound_ms = 0;  ///< no stages take less, even if every operator has degrees and an algorithm of its own
};

/// One published table. \throws InputError naming line and value
[[nodiscard]] std::vector<OperatorProfile> parse_operator_profiles(std::string_view csv, const std::string& source);
/// A table of bandwidths: the line below the headings. \throws InputError
[[nodiscard]] std::vector<double> parse_bandwidths(std::string_view csv, const std::string& source);

/// Time and memory of the stages, in place, and the iteration's milliseconds; infinite if they are not allowed. Written
/// from the model alone (docs/stages.md), for whoever doubts `cut_profiled`.
[[nodiscard]] double value_profiled(const OperatorProfiles& profiles, const ProfileTask& task, std::uint32_t sequences,
                                    std::vector<ProfiledStage>& stages);

/// Stages of one tensor and data degree each, with operators made again chosen one by one. Stops with what it has when
/// the budget ends.
[[nodiscard]] ProfiledAnswer cut_profiled(const OperatorProfiles& profiles, const ProfileTask& task,
                                          const Budget& budget = {});

}  // namespace opweave
