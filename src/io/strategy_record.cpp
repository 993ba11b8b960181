#include "opweave/strategy_record.h"

#include "io/formats.h"
#include "io/json_writer.h"
#include "io/profile_json.h"
#include "io/strategy_json.h"
#include "opweave/strategy_targets.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::JsonWriter;
using io::optional;
using io::required;
using Layout = JsonWriter::Layout;

/// The document as a value inside another one, its lines moved to the right.
std::string as_member(std::string document) {
  document.pop_back();
  std::string result;
  for (const char c : document) {
    result += c;
    if (c == '\n') result += "    ";
  }
  return result;
}

StrategyRecord read_for(const JsonValue& value, StrategyRecord record) {
  const auto read_target = [&](const JsonValue& target) {
    const auto found = target_from_string(target.text());
    if (!found) target.reject("\"any\", \"megatron\" or \"torchtitan\"");
    record.target = *found;
  };
  read_object(value, required("model", [&](const JsonValue& part) { record.model = io::read_model(part); }),
              required("machines", [&](const JsonValue& part) { record.machines = io::read_machines(part); }),
              required("run", [&](const JsonValue& part) { record.run = io::read_run(part); }),
              optional("target", read_target),
              optional("profile", [&](const JsonValue& part) { record.fitted = io::read_profile(part); }));
  if (record.fitted) {
    require_profile_for(*record.fitted, value.source() + ": " + value.pointer() + "/profile", record.machines,
                        record.run.precision);
  }
  const std::string why = why_untrainable(record.target, record.model, record.machines, record.run, record.strategy);
  if (!why.empty()) value.fail("the strategy is impossible here: " + why);
  return record;
}

}  // namespace

std::string io::machines_to_json(const Machines& machines) {
  JsonWriter json;
  json.open_object(Layout::kLine);
  json.member("device", machines.device.name);
  json.member("nodes", machines.nodes);
  json.member("devices_per_node", machines.devices_per_node);
  json.member("memory_bytes", machines.device.memory.value());
  json.member("memory_bandwidth_bytes_per_s", machines.device.memory_bandwidth);
  json.member("node_bandwidth_bytes_per_s", machines.device.node_bandwidth);
  json.member("fabric_bandwidth_bytes_per_s", machines.fabric_bandwidth);
  json.member("host_bandwidth_bytes_per_s", machines.device.host_bandwidth);
  json.member("host_memory_bytes", machines.device.host_memory.value());
  json.close_object();
  return std::move(json).finish();
}

std::string io::run_to_json(const TrainingRun& run) {
  JsonWriter json;
  json.open_object(Layout::kLine);
  json.member("global_batch", run.global_batch);
  json.member("sequence", run.sequence);
  json.member("precision", to_string(run.precision));
  if (run.has_bf16_gradients) json.member("bf16_gradients", true);
  if (run.has_bf16_moments) json.member("bf16_moments", true);
  if (run.has_fused_loss) json.member("fused_loss", true);
  json.close_object();
  return std::move(json).finish();
}

CalibrationProfile StrategyRecord::profile() const {
  return fitted ? fitted->constants_for(model) : profile_for(model, machines, run.precision, target);
}

StrategyValue StrategyRecord::value() const { return evaluate(model, machines, run, strategy, profile()); }

std::string strategy_record_to_json(const StrategyRecord& record) {
  const bool says_more = record.strategy.component || record.fitted;
  std::string text =
      io::strategy_document(record.strategy, says_more ? io::kStrategyVersionWithMore : io::kFormatVersion);
  text.resize(text.rfind('\n', text.size() - 2));
  text += ",\n  \"for\": {\n    \"run\": " + as_member(io::run_to_json(record.run));
  text += ",\n    \"machines\": " + as_member(io::machines_to_json(record.machines));
  text += ",\n    \"target\": \"" + std::string(to_string(record.target)) + '"';
  if (record.fitted) text += ",\n    \"profile\": " + as_member(profile_to_json(*record.fitted));
  text += ",\n    \"model\": " + as_member(model_to_json(record.model)) + "\n  }\n}\n";
  return text;
}

StrategyRecord parse_strategy_record(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  const JsonValue root = document.root(io::kStrategyFormat, io::kStrategyVersionWithMore);
  StrategyRecord record;
  record.strategy = io::read_strategy(root);
  std::optional<JsonValue> purpose;
  read_object<io::OtherKeys::kIgnore>(root, optional("for", io::keep(purpose)));
  if (!purpose) {
    root.fail("key \"for\" is missing", "opweave parallelize ... --evaluate FILE -o FILE adds what it is for");
  }
  return read_for(*purpose, std::move(record));
}

std::optional<FittedProfile> parse_profile_of_strategy(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  const JsonValue root = document.root(io::kStrategyFormat, io::kStrategyVersionWithMore);
  std::optional<FittedProfile> fitted;
  const auto read_profile = [&](const JsonValue& part) { fitted = io::read_profile(part); };
  const auto read_purpose = [&](const JsonValue& purpose) {
    read_object<io::OtherKeys::kIgnore>(purpose, optional("profile", read_profile));
  };
  read_object<io::OtherKeys::kIgnore>(root, optional("for", read_purpose));
  return fitted;
}

}  // namespace opweave
