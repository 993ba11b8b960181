/// CP-SAT's protocol buffer messages, written and read without its headers.
#pragma once

#include <string>

#include "exact/engine.h"

namespace opweave::exact {

/// The model as a serialised operations_research.sat.CpModelProto.
[[nodiscard]] std::string cp_sat_model(const CpModel& model);
/// The limits as a serialised operations_research.sat.SatParameters.
[[nodiscard]] std::string cp_sat_parameters(const EngineLimits& limits);
/// What a serialised operations_research.sat.CpSolverResponse says about the model.
/// \throws protozero::exception if it is none.
[[nodiscard]] Claim<CpModel> read_cp_sat_response(const CpModel& model, std::string_view response);

}  // namespace opweave::exact
