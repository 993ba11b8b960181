/// One reader for all texts that opweave accepts, for tests that do not care which it is.
#pragma once

#include <string>
#include <string_view>

#include "opweave/io.h"
#include "opweave/msr.h"
#include "opweave/plan.h"
#include "opweave/problem.h"
#include "support/files.h"

namespace opweave::testing {

enum class TextKind { kGraph, kCluster, kPlan, kFjs, kJsp, kMsr, kPipeline, kDurations };

/// What a folder of the corpus of malformed files holds.
inline TextKind kind_of_folder(std::string_view folder) {
  if (folder == "graph") return TextKind::kGraph;
  if (folder == "cluster") return TextKind::kCluster;
  if (folder == "plan") return TextKind::kPlan;
  if (folder == "fjs") return TextKind::kFjs;
  if (folder == "pipeline") return TextKind::kPipeline;
  if (folder == "durations") return TextKind::kDurations;
  return TextKind::kMsr;
}

/// The graph and the cluster that the example plan is for.
struct PlanContext {
  ComputationGraph graph = parse_graph(content_of(tests_dir() / "golden/formats/two_stage.graph.json"), "two_stage");
  Cluster cluster = parse_cluster(content_of(tests_dir() / "golden/formats/two_gpus.cluster.json"), "two_gpus");
};

/// The example plan, for readers that need one.
inline Plan example_plan(const PlanContext& context) {
  return parse_plan(content_of(tests_dir() / "golden/formats/two_stage.plan.json"), "two_stage", context.graph,
                    context.cluster);
}

/// Reads and, where there is a writer, writes again; else says how much was read. \throws InputError as the reader
/// does.
inline std::string read_and_write(TextKind kind, std::string_view text, const std::string& source,
                                  const PlanContext& context) {
  switch (kind) {
    case TextKind::kGraph:
      return graph_to_json(parse_graph(text, source));
    case TextKind::kCluster:
      return cluster_to_json(parse_cluster(text, source));
    case TextKind::kPlan:
      return plan_to_json(parse_plan(text, source, context.graph, context.cluster), context.graph, context.cluster);
    case TextKind::kFjs:
      return graph_to_json(parse_fjs(text, source).graph);
    case TextKind::kJsp:
      return graph_to_json(parse_jsp(text, source).graph);
    case TextKind::kMsr:
      return graph_to_json(to_problem(parse_msr(text, source), source).graph);
    case TextKind::kPipeline:
      return std::to_string(parse_pipeline_spec(text, source).layers.size());
    case TextKind::kDurations: {
      const Problem problem = Problem::create(context.graph, context.cluster);
      const auto durations = parse_durations(text, source, problem, to_schedule(problem, example_plan(context)));
      return std::to_string(durations.size());
    }
  }
  return {};
}

}  // namespace opweave::testing
