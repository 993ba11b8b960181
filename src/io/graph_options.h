/// What operators of a version 2 graph have beside those of version 1: their options.
#pragma once

#include <optional>
#include <vector>

#include "io/json_reader.h"
#include "opweave/layout_files.h"

namespace opweave::io {

/// The number of the key "version". \pre JsonDocument::root has looked at it
[[nodiscard]] std::int64_t version_of(const JsonValue& root);

/// Fills a LayoutGraph, operator by operator.
class GraphOptions {
 public:
  GraphOptions(const Cluster& cluster, const Meshes& meshes, LayoutGraph& graph)
      : cluster_(cluster), meshes_(meshes), graph_(graph) {}

  /// What options may speak of, by id.
  struct Named {
    const std::vector<Tensor>& tensors;
    const std::vector<Parameter>& parameters;
  };

  void read_stream(const JsonValue& value) { graph_.movement_stream = value.name(); }
  /// \param op  with everything that version 1 knows
  void read(const JsonValue& value, const Operator& op, const std::optional<JsonValue>& options,
            const std::optional<JsonValue>& choice, const Named& named);

 private:
  void read_option(const JsonValue& value, const Operator& op, const Named& named);
  static void read_layouts(const JsonValue& value, const Operator& op, const std::vector<Tensor>& tensors,
                           LayoutOption& option);
  static void read_parameters(const JsonValue& value, const Operator& op, const std::vector<Parameter>& parameters,
                              LayoutOption& option);
  /// Those of the mesh; the list of devices as the only one goes to `listed`.
  [[nodiscard]] const std::vector<std::vector<DeviceId>>& read_places(const JsonValue& value,
                                                                      const std::optional<JsonValue>& mesh,
                                                                      const std::optional<JsonValue>& devices,
                                                                      std::vector<std::vector<DeviceId>>& listed) const;

  const Cluster& cluster_;
  const Meshes& meshes_;
  LayoutGraph& graph_;
};

/// A list of different devices, ascending.
[[nodiscard]] std::vector<DeviceId> read_device_set(const JsonValue& list, const Cluster& cluster);

}  // namespace opweave::io
