#include "distribute/strategy_parts.h"

#include <tuple>

#include "io/formats.h"
#include "io/strategy_json.h"
#include "opweave/error.h"

namespace opweave::distribute {
namespace {

/// Calls visit(key, number) for every degree, and returns the decisions that are words. A decision that is added does
/// not compile here until it travels too.
template <class Held, class Visit>
auto decisions(Held& held, Visit&& visit) {
  auto& [tensor, context, data, pipeline, chunks, expert, micro_batch, recompute, sharding, schedule] = held;
  visit("tp", tensor);
  visit("cp", context);
  visit("dp", data);
  visit("pp", pipeline);
  visit("vpp", chunks);
  visit("ep", expert);
  visit("mbs", micro_batch);
  return std::tie(recompute, sharding, schedule);
}

}  // namespace

Json to_json(const Machines& machines) {
  Json value = Json::parse(io::machines_to_json(machines));
  value["format"] = io::kMachinesFormat;
  value["version"] = io::kFormatVersion;
  return value;
}

Machines machines_from(const Json& value) { return parse_machines(value.dump(), "machines"); }

Json to_json(const TrainingRun& run) { return Json::parse(io::run_to_json(run)); }

TrainingRun run_from(const Json& value) {
  const std::string text = value.dump();
  const std::string source = "run";
  const io::JsonDocument document(text, source);
  return io::read_run(document.root());
}

Json to_json(const ModelDescription& model) { return Json::parse(model_to_json(model)); }

ModelDescription model_from(const Json& value) { return parse_model(value.dump(), "model"); }

Json to_json(const HeldDecisions& held) {
  Json value = Json::object();
  const auto [recompute, sharding, schedule] =
      decisions(held, [&](const char* key, const std::optional<std::uint32_t>& number) {
        if (number) value[key] = *number;
      });
  if (recompute) value["recompute"] = to_string(*recompute);
  if (sharding) value["sharding"] = to_string(*sharding);
  if (schedule) value["schedule"] = to_string(*schedule);
  return value;
}

HeldDecisions held_from(const Json& value) {
  HeldDecisions held;
  auto [recompute, sharding, schedule] =
      decisions(held, [&](const char* key, std::optional<std::uint32_t>& number) {
        if (value.contains(key)) number = value[key].get<std::uint32_t>();
      });
  const auto text = [&](const char* key) { return value.value(key, std::string()); };
  recompute = recompute_from_string(text("recompute"));
  sharding = sharding_from_string(text("sharding"));
  schedule = pipeline_kind_from_string(text("schedule"));
  return held;
}

}  // namespace opweave::distribute
