#include "io/graph_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/message.h"

namespace opweave::io {
namespace {

/// Position in a list of ids of what has a name: an operator has few, so nothing is looked up among all of the graph.
template <class Id, class Item>
std::optional<std::size_t> position_of(std::string_view name, const std::vector<Id>& ids,
                                       const std::vector<Item>& items) {
  const auto found = std::ranges::find_if(ids, [&](Id id) { return items[id.index()].name == name; });
  return found == ids.end() ? std::nullopt : std::optional(static_cast<std::size_t>(found - ids.begin()));
}

std::uint32_t parts_of(const JsonValue& value) { return static_cast<std::uint32_t>(value.integer(1, 1'000'000)); }

}  // namespace

std::int64_t version_of(const JsonValue& root) {
  std::int64_t version = 0;
  read_object<OtherKeys::kIgnore>(root, required("version", [&](const JsonValue& v) { version = v.integer(); }));
  return version;
}

std::vector<DeviceId> read_device_set(const JsonValue& list, const Cluster& cluster) {
  std::vector<DeviceId> devices;
  list.each([&](const JsonValue& item) {
    const std::optional<DeviceId> device = cluster.find_device(item.text());
    if (!device) item.reject("the name of a device of the cluster");
    if (std::ranges::find(devices, *device) != devices.end()) item.reject("a device that is not in the list yet");
    devices.push_back(*device);
  });
  if (devices.empty()) list.fail("no device, expected at least one");
  std::ranges::sort(devices);
  return devices;
}

void GraphOptions::read(const JsonValue& value, const Operator& op, const std::optional<JsonValue>& options,
                        const std::optional<JsonValue>& choice, const Named& named) {
  if (!options) value.fail_missing_key("options");
  const bool says_more = !op.durations.empty() || op.flops || op.bytes_accessed || !op.devices.empty() ||
                         !op.modes.empty() || op.workspace != Bytes();
  if (says_more) {
    value.fail("duration, devices, modes or workspace beside \"options\", expected them in the options alone");
  }
  graph_.choices.emplace_back(choice ? choice->name() : std::string_view());
  graph_.options.emplace_back().reserve(options->is_array() ? options->count() : 0);
  options->each([&](const JsonValue& item) { read_option(item, op, named); });
  if (graph_.options.back().empty()) options->fail("no option, expected at least one");
}

void GraphOptions::read_option(const JsonValue& value, const Operator& op, const Named& named) {
  LayoutOption option;
  std::optional<JsonValue> mesh;
  std::optional<JsonValue> devices;
  std::optional<JsonValue> layouts;
  std::optional<JsonValue> parts;
  read_object(value, required("name", [&](const JsonValue& v) { option.name = v.name(); }),
              optional("mesh", keep(mesh)), optional("devices", keep(devices)),
              required("duration_ns", amount_into(option.duration)),
              optional("workspace_bytes", amount_into(option.workspace)), optional("layouts", keep(layouts)),
              optional("parameters", keep(parts)));
  std::vector<LayoutOption>& all = graph_.options.back();
  std::vector<std::vector<DeviceId>> listed;
  for (const std::vector<DeviceId>& place : read_places(value, mesh, devices, listed)) {
    const bool is_known = std::ranges::any_of(
        all, [&](const LayoutOption& other) { return other.name == option.name && other.devices == place; });
    LayoutOption& one = all.emplace_back(option);
    one.devices = place;
    one.inputs.resize(op.inputs.size());
    one.outputs.resize(op.outputs.size());
    one.parameters.resize(op.parameters.size());
    if (layouts) read_layouts(*layouts, op, named.tensors, one);
    if (parts) read_parameters(*parts, op, named.parameters, one);
    if (is_known)
      value.fail(fmt::format("option {} is there twice on the same devices", io::text_in_quotes(option.name)));
  }
}

const std::vector<std::vector<DeviceId>>& GraphOptions::read_places(const JsonValue& value,
                                                                    const std::optional<JsonValue>& mesh,
                                                                    const std::optional<JsonValue>& devices,
                                                                    std::vector<std::vector<DeviceId>>& listed) const {
  if (mesh.has_value() == devices.has_value()) {
    value.fail(fmt::format("{} of the keys \"mesh\" and \"devices\", expected one of them", mesh ? "both" : "none"));
  }
  if (devices) {
    listed.push_back(read_device_set(*devices, cluster_));
    return listed;
  }
  const auto found = meshes_.find(mesh->text());
  if (found == meshes_.end()) mesh->reject("the name of a mesh of the cluster");
  return found->second;
}

void GraphOptions::read_layouts(const JsonValue& value, const Operator& op, const std::vector<Tensor>& tensors,
                                LayoutOption& option) {
  value.each_member([&](std::string_view key, const JsonValue& member) {
    const auto input = position_of(key, op.inputs, tensors);
    const auto output = input ? std::nullopt : position_of(key, op.outputs, tensors);
    if (!input && !output) member.fail(fmt::format("{} is no tensor of the operator", io::text_in_quotes(key)));
    const auto layout = layout_from_string(member.text());
    if (!layout) member.reject("\"R\", \"P\", or \"S(dim)\" as in \"S(0)\"");
    (input ? option.inputs[*input] : option.outputs[*output]) = *layout;
  });
}

void GraphOptions::read_parameters(const JsonValue& value, const Operator& op, const std::vector<Parameter>& parameters,
                                   LayoutOption& option) {
  const std::size_t devices = option.devices.size();
  value.each_member([&](std::string_view key, const JsonValue& member) {
    const auto position = position_of(key, op.parameters, parameters);
    if (!position) member.fail(fmt::format("{} is no parameter of the operator", io::text_in_quotes(key)));
    ParameterParts parts;
    std::optional<std::uint32_t> weights;
    std::optional<std::uint32_t> gradients;
    std::optional<std::uint32_t> optimizer;
    read_object(member, optional("split", [&](const JsonValue& v) { parts.split = parts_of(v); }),
                optional("weights", [&](const JsonValue& v) { weights = parts_of(v); }),
                optional("gradients", [&](const JsonValue& v) { gradients = parts_of(v); }),
                optional("optimizer", [&](const JsonValue& v) { optimizer = parts_of(v); }));
    parts.weights = weights.value_or(parts.split);
    parts.gradients = gradients.value_or(parts.weights);
    parts.optimizer = optimizer.value_or(parts.gradients);
    if (devices % parts.split != 0) {
      member.fail(fmt::format("split is {}, expected a divisor of the {} devices", parts.split, devices));
    }
    std::uint32_t least = parts.split;
    for (const auto& [name, count] : {std::pair("weights", parts.weights), std::pair("gradients", parts.gradients),
                                      std::pair("optimizer", parts.optimizer)}) {
      if (count < least || (count != parts.split && count != devices)) {
        member.fail(fmt::format("{} in {} parts, expected {} (split) or {} (devices), and no fewer than what is before",
                                name, count, parts.split, devices));
      }
      least = count;
    }
    option.parameters[*position] = parts;
  });
}

}  // namespace opweave::io
