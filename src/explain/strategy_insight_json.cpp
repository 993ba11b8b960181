#include <nlohmann/json.hpp>

#include "io/strategy_value_json.h"
#include "opweave/strategy_insight.h"

namespace opweave {
namespace {

using Json = nlohmann::ordered_json;

Json subject(const StrategyRecord& record) {
  const CalibrationProfile profile = record.profile();
  return {{"model", record.model.name},
          {"device", record.machines.device.name},
          {"devices", record.machines.devices()},
          {"device_memory_bytes", record.machines.device.memory.value()},
          {"global_batch", record.run.global_batch},
          {"sequence", record.run.sequence},
          {"target", to_string(record.target)},
          {"profile", profile.name},
          {"profile_steps", profile.steps},
          {"median_error", profile.median_error},
          {"ninetieth_error", profile.ninetieth_error}};
}

Json to_json(const BestStrategy& found) {
  Json result = {{"best", found.best ? io::to_json(*found.best) : Json()}};
  result["why_not"] = found.why_not;
  const auto bytes = [](const std::optional<Bytes>& amount) { return amount ? Json(amount->value()) : Json(); };
  result["least_memory_bytes"] = bytes(found.least_memory);
  result["least_host_memory_bytes"] = bytes(found.least_host_memory);
  return result;
}

}  // namespace

std::string explanation_to_json(const StrategyRecord& record, const StrategyExplanation& explanation) {
  auto others = Json::array();
  for (const OtherChoice& other : explanation.others) {
    Json entry = {{"choice", other.choice}};
    entry.update(to_json(other.found));
    others.push_back(std::move(entry));
  }
  return Json{{"for", subject(record)},
              {"explained", io::to_json(RankedStrategy{record.strategy, explanation.value})},
              {"other_choices", std::move(others)}}
             .dump(2) +
         "\n";
}

std::string diff_to_json(const StrategyRecord& first, const StrategyRecord& second) {
  auto decisions = Json::array();
  for (const DecisionChange& change : changed_decisions(first.strategy, second.strategy)) {
    decisions.push_back({{"decision", change.decision}, {"first", change.first}, {"second", change.second}});
  }
  return Json{{"same_model", first.model == second.model},
              {"for_first", subject(first)},
              {"for_second", subject(second)},
              {"first", io::to_json(RankedStrategy{first.strategy, first.value()})},
              {"second", io::to_json(RankedStrategy{second.strategy, second.value()})},
              {"decisions", std::move(decisions)}}
             .dump(2) +
         "\n";
}

std::string what_if_to_json(const StrategyRecord& record, const std::vector<StrategyChange>& changes) {
  auto rows = Json::array();
  for (const StrategyChange& change : changes) {
    Json entry = {{"change", change.what}};
    entry["step_ns"] = change.value ? Json(change.value->time.step.value()) : Json();
    entry["fits"] = change.value ? Json(change.value->fits) : Json();
    entry["why_impossible"] = change.why_impossible;
    entry.update(to_json(change.found));
    rows.push_back(std::move(entry));
  }
  return Json{{"for", subject(record)}, {"changes", std::move(rows)}}.dump(2) + "\n";
}

}  // namespace opweave
