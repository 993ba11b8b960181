/// What opweave.capture writes beside a graph (docs/formats.md#captured).
#pragma once

#include <vector>

#include "io/json_reader.h"
#include "opweave/analytic.h"
#include "opweave/graph.h"

namespace opweave::io {

/// The calls behind the operators, whose names are in `names`.
/// \throws InputError for what capture does not write, and where the calls of an operator do not add up to its flops
///   and bytes: somebody has changed it since
[[nodiscard]] analytic::CapturedCalls read_captured_calls(const JsonValue& captured, const NameIndex& names,
                                                          const std::vector<Operator>& operators);

}  // namespace opweave::io
