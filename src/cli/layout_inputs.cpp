#include "cli/layout_inputs.h"

#include <fmt/format.h>

#include "opweave/check_layouts.h"
#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave::cli {

LayoutInputs load_layout_inputs(const std::string& graph, const InputFiles& files) {
  const std::string text = read_file(files.cluster);
  Cluster cluster = parse_cluster(text, files.cluster.string());
  const Meshes meshes = parse_meshes(text, files.cluster.string(), cluster);
  LayoutGraph result = parse_layout_graph(graph, files.graph.string(), cluster, meshes);
  return {std::move(result), std::move(cluster)};
}

PlannedProblem as_ordinary(const DerivedProblem& derived, const LayoutPlan& plan) {
  if (!plan.modes.empty()) {
    OrdinaryPlan ordinary = derived.with_movements(plan);
    return {ordinary.movements.problem(), std::move(ordinary.plan), std::move(ordinary.movements)};
  }
  return {derived.problem(),
          make_plan(derived.problem(), derived.schedule(plan), plan.plan.bounds, plan.plan.provenance), std::nullopt};
}

PlannedProblem load_layout_plan(const std::string& graph, const InputFiles& files, const std::filesystem::path& path) {
  LayoutInputs inputs = load_layout_inputs(graph, files);
  const LayoutPlan plan = parse_layout_plan(read_file(path), path.string(), inputs.graph, inputs.cluster);
  const auto violations = check(inputs.graph, inputs.cluster, plan, 1);
  if (!violations.empty()) {
    throw InputError(
        fmt::format("{}: {}: {}", path.string(), to_string(violations.front().rule), violations.front().message),
        "see all violations with `opweave check`");
  }
  return naming(path.string(), [&] {
    const auto problem = LayoutProblem::create(std::move(inputs.graph), std::move(inputs.cluster), plan.plan.settings);
    return as_ordinary(DerivedProblem::create(problem, problem.selection_of(plan)), plan);
  });
}

}  // namespace opweave::cli
