/// Files of graphs whose operators have options, and of plans that choose among them (docs/formats.md).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/layout_graph.h"

namespace opweave {

/// The sets of devices that a name of the cluster file stands for: one, or all that fit a pattern; each ascending.
using Meshes = std::map<std::string, std::vector<std::vector<DeviceId>>, std::less<>>;

// `source` names the text in errors. All throw InputError.
/// The key "meshes" of a cluster file.
[[nodiscard]] Meshes parse_meshes(std::string_view json, const std::string& source, const Cluster& cluster);
/// Whether a graph file says that it is of the version whose operators have options. Reads no further than to where it
/// says so: what is wrong with the file is for the reader of that version to find.
[[nodiscard]] bool has_layout_options(std::string_view json);
[[nodiscard]] LayoutGraph parse_layout_graph(std::string_view json, const std::string& source, const Cluster& cluster,
                                             const Meshes& meshes);

[[nodiscard]] LayoutPlan parse_layout_plan(std::string_view json, const std::string& source, const LayoutGraph& graph,
                                           const Cluster& cluster);
[[nodiscard]] std::string layout_plan_to_json(const LayoutPlan& plan, const LayoutGraph& graph, const Cluster& cluster);

}  // namespace opweave
