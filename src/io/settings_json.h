/// What several kinds of files say in the same way: the training block, contention model, durations by type of device.
#pragma once

#include "io/json_reader.h"
#include "io/json_writer.h"
#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/training.h"

namespace opweave::io {

/// \throws InputError at the place of the value, also for what validate(Training) rejects.
[[nodiscard]] Training read_training(const JsonValue& value);

/// Writes `"training": {...}` unless everything has its default.
void write_training(JsonWriter& json, const Training& training);

/// A duration for every type of device, or an object of them by type.
[[nodiscard]] std::vector<MeasuredDuration> read_durations(const JsonValue& value);

/// A list of "drop" and "host". \throws InputError for anything else in it.
[[nodiscard]] MemoryModes read_memory_modes(const JsonValue& value);
/// Writes `"memory_modes": [...]`.
void write_memory_modes(JsonWriter& json, const MemoryModes& modes);

/// \throws InputError unless the value names a contention model.
[[nodiscard]] Contention read_contention(const JsonValue& value);

}  // namespace opweave::io
