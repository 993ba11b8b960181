#include "opweave/pipeline.h"

namespace opweave {

Cluster uniform_cluster(std::uint32_t count, const std::vector<std::string>& streams, std::optional<Bytes> memory,
                        Duration hop_latency, std::optional<std::int64_t> bandwidth_bytes_per_s) {
  ClusterParts parts;
  parts.name = std::to_string(count) + " equal devices";
  for (std::uint32_t index = 0; index < count; ++index) {
    Device device;
    device.name = "gpu" + std::to_string(index);
    device.memory = memory;
    device.streams = streams;
    parts.devices.push_back(std::move(device));
  }
  Link link;
  link.latency = hop_latency;
  link.bandwidth_bytes_per_s = bandwidth_bytes_per_s;
  parts.default_link = std::move(link);
  return Cluster::create(std::move(parts));
}

}  // namespace opweave
