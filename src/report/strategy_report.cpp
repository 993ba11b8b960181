// What the page of a strategy shows, as JSON: docs/report.md lists the keys.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/strategy_value_json.h"
#include "opweave/strategy_answer.h"
#include "report/names.h"
#include "report/page.h"

namespace opweave {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson runs_of(const ModelDescription& model) {
  auto runs = OrderedJson::array();
  for (const LayerRun& layer : model.layers) {
    runs.push_back({{"count", layer.count},
                    {"component", layer.component ? readable(model.components[*layer.component].name) : ""},
                    {"experts", layer.experts ? layer.experts->count : 0},
                    {"window", layer.attention.window ? OrderedJson(*layer.attention.window) : OrderedJson()},
                    {"predicts_ahead", layer.predicts_ahead},
                    {"parameters", layer_parameters(model, layer)}});
  }
  return runs;
}

OrderedJson stages_of(const StrategyAnswer& answer, const Strategy& strategy) {
  auto stages = OrderedJson::array();
  for (const StageValue& stage : evaluate_stages(answer.model, answer.machines, answer.run, strategy, answer.profile)) {
    auto layers = OrderedJson::array();
    for (const StageValue::Layers& part : stage.layers) layers.push_back({{"run", part.run}, {"count", part.count}});
    stages.push_back({{"layers", layers},
                      {"memory_bytes", io::to_json(stage.memory)},
                      {"forward_ns", stage.forward.value()},
                      {"backward_ns", stage.backward.value()},
                      {"recompute_ns", stage.recompute.value()}});
  }
  return stages;
}

OrderedJson data_of(const StrategyAnswer& answer) {
  auto strategies = OrderedJson::array();
  for (const RankedStrategy& ranked : answer.result.ranked) {
    OrderedJson entry = io::to_json(ranked);
    entry["stages"] = stages_of(answer, ranked.strategy);
    strategies.push_back(std::move(entry));
  }
  return {{"model",
           {{"name", readable(answer.model.name)},
            {"parameters", parameters(answer.model)},
            {"layers", runs_of(answer.model)}}},
          {"machines",
           {{"device", readable(answer.machines.device.name)},
            {"nodes", answer.machines.nodes},
            {"devices_per_node", answer.machines.devices_per_node},
            {"memory_bytes", answer.machines.device.memory.value()}}},
          {"run",
           {{"global_batch", answer.run.global_batch},
            {"sequence", answer.run.sequence},
            {"precision", to_string(answer.run.precision)}}},
          {"profile",
           {{"name", readable(answer.profile.name)},
            {"steps", answer.profile.steps},
            {"median_error", answer.profile.median_error},
            {"ninetieth_error", answer.profile.ninetieth_error}}},
          {"meshes", answer.result.meshes},
          {"bound_ns", answer.result.bound.value()},
          {"is_whole_space", answer.result.is_complete},
          {"strategies", strategies}};
}

}  // namespace

std::string strategy_report_html(const StrategyAnswer& answer) {
  return filled_page(kPageBeforeStrategy, data_of(answer).dump(), kPageAfterStrategy);
}

}  // namespace opweave
