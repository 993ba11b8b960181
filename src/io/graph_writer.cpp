#include "io/formats.h"
#include "io/json_writer.h"
#include "io/settings_json.h"
#include "opweave/io.h"

namespace opweave {
namespace {

using io::JsonWriter;
using Layout = io::JsonWriter::Layout;

void write_rest(JsonWriter&, const Parameter&) {}
void write_rest(JsonWriter& json, const Tensor& tensor) {
  if (tensor.memory_modes) io::write_memory_modes(json, *tensor.memory_modes);
}

/// Things with a name and a size, one per line; nothing if there are none.
template <class Item, class Size>
void write_sized(JsonWriter& json, std::string_view key, const std::vector<Item>& items, Size size_of) {
  if (items.empty()) return;
  json.key(key);
  json.open_array(Layout::kBlock);
  for (const Item& item : items) {
    json.open_object(Layout::kLine);
    json.member("name", item.name);
    json.member("bytes", size_of(item).value());
    write_rest(json, item);
    json.close_object();
  }
  json.close_array();
}

class OperatorWriter {
 public:
  OperatorWriter(JsonWriter& json, const ComputationGraph& graph) : json_(json), graph_(graph) {}

  void write(const Operator& op) {
    json_.open_object(Layout::kLine);
    json_.member("name", op.name);
    write_text("kind", op.kind, defaults_.kind);
    write_text("phase", to_string(op.phase), "");
    if (op.streams != defaults_.streams) json_.list("streams", op.streams);
    write_durations(op.durations);
    if (op.flops) json_.member("flops", *op.flops);
    if (op.bytes_accessed) json_.member("bytes_accessed", *op.bytes_accessed);
    write_text("dtype", op.dtype, defaults_.dtype);
    write_references("inputs", op.inputs);
    write_references("outputs", op.outputs);
    write_references("parameters", op.parameters);
    write_references("after", op.after);
    if (op.workspace != Bytes()) json_.member("workspace_bytes", op.workspace.value());
    write_devices(op.devices);
    write_modes(op.modes);
    write_text("colocation", op.colocation, defaults_.colocation);
    if (!op.anti_colocation.empty()) json_.list("anti_colocation", op.anti_colocation);
    if (op.stage) json_.member("stage", std::uint64_t{op.stage->index()});
    write_text("layer", op.layer, defaults_.layer);
    write_text("unit", op.unit, defaults_.unit);
    json_.close_object();
  }

 private:
  void write_text(std::string_view key, std::string_view text, std::string_view default_text) {
    if (text != default_text) json_.member(key, text);
  }

  void write_durations(const std::vector<MeasuredDuration>& durations) {
    if (durations.empty()) return;
    json_.key("duration_ns");
    if (durations.size() == 1 && durations.front().device_type.empty()) {
      json_.value(durations.front().duration.value());
      return;
    }
    json_.open_object(Layout::kLine);
    for (const MeasuredDuration& measured : durations) json_.member(measured.device_type, measured.duration.value());
    json_.close_object();
  }

  template <class IdType>
  void write_references(std::string_view key, const std::vector<IdType>& ids) {
    if (ids.empty()) return;
    json_.key(key);
    json_.open_array(Layout::kLine);
    for (const IdType id : ids) json_.value(graph_.at(id).name);
    json_.close_array();
  }

  void write_devices(const std::vector<std::vector<std::string>>& devices) {
    if (devices.empty()) return;
    json_.key("devices");
    if (devices.size() == 1 && !devices.front().empty()) {
      json_.line(devices.front());
      return;
    }
    json_.open_array(Layout::kLine);
    for (const std::vector<std::string>& list : devices) json_.line(list);
    json_.close_array();
  }

  void write_modes(const std::vector<ModeSpec>& modes) {
    if (modes.empty()) return;
    json_.key("modes");
    json_.open_array(Layout::kLine);
    for (const ModeSpec& mode : modes) {
      json_.open_object(Layout::kLine);
      json_.list("devices", mode.devices);
      json_.member("duration_ns", mode.duration.value());
      if (mode.workspace != Bytes()) json_.member("workspace_bytes", mode.workspace.value());
      json_.close_object();
    }
    json_.close_array();
  }

  JsonWriter& json_;
  const ComputationGraph& graph_;
  const Operator defaults_;
};

}  // namespace

std::string graph_to_json(const ComputationGraph& graph) {
  JsonWriter json;
  json.open_object(Layout::kBlock);
  json.member("format", io::kGraphFormat);
  json.member("version", io::kFormatVersion);
  if (!graph.name().empty()) json.member("name", graph.name());
  io::write_training(json, graph.training());
  write_sized(json, "parameters", graph.parameters(), [](const Parameter& parameter) { return parameter.weights; });
  write_sized(json, "tensors", graph.tensors(), [](const Tensor& tensor) { return tensor.size; });
  json.key("operators");
  json.open_array(Layout::kBlock);
  OperatorWriter operators(json, graph);
  for (const Operator& op : graph.operators()) operators.write(op);
  json.close_array();
  json.close_object();
  return std::move(json).finish();
}

}  // namespace opweave
