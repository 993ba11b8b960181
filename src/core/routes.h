/// Routes over the links of a cluster, found when they are asked for.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "opweave/cluster.h"

namespace opweave::detail {

/// The best route between any two devices: least latency, then fewest links, then, read from its beginning, the links
/// named first. Kept as one tree of routes per vertex where routes may begin, made the first time that one does; a
/// device with a single link begins where that link leads. Safe to use from several threads.
class Routes {
 public:
  /// \throws InputError where all trees together would take more memory than a planner should
  explicit Routes(const ClusterParts& parts);

  struct Figures {
    Duration latency;
    std::int64_t bandwidth = 0;  ///< of the slowest link; 0 = infinite
  };
  /// Nothing where no chain of links joins the two, which must differ.
  [[nodiscard]] std::optional<Figures> figures(DeviceId from, DeviceId to) const;
  /// Devices that stand for all: where several have a link alike to the same place, the first two of them.
  [[nodiscard]] std::vector<DeviceId> two_of_each_kind() const;
  /// The links of a route that exists, in their order.
  [[nodiscard]] std::vector<Hop> hops(DeviceId from, DeviceId to) const;

 private:
  using Vertex = std::uint32_t;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  /// How the route to a vertex ends.
  struct Step {
    std::int64_t latency = 0;
    std::uint32_t slowest = kNone;  ///< link with the least bandwidth so far; none = infinite
    std::uint32_t last = kNone;     ///< 2 x link, + 1 backward; none = no route, or the beginning
  };
  using Tree = std::vector<Step>;

  struct Edge {
    Vertex to;
    std::uint32_t hop;  ///< 2 x link, + 1 backward
  };

  /// Where the routes of a device begin and end among the vertices of the trees.
  struct Door {
    Vertex vertex = 0;
    std::uint32_t hop = kNone;  ///< the single link of the device, on its way out; none = the device is the vertex
  };

  [[nodiscard]] const Tree& tree(Vertex source) const;
  [[nodiscard]] Tree grow(Vertex source) const;
  [[nodiscard]] std::uint32_t slower(std::uint32_t a, std::uint32_t b) const;
  [[nodiscard]] std::int64_t latency_of(std::uint32_t hop) const { return latency_[hop / 2]; }
  [[nodiscard]] static Hop hop_of(std::uint32_t hop) { return {LinkId(hop / 2), hop % 2 == 0}; }

  std::vector<std::int64_t> latency_;    ///< by link
  std::vector<std::int64_t> bandwidth_;  ///< by link; 0 = infinite
  std::vector<Vertex> from_;             ///< by hop: the vertex where it begins
  std::vector<Door> doors_;              ///< by device
  std::vector<std::vector<Edge>> edges_;

  mutable std::mutex growing_;
  mutable std::vector<std::unique_ptr<const Tree>> grown_;
  mutable std::vector<std::atomic<const Tree*>> trees_;  ///< by source; null = not asked for yet
};

}  // namespace opweave::detail
