#include "io/formats.h"
#include "io/plan_json.h"
#include "opweave/layout_files.h"

namespace opweave {
namespace {

using io::JsonWriter;
using Set = JsonWriter::Layout;  // how items are set

void write_devices(JsonWriter& json, std::string_view key, const std::vector<DeviceId>& devices,
                   const Cluster& cluster) {
  json.key(key);
  json.open_array(Set::kLine);
  for (const DeviceId device : devices) json.value(cluster.at(device).name);
  json.close_array();
}

void write_movement(JsonWriter& json, const LayoutMovement& movement, const ComputationGraph& graph,
                    const Cluster& cluster) {
  const MovementKey& key = movement.key;
  json.open_object(Set::kLine);
  json.member("kind", to_string(movement.kind));
  json.member("of", to_string(key.moved));
  if (key.moved == Moved::kTensor) {
    json.member("tensor", graph.at(key.tensor).name);
    json.member("layout", to_string(key.layout));
    write_devices(json, "to", key.target, cluster);
  } else {
    json.member("parameter", graph.at(key.parameter).name);
    if (key.op) json.member("operator", graph.at(*key.op).name);
  }
  json.member("microbatch", key.copy);
  write_devices(json, "devices", movement.devices, cluster);
  json.member("start_ns", movement.start.value());
  json.member("end_ns", movement.end.value());
  if (movement.again) json.member("again", true);
  json.close_object();
}

/// As it was made, where no layout and no devices are written.
void write_value(JsonWriter& json, const ValueForm& value, const ComputationGraph& graph, const Cluster& cluster) {
  if (value.moved == Moved::kTensor) {
    json.member("tensor", graph.at(value.tensor).name);
  } else {
    json.member("parameter", graph.at(value.parameter).name);
  }
  if (!value.target.empty()) {
    json.member("layout", to_string(value.layout));
    write_devices(json, "to", value.target, cluster);
  }
  json.member("microbatch", value.copy);
}

void write_modes(JsonWriter& json, const LayoutPlan& plan, const ComputationGraph& graph, const Cluster& cluster) {
  if (plan.modes.empty()) return;
  json.key("memory_modes");
  json.open_array(Set::kBlock);
  for (const FormMode& mode : plan.modes) {
    json.open_object(Set::kLine);
    write_value(json, mode.value, graph, cluster);
    json.member("mode", to_string(mode.mode));
    json.close_object();
  }
  json.close_array();
  json.key("returns");
  json.open_array(Set::kBlock);
  for (const FormReturn& back : plan.returns) {
    json.open_object(Set::kLine);
    json.member("kind", to_string(back.kind));
    if (back.kind == MovementKind::kRecompute) {
      json.member("operator", graph.at(back.op).name);
      json.member("microbatch", back.value.copy);
    } else {
      write_value(json, back.value, graph, cluster);
    }
    write_devices(json, "devices", back.devices, cluster);
    json.member("start_ns", back.start.value());
    json.member("end_ns", back.end.value());
    json.close_object();
  }
  json.close_array();
}

}  // namespace

std::string layout_plan_to_json(const LayoutPlan& plan, const LayoutGraph& graph, const Cluster& cluster) {
  JsonWriter json;
  json.open_object(Set::kBlock);
  json.member("format", io::kPlanFormat);
  json.member("version", io::kPlanVersionWithOptions);
  json.key("options");
  json.open_array(Set::kBlock);
  for (std::size_t i = 0; i < plan.options.size(); ++i) {
    json.open_object(Set::kLine);
    json.member("operator", graph.graph.at(OperatorId(i)).name);
    json.member("option", plan.options[i]);
    json.close_object();
  }
  json.close_array();
  json.key("movements");
  json.open_array(Set::kBlock);
  for (const LayoutMovement& movement : plan.movements) write_movement(json, movement, graph.graph, cluster);
  json.close_array();
  write_modes(json, plan, graph.graph, cluster);
  json.key("plan");  // the rest is a plan like others
  io::write_plan(json, plan.plan, graph.graph, cluster);
  json.close_object();
  return std::move(json).finish();
}

}  // namespace opweave
