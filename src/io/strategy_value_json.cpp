#include "io/strategy_value_json.h"

#include "opweave/strategy_answer.h"

namespace opweave {
namespace io {

nlohmann::ordered_json to_json(const StepMemory& memory) {
  return {{"weights", memory.weights.value()},     {"gradients", memory.gradients.value()},
          {"optimizer", memory.optimizer.value()}, {"activations", memory.activations.value()},
          {"buffers", memory.buffers.value()},     {"reserve", memory.reserve.value()},
          {"total", memory.total().value()},       {"host", memory.host.value()}};
}

nlohmann::ordered_json to_json(const RankedStrategy& ranked) {
  const StepTime& t = ranked.value.time;
  nlohmann::ordered_json memory = to_json(ranked.value.memory);
  memory["stage"] = ranked.value.stage;
  return {{"strategy", nlohmann::ordered_json::parse(strategy_to_json(ranked.strategy))},
          {"step_ns", t.step.value()},
          {"tokens_per_s", ranked.value.tokens_per_second},
          {"mfu", ranked.value.mfu},
          {"fits", ranked.value.fits},
          {"alike", ranked.alike},
          {"time_ns",
           {{"matrix", t.matrix.value()},
            {"attention", t.attention.value()},
            {"traffic", t.traffic.value()},
            {"recompute", t.recompute.value()},
            {"offload", t.offload.value()},
            {"tensor", t.tensor.value()},
            {"expert", t.expert.value()},
            {"data", t.data.value()},
            {"hops", t.hops.value()},
            {"bubble", t.bubble.value()},
            {"optimizer", t.optimizer.value()}}},
          {"memory_bytes", memory}};
}

}  // namespace io

std::string strategies_to_json(const CalibrationProfile& profile, const StrategySearchResult& result) {
  auto list = nlohmann::ordered_json::array();
  for (const RankedStrategy& ranked : result.ranked) list.push_back(io::to_json(ranked));
  return nlohmann::ordered_json{{"profile", profile.name},
                                {"median_error", profile.median_error},
                                {"ninetieth_error", profile.ninetieth_error},
                                {"published_steps", profile.is_own ? 0 : profile.steps},
                                {"measured_steps", profile.is_own ? profile.steps : 0},
                                {"meshes", result.meshes},
                                {"valued", result.valued},
                                {"is_whole_space", result.is_complete},
                                {"bound_ns", result.bound.value()},
                                {"strategies", list}}
             .dump(2) +
         "\n";
}

}  // namespace opweave
