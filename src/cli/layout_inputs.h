/// Files of graphs whose operators have options with layouts.
#pragma once

#include <filesystem>
#include <string>

#include "cli/inputs.h"
#include "opweave/layout_files.h"
#include "opweave/layouts.h"

namespace opweave::cli {

/// The content of a graph file and a cluster file whose meshes it names.
struct LayoutInputs {
  LayoutGraph graph;
  Cluster cluster;
};
/// \param graph  content of files.graph, which may be a pipe
[[nodiscard]] LayoutInputs load_layout_inputs(const std::string& graph, const InputFiles& files);

/// A plan with options as a plan of an ordinary problem, which shows its movements as operators.
/// \throws InputError naming the first broken rule if the plan is not valid
[[nodiscard]] PlannedProblem load_layout_plan(const std::string& graph, const InputFiles& files,
                                              const std::filesystem::path& plan);
[[nodiscard]] PlannedProblem as_ordinary(const DerivedProblem& derived, const LayoutPlan& plan);

}  // namespace opweave::cli
