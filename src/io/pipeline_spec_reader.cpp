#include <fmt/format.h>

#include <set>

#include "io/formats.h"
#include "io/json_reader.h"
#include "io/settings_json.h"
#include "opweave/io.h"
#include "training/overlapped_pair.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::optional;
using io::required;

/// More layers than any model has, and few enough that a slip of the keyboard does not exhaust memory.
constexpr std::int64_t kMostLayers = 100'000;

auto time_into(std::optional<LayerTime>& target) {
  return [&target](const JsonValue& value) { target = LayerTime(io::read_durations(value)); };
}

LayerOperator read_operator(const JsonValue& value, io::NameIndex& names) {
  LayerOperator op;
  read_object(value, required("name", names.add_into(op.name, "operator")), optional("kind", io::text_into(op.kind)),
              optional("streams", io::names_into(op.streams)), optional("forward_ns", time_into(op.forward)),
              optional("input_gradient_ns", time_into(op.input_gradient)),
              optional("weight_gradient_ns", time_into(op.weight_gradient)));
  if (!op.forward && !op.input_gradient && !op.weight_gradient) {
    value.fail("no forward_ns, input_gradient_ns or weight_gradient_ns, expected at least one");
  }
  return op;
}

/// The layer with the overlap that was measured for a pair of its forward and its backward.
void hide_forward(const JsonValue& pair, Layer& layer) {
  const LayerOperator& op = layer.operators.front();
  if (layer.operators.size() != 1 || !op.forward || (!op.input_gradient && !op.weight_gradient)) {
    pair.fail(
        "is for a layer of one operator with a forward and a backward: several operators overlap by their streams");
  }
  for (const auto& time : {op.forward, op.input_gradient, op.weight_gradient}) {
    const bool has_types = time && (time->durations.size() > 1 || !time->durations.front().device_type.empty());
    if (has_types) pair.fail("is for a layer whose times are the same on every type of device");
  }
  const detail::PairRange range = detail::pair_range(layer);
  detail::hide_forward(layer, Duration(pair.integer(range.shortest.value(), range.longest.value())));
}

/// Appends one layer, or `repeat` copies of it named "<name>.<number>"; `prefix` goes before the names.
void read_layers(const JsonValue& value, const std::string& prefix, io::NameIndex& names, std::vector<Layer>& layers) {
  Layer layer;
  std::optional<JsonValue> pair;
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
              optional("output_bytes", io::amount_into(layer.output)), optional("overlapped_pair_ns", io::keep(pair)));
  if (layer.operators.empty()) value.fail("no operators, expected at least 1");
  if (pair) hide_forward(*pair, layer);
  layer.name = prefix + layer.name;
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

void read_chain(const JsonValue& list, const std::string& prefix, std::vector<Layer>& layers) {
  io::NameIndex names;
  const std::size_t before = layers.size();
  list.each([&](const JsonValue& item) { read_layers(item, prefix, names, layers); });
  if (layers.size() == before) list.fail("no layers, expected at least 1");
}

ComponentInput read_input(const JsonValue& value, const io::NameIndex& components, std::vector<bool>& taken) {
  ComponentInput input;
  const auto read_giver = [&](const JsonValue& name) {
    input.component = components.resolve(name, "an earlier component");
    if (taken[input.component]) name.reject("a component that is not an input already");
    taken[input.component] = true;
  };
  read_object(value, required("component", read_giver),
              optional("bytes", [&](const JsonValue& bytes) { input.size = Bytes(bytes.integer()); }));
  return input;
}

/// `components` has the names of those read so far; the layers of this one are appended to `layers`.
Component read_component(const JsonValue& value, io::NameIndex& components, std::vector<Component>& list,
                         std::vector<Layer>& layers) {
  Component component;
  std::optional<JsonValue> name;
  std::optional<JsonValue> chain;
  std::vector<bool> taken(list.size(), false);
  const auto read_inputs = [&](const JsonValue& inputs) {
    inputs.each([&](const JsonValue& item) { component.inputs.push_back(read_input(item, components, taken)); });
  };
  const auto read_devices = [&](const JsonValue& devices) {
    std::set<std::uint32_t> seen;
    devices.each([&](const JsonValue& item) {
      component.devices.push_back(item.index());
      if (!seen.insert(component.devices.back()).second) item.reject("a device that is not in the list already");
    });
    if (component.devices.empty()) devices.fail("no devices, expected at least 1");
  };
  // The name is added last: a component is no input of itself.
  read_object(value, required("name", io::keep(name)), optional("inputs", read_inputs),
              optional("devices", read_devices), required("layers", io::keep(chain)));
  components.add(*name, "component");
  component.name = name->text();
  const std::size_t before = layers.size();
  read_chain(*chain, component.name + ".", layers);
  component.layers = static_cast<std::uint32_t>(layers.size() - before);
  return component;
}

MicrobatchScale read_scale(const JsonValue& value) {
  constexpr double kMost = 1000;
  MicrobatchScale scale;
  const auto factor_into = [&](double& target) {
    return [&target](const JsonValue& factor) { target = factor.number(0, kMost); };
  };
  read_object(value, optional("duration", factor_into(scale.duration)), optional("bytes", factor_into(scale.bytes)));
  return scale;
}

}  // namespace

PipelineSpec parse_pipeline_spec(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  const JsonValue root = document.root(io::kPipelineFormat, io::kFormatVersion);
  PipelineSpec spec;
  bool has_chain = false;
  const auto skip = [](const JsonValue&) {};
  const auto read_source = [](const JsonValue& value) { (void)value.text(); };  // for people
  const auto read_layer_list = [&](const JsonValue& list) {
    if (!spec.components.empty()) list.fail("layers and components are given, expected one of them");
    read_chain(list, "", spec.layers);
    has_chain = true;
  };
  const auto read_components = [&](const JsonValue& list) {
    if (has_chain) list.fail("layers and components are given, expected one of them");
    io::NameIndex names;
    list.each([&](const JsonValue& item) {
      spec.components.push_back(read_component(item, names, spec.components, spec.layers));
    });
    if (spec.components.empty()) list.fail("no components, expected at least 1");
  };
  const auto read_scales = [&](const JsonValue& list) {
    list.each([&](const JsonValue& item) { spec.microbatch_scales.push_back(read_scale(item)); });
    if (spec.microbatch_scales.empty()) list.fail("no microbatch, expected one for each");
  };
  read_object(root, required("format", skip), required("version", skip), optional("name", io::text_into(spec.name)),
              optional("source", read_source),
              optional("training", [&](const JsonValue& value) { spec.training = io::read_training(value); }),
              optional("microbatch_scales", read_scales), optional("layers", read_layer_list),
              optional("components", read_components));
  if (spec.layers.empty()) root.fail("key \"layers\" or \"components\" is missing");
  return spec;
}

}  // namespace opweave
