#include "training/layer_graph.h"

#include <algorithm>
#include <string>

#include "opweave/error.h"

namespace opweave::detail {
namespace {

std::string number(std::size_t value) { return std::to_string(value); }

void check_component(const PipelineSpec& spec, std::size_t index) {
  const Component& component = spec.components[index];
  const std::string where = "pipeline \"" + spec.name + "\": component \"" + component.name + "\" ";
  if (component.layers == 0) throw InputError(where + "has no layers, expected at least 1");
  std::vector<std::uint32_t> givers;
  for (const ComponentInput& input : component.inputs) {
    if (input.component >= index) {
      throw InputError(where + "is component " + number(index) + " and takes from component " +
                       number(input.component) + ", expected an earlier one");
    }
    if (std::ranges::find(givers, input.component) != givers.end()) {
      throw InputError(where + "takes from component " + number(input.component) + " twice");
    }
    givers.push_back(input.component);
  }
  if (component.devices.empty()) return;
  if (spec.shape != PipelineShape::kFree) {
    throw InputError(where + "has devices of its own, shape " + std::string(to_string(spec.shape)) +
                     " decides where every stage lies");
  }
  for (const std::uint32_t device : component.devices) {
    if (device < spec.devices.size()) continue;
    throw InputError(where + "may run on device " + number(device) + ", the pipeline has " +
                     number(spec.devices.size()) + " devices");
  }
}

}  // namespace

LayerGraph::LayerGraph(const PipelineSpec& spec)
    : into_(spec.layers.size()), out_of_(spec.layers.size()), devices_(spec.layers.size()) {
  if (spec.components.empty()) {
    for (std::size_t layer = 1; layer < spec.layers.size(); ++layer) add(layer - 1, layer, std::nullopt);
    return;
  }
  std::vector<std::size_t> last_layer;
  std::size_t next = 0;
  for (std::size_t index = 0; index < spec.components.size(); ++index) {
    const Component& component = spec.components[index];
    check_component(spec, index);
    const std::size_t first = next;
    next += component.layers;
    if (next > spec.layers.size()) break;
    for (const ComponentInput& input : component.inputs) add(last_layer[input.component], first, input.size);
    for (std::size_t layer = first; layer < next; ++layer) {
      if (layer > first) add(layer - 1, layer, std::nullopt);
      devices_[layer] = component.devices;
    }
    last_layer.push_back(next - 1);
  }
  if (next != spec.layers.size()) {
    throw InputError("pipeline \"" + spec.name + "\": components have more or fewer layers than the " +
                     number(spec.layers.size()) + " of the pipeline");
  }
}

void LayerGraph::add(std::size_t from, std::size_t to, std::optional<Bytes> own_size) {
  out_of_[from].push_back(edges_.size());
  into_[to].push_back(edges_.size());
  edges_.push_back({from, to, own_size});
}

}  // namespace opweave::detail
