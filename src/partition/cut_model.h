/// The placement program with serial devices: what a device does is its work plus the transfers that it takes part in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace opweave::partition {

/// A set of operators that share a device.
using Vertex = std::uint32_t;

/// Devices that are alike.
struct DeviceKind {
  std::uint32_t count = 0;
  bool pays_transfers = true;                                 ///< nets that it cuts add to its load
  double capacity = std::numeric_limits<double>::infinity();  ///< bytes
  std::vector<double> work;                                   ///< by vertex; infinite where it may not run
};

/// What one operator sends: whoever holds some but not all of its pins takes part in the transfer.
struct Net {
  std::vector<Vertex> pins;  ///< producer and readers; ascending, distinct, at least two
  double cost = 0;
};

/// Vertices on devices. The load of a device that holds the set S is the work of S on it, plus, if its kind pays, the
/// cost of every net with a pin in S and a pin outside. Times are in any one unit.
struct CutModel {
  std::vector<DeviceKind> kinds;  ///< their devices are numbered kind after kind
  std::vector<double> bytes;      ///< by vertex
  std::vector<Net> nets;          ///< no two have the same pins
  /// Pairs (a, b): where devices are to be lined up, a's device is b's or comes before it. May have circles.
  std::vector<std::pair<Vertex, Vertex>> precedence;

  [[nodiscard]] std::size_t vertex_count() const { return bytes.size(); }
  [[nodiscard]] std::size_t device_count() const;
  [[nodiscard]] const DeviceKind& kind_of(std::size_t device) const;
  /// Index of the first device of a kind.
  [[nodiscard]] std::size_t first_device(std::size_t kind) const;
  /// For each vertex the nets that it is a pin of.
  [[nodiscard]] std::vector<std::vector<std::uint32_t>> nets_of_vertices() const;
};

/// Device of each vertex.
using Assignment = std::vector<std::uint32_t>;

/// Load of each device.
[[nodiscard]] std::vector<double> loads(const CutModel& model, const Assignment& assignment);
/// Largest load; infinite if a vertex may not run where it is or if a device holds too many bytes.
[[nodiscard]] double largest_load(const CutModel& model, const Assignment& assignment);

/// A model with vertices merged, and the way back.
struct Contraction {
  CutModel model;
  std::vector<Vertex> vertex_of;  ///< by vertex of the original

  [[nodiscard]] Assignment expand(const Assignment& assignment) const;
};

/// Merges the vertices of equal label. O(pins log pins).
[[nodiscard]] Contraction merge(const CutModel& model, const std::vector<std::uint32_t>& label);

/// Merges vertices that precede each other in a circle: devices that are lined up cannot tell them apart.
[[nodiscard]] Contraction merge_circles(const CutModel& model);

/// Merges vertices that some best assignment with a load below `limit` keeps together (docs/partition.md): pins of nets
/// that no device can pay, vertices without work next to a net that is not cheaper than what merging may add. Neither
/// the least load below the limit nor the possibility to line the devices up changes. \pre the precedence has no
/// circle.
[[nodiscard]] Contraction contract(const CutModel& model, double limit);

}  // namespace opweave::partition
