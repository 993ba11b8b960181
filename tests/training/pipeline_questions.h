/// Small questions about pipelines in tests.
#pragma once

#include <stdexcept>
#include <string>

#include "opweave/error.h"
#include "opweave/pipeline.h"

namespace opweave::testing {

/// \throws std::runtime_error if no operator has this name.
inline const Operator& find(const ComputationGraph& graph, const std::string& name) {
  for (const Operator& op : graph.operators()) {
    if (op.name == name) return op;
  }
  throw std::runtime_error("no operator " + name);
}

/// What build_pipeline says against the specification; "no error" if nothing.
inline std::string error_of(const PipelineSpec& spec) {
  try {
    (void)build_pipeline(spec);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace opweave::testing
