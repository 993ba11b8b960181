#include <fmt/format.h>

#include "io/formats.h"
#include "io/json_reader.h"
#include "io/settings_json.h"
#include "opweave/io.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::optional;
using io::required;

/// More layers than any model has, and few enough that a slip of the keyboard does not exhaust memory.
constexpr std::int64_t kMostLayers = 100'000;

auto duration_into(std::optional<Duration>& target) {
  return [&target](const JsonValue& value) { target = Duration(value.integer()); };
}

LayerOperator read_operator(const JsonValue& value, io::NameIndex& names) {
  LayerOperator op;
  read_object(value, required("name", names.add_into(op.name, "operator")), optional("kind", io::text_into(op.kind)),
              optional("streams", io::names_into(op.streams)), optional("forward_ns", duration_into(op.forward)),
              optional("input_gradient_ns", duration_into(op.input_gradient)),
              optional("weight_gradient_ns", duration_into(op.weight_gradient)));
  if (!op.forward && !op.input_gradient && !op.weight_gradient) {
    value.fail("no forward_ns, input_gradient_ns or weight_gradient_ns, expected at least one");
  }
  return op;
}

/// Appends one layer, or `repeat` copies of it named "<name>.<number>".
void read_layers(const JsonValue& value, io::NameIndex& names, std::vector<Layer>& layers) {
  Layer layer;
  std::int64_t repeat = 0;  // 0 = one layer, under its own name
  const auto read_operators = [&layer](const JsonValue& list) {
    io::NameIndex operator_names;
    list.each([&](const JsonValue& item) { layer.operators.push_back(read_operator(item, operator_names)); });
  };
  const auto read_repeat = [&](const JsonValue& count) {
    repeat = count.integer(1, kMostLayers - static_cast<std::int64_t>(layers.size()));
  };
  read_object(value, required("name", names.add_into(layer.name, "layer")), optional("repeat", read_repeat),
              required("operators", read_operators), optional("weights_bytes", io::amount_into(layer.weights)),
              optional("activation_bytes", io::amount_into(layer.activation)),
              optional("activation_until_input_gradient_bytes", io::amount_into(layer.activation_until_input_gradient)),
              optional("weight_gradient_input_bytes", io::amount_into(layer.weight_gradient_input)),
              optional("output_bytes", io::amount_into(layer.output)));
  if (layer.operators.empty()) value.fail("no operators, expected at least 1");
  if (repeat == 0) {
    layers.push_back(std::move(layer));
    return;
  }
  const std::string name = layer.name;
  for (std::int64_t i = 0; i < repeat; ++i) {
    layer.name = fmt::format("{}.{}", name, i);
    layers.push_back(layer);
  }
}

}  // namespace

PipelineSpec parse_pipeline_spec(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  PipelineSpec spec;
  io::NameIndex names;
  const auto skip = [](const JsonValue&) {};
  const auto read_source = [](const JsonValue& value) { (void)value.text(); };  // for people
  read_object(document.root(io::kPipelineFormat, io::kFormatVersion), required("format", skip),
              required("version", skip), optional("name", io::text_into(spec.name)), optional("source", read_source),
              optional("training", [&](const JsonValue& value) { spec.training = io::read_training(value); }),
              required("layers", [&](const JsonValue& list) {
                list.each([&](const JsonValue& item) { read_layers(item, names, spec.layers); });
                if (spec.layers.empty()) list.fail("no layers, expected at least 1");
              }));
  return spec;
}

}  // namespace opweave
