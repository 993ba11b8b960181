/// Plans as JSON values, at the root of a file or within one.
#pragma once

#include "io/json_reader.h"
#include "io/json_writer.h"
#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/plan.h"

namespace opweave::io {

/// \throws InputError unless the value is an object that is a plan of the graph on the cluster
[[nodiscard]] Plan read_plan(const JsonValue& value, const ComputationGraph& graph, const Cluster& cluster);
void write_plan(JsonWriter& json, const Plan& plan, const ComputationGraph& graph, const Cluster& cluster);

}  // namespace opweave::io
