/// Which layers hand over to which.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "opweave/pipeline.h"

namespace opweave::detail {

/// Layer `to` takes what layer `from` makes.
struct LayerEdge {
  std::size_t from;
  std::size_t to;
  std::optional<Bytes> own_size;  ///< of a tensor for this edge alone; nothing = the layer's output
};

/// The layers of a pipeline as a graph. Every edge goes from a lower index to a higher one.
class LayerGraph {
 public:
  /// \throws InputError if components are not as PipelineSpec describes them.
  explicit LayerGraph(const PipelineSpec& spec);

  /// Indices of edges(), in the order of their other end.
  [[nodiscard]] const std::vector<std::size_t>& into(std::size_t layer) const { return into_[layer]; }
  [[nodiscard]] const std::vector<std::size_t>& out_of(std::size_t layer) const { return out_of_[layer]; }
  [[nodiscard]] const LayerEdge& edge(std::size_t index) const { return edges_[index]; }
  /// Devices where a layer may run, by index; empty = any.
  [[nodiscard]] const std::vector<std::uint32_t>& devices(std::size_t layer) const { return devices_[layer]; }

 private:
  void add(std::size_t from, std::size_t to, std::optional<Bytes> own_size);

  std::vector<LayerEdge> edges_;
  std::vector<std::vector<std::size_t>> into_;
  std::vector<std::vector<std::size_t>> out_of_;
  std::vector<std::vector<std::uint32_t>> devices_;
};

}  // namespace opweave::detail
