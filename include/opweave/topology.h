/// Clusters from what a machine says about its links.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "opweave/cluster.h"

namespace opweave {

/// What a description leaves open, or a user knows better.
struct TopologyOptions {
  std::optional<std::int64_t> nvlink_bytes_per_s;  ///< of one NVLink in one direction
  std::optional<std::int64_t> pcie_bytes_per_s;    ///< of a device's PCIe slot and of a PCIe switch
  std::optional<std::int64_t> socket_bytes_per_s;  ///< between two processors
  std::optional<Bytes> memory;                     ///< of each device
};

/// Whether a text begins like the XML of NCCL or like the matrix of `nvidia-smi topo -m`.
[[nodiscard]] bool is_topology(std::string_view text);

/// The GPUs of a machine with their NVLinks, PCIe switches and processors, from either. Devices are "gpu0", "gpu1", ...
/// with streams "compute" and "comm"; bandwidths and latencies that the text does not state are NCCL's own
/// assumptions (docs/topology.md). \throws InputError for a text that is neither, or contradicts itself
[[nodiscard]] Cluster parse_topology(std::string_view text, const std::string& source,
                                     const TopologyOptions& options = {});

}  // namespace opweave
