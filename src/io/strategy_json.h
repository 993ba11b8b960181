/// Parts of documents about strategies.
#pragma once

#include <string>

#include "io/json_reader.h"
#include "opweave/strategy.h"

namespace opweave::io {

// All throw InputError naming place and value.
[[nodiscard]] ModelDescription read_model(const JsonValue& value);
[[nodiscard]] Machines read_machines(const JsonValue& value);
[[nodiscard]] TrainingRun read_run(const JsonValue& value);
[[nodiscard]] Strategy read_strategy(const JsonValue& value);

/// The strategy as a document of this version.
[[nodiscard]] std::string strategy_document(const Strategy& strategy, std::uint32_t version);

// What read_machines and read_run read.
[[nodiscard]] std::string machines_to_json(const Machines& machines);
[[nodiscard]] std::string run_to_json(const TrainingRun& run);

}  // namespace opweave::io
