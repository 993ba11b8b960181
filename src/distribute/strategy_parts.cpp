#include "distribute/strategy_parts.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "io/formats.h"
#include "io/strategy_json.h"
#include "opweave/error.h"

namespace opweave::distribute {
namespace {

/// Calls say(key, text) for every decision that is held, in the words of `--fix`. A decision that is added does not
/// compile here until it travels too.
template <class Say>
void say_decisions(const HeldDecisions& held, const Say& say) {
  const auto& [tensor, context, data, pipeline, chunks, expert, micro_batch, recompute, modules, activation_offload,
               optimizer_offload, overlaps_tensor, sharding, schedule, component] = held;
  const auto say_number = [&](const char* key, const auto& number) {
    if (number) say(key, fmt::format("{}", *number));
  };
  say_number("tp", tensor);
  say_number("cp", context);
  say_number("dp", data);
  say_number("pp", pipeline);
  say_number("vpp", chunks);
  say_number("ep", expert);
  say_number("mbs", micro_batch);
  say_number("offload", activation_offload);
  say_number("optimizer_offload", optimizer_offload);
  if (recompute) say("recompute", std::string(to_string(*recompute)));
  if (modules) say("modules", modules->empty() ? "none" : to_string(*modules, "+"));
  if (overlaps_tensor) say("tp_overlap", *overlaps_tensor ? "yes" : "no");
  if (sharding) say("sharding", std::string(to_string(*sharding)));
  if (schedule) say("schedule", std::string(to_string(*schedule)));
  if (!component) return;
  const auto& [name, has_mesh, own_tensor, own_context, own_data, own_pipeline] = *component;
  const auto say_own = [&](const char* key, const auto& degree) {
    if (degree) say(fmt::format("{}.{}", name, key), fmt::format("{}", *degree));
  };
  if (has_mesh) say(fmt::format("{}.mesh", name), *has_mesh ? "own" : "shared");
  say_own("tp", own_tensor);
  say_own("cp", own_context);
  say_own("dp", own_data);
  say_own("pp", own_pipeline);
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

Json to_json(const FittedProfile& profile) { return Json::parse(profile_to_json(profile)); }

FittedProfile profile_from(const Json& value) { return parse_profile(value.dump(), "profile"); }

Json to_json(const HeldDecisions& held) {
  Json value = Json::object();
  say_decisions(held, [&](const std::string& key, std::string text) { value[key] = std::move(text); });
  return value;
}

HeldDecisions held_from(const Json& value) {
  HeldDecisions held;
  for (const auto& [key, text] : value.items()) hold(held, key, text.get<std::string>());
  return held;
}

}  // namespace opweave::distribute
