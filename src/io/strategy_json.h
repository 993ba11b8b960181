/// Parts of documents about strategies.
#pragma once

#include "io/json_reader.h"
#include "opweave/strategy.h"

namespace opweave::io {

// All throw InputError naming place and value.
[[nodiscard]] ModelDescription read_model(const JsonValue& value);
[[nodiscard]] Machines read_machines(const JsonValue& value);
[[nodiscard]] TrainingRun read_run(const JsonValue& value);
[[nodiscard]] Strategy read_strategy(const JsonValue& value);

}  // namespace opweave::io
