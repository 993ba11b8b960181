#include "io/settings_json.h"

#include "opweave/error.h"

namespace opweave::io {

Training read_training(const JsonValue& value) {
  Training training;
  constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
  const auto count_into = [&](std::uint32_t& target) {
    return [&target](const JsonValue& v) { target = static_cast<std::uint32_t>(v.integer(1, kMost)); };
  };
  read_object(value, optional("microbatches", count_into(training.microbatches)),
              optional("replicas", count_into(training.replicas)),
              optional("replica_of_microbatch",
                       [&](const JsonValue& list) {
                         list.each([&](const JsonValue& v) { training.replica_of_microbatch.push_back(v.index()); });
                       }),
              optional("gradient_bytes_per_weight_byte", number_into(training.gradient_bytes_per_weight_byte)),
              optional("optimizer_bytes_per_weight_byte", number_into(training.optimizer_bytes_per_weight_byte)),
              optional("reduction_stream", [&](const JsonValue& v) { training.reduction_stream = v.name(); }));
  try {
    validate(training);
  } catch (const InputError& error) {
    value.fail(error.what(), error.hint());
  }
  return training;
}

void write_training(JsonWriter& json, const Training& training) {
  const Training defaults;
  if (training == defaults) return;
  json.key("training");
  json.open_object(JsonWriter::Layout::kLine);
  if (training.microbatches != defaults.microbatches) json.member("microbatches", training.microbatches);
  if (training.replicas != defaults.replicas) json.member("replicas", training.replicas);
  if (!training.replica_of_microbatch.empty()) json.list("replica_of_microbatch", training.replica_of_microbatch);
  if (training.gradient_bytes_per_weight_byte != defaults.gradient_bytes_per_weight_byte) {
    json.member("gradient_bytes_per_weight_byte", training.gradient_bytes_per_weight_byte);
  }
  if (training.optimizer_bytes_per_weight_byte != defaults.optimizer_bytes_per_weight_byte) {
    json.member("optimizer_bytes_per_weight_byte", training.optimizer_bytes_per_weight_byte);
  }
  if (!training.reduction_stream.empty()) json.member("reduction_stream", training.reduction_stream);
  json.close_object();
}

std::vector<MeasuredDuration> read_durations(const JsonValue& value) {
  if (!value.is_object()) return {{"", Duration(value.integer())}};
  std::vector<MeasuredDuration> durations;
  value.each_member([&](std::string_view type, const JsonValue& duration) {
    durations.push_back({std::string(type), Duration(duration.integer())});
  });
  if (durations.empty()) value.fail("no device type, expected at least one");
  return durations;
}

MemoryModes read_memory_modes(const JsonValue& value) {
  MemoryModes modes;
  value.each([&](const JsonValue& item) {
    const auto mode = memory_mode_from_string(item.text());
    if (!mode || *mode == MemoryMode::kKeep) item.reject("\"drop\" or \"host\"");
    (*mode == MemoryMode::kDrop ? modes.drop : modes.host) = true;
  });
  return modes;
}

void write_memory_modes(JsonWriter& json, const MemoryModes& modes) {
  json.key("memory_modes");
  json.open_array(JsonWriter::Layout::kLine);
  for (const MemoryMode mode : {MemoryMode::kDrop, MemoryMode::kHost}) {
    if (modes.allows(mode)) json.value(to_string(mode));
  }
  json.close_array();
}

Contention read_contention(const JsonValue& value) {
  const std::optional<Contention> contention = contention_from_string(value.text());
  if (!contention) value.reject("\"none\", \"endpoint\" or \"link\"");
  return *contention;
}

}  // namespace opweave::io
