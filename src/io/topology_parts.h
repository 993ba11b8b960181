/// What the readers of both descriptions of machines build.
#pragma once

#include <fmt/format.h>

#include <set>
#include <string>
#include <utility>

#include "io/message.h"
#include "opweave/topology.h"

namespace opweave::io {

/// A cluster under construction.
class TopologyParts {
 public:
  explicit TopologyParts(std::string name) { parts_.name = std::move(name); }

  void add_device(const std::string& name, const std::string& type, const TopologyOptions& options) {
    Device device;
    device.name = name;
    device.type = type;
    device.memory = options.memory;
    device.streams = {"compute", "comm"};
    parts_.devices.push_back(std::move(device));
    if (!type.empty() && types_.insert(type).second) parts_.types.push_back({type, {}, std::nullopt});
  }
  void add_switch(const std::string& name) { parts_.switches.push_back(name); }
  void add_link(const std::string& a, const std::string& b, Duration latency, std::int64_t bytes_per_s,
                const std::string& kind = {}) {
    Link link;
    link.name = fmt::format("{}-{}{}{}", a, b, kind.empty() ? "" : " ", kind);
    link.a = a;
    link.b = b;
    link.latency = latency;
    link.bandwidth_bytes_per_s = bytes_per_s;
    parts_.links.push_back(std::move(link));
  }
  [[nodiscard]] Cluster cluster(const std::string& source) {
    return naming_source(source, [&] { return Cluster::create(std::move(parts_)); });
  }

 private:
  ClusterParts parts_;
  std::set<std::string> types_;
};

[[nodiscard]] Cluster parse_nccl_topology(std::string_view text, const std::string& source,
                                          const TopologyOptions& options);
[[nodiscard]] Cluster parse_topology_matrix(std::string_view text, const std::string& source,
                                            const TopologyOptions& options);
/// The first lines of `nvidia-smi topo -m`: a line of columns that begins with GPUs, a row "GPU...".
[[nodiscard]] bool is_topology_matrix(std::string_view text);

}  // namespace opweave::io
