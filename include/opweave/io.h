/// Files. docs/formats.md is the contract; every error names file, JSON pointer and value.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/analytic.h"
#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/pipeline.h"
#include "opweave/plan.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// Whole content of a file. \throws InputError naming the file and the reason.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);
/// Replaces a file in one step: a reader sees the old or the new content, never a part.
/// \throws InputError naming the file and the reason.
void write_file(const std::filesystem::path& path, std::string_view content);

/// Tells before long work whether write_file would be refused: a folder that is missing or closed, no permission.
/// Changes nothing. \throws InputError as write_file
void expect_writable(const std::filesystem::path& path);

// `source` names the text in errors. All throw InputError.
[[nodiscard]] ComputationGraph parse_graph(std::string_view json, const std::string& source);
/// A graph as it is written, and the calls behind its operators: nothing where opweave.capture has not written it, or
/// where every operator is timed.
struct CapturedGraph {
  ComputationGraph graph;
  std::optional<analytic::CapturedCalls> calls = {};
};
[[nodiscard]] CapturedGraph parse_captured_graph(std::string_view json, const std::string& source);
/// A graph to be planned on a cluster, and how many of its operators are estimated.
struct EstimatedGraph {
  ComputationGraph graph;
  std::size_t estimated = 0;
};
/// Operators of a captured graph that nobody timed take what analytic::durations says, as opweave.plan of Python has
/// it; all others are as they are written.
[[nodiscard]] EstimatedGraph parse_graph(std::string_view json, const std::string& source, const Cluster& cluster);
[[nodiscard]] Cluster parse_cluster(std::string_view json, const std::string& source);
/// Names are resolved in the graph and the cluster that the plan is for.
[[nodiscard]] Plan parse_plan(std::string_view json, const std::string& source, const ComputationGraph& graph,
                              const Cluster& cluster);

[[nodiscard]] std::string graph_to_json(const ComputationGraph& graph);
[[nodiscard]] std::string cluster_to_json(const Cluster& cluster);
[[nodiscard]] std::string plan_to_json(const Plan& plan, const ComputationGraph& graph, const Cluster& cluster);

/// 16 hex digits over the canonical JSON: equal content, equal hash.
[[nodiscard]] std::string content_hash(const ComputationGraph& graph);
[[nodiscard]] std::string content_hash(const Cluster& cluster);

/// "80 GiB", "512MiB", "1000" (bytes), "1.5 GB". \throws InputError for anything else.
[[nodiscard]] Bytes parse_bytes(std::string_view text);
/// "3.4s", "250 ms", "10us", "1000" (nanoseconds). \throws InputError for anything else.
[[nodiscard]] Duration parse_duration(std::string_view text);

/// Layers with measured operators, to be cut into stages: docs/formats.md. Shape, stages and devices are
/// left open.
[[nodiscard]] PipelineSpec parse_pipeline_spec(std::string_view json, const std::string& source);

/// Durations by TaskId from an object of nanoseconds by operator ("attn.F", all its copies) or task
/// ("attn.F#3", which goes before the operator's). Tasks that are not named keep their duration in the schedule.
[[nodiscard]] std::vector<Duration> parse_durations(std::string_view json, const std::string& source,
                                                    const Problem& problem, const Schedule& schedule);

/// A graph with the cluster it is meant for: what importers return.
struct ImportedProblem {
  ComputationGraph graph;
  Cluster cluster;
};
/// Flexible job shop in the `.fjs` text format with machines counted from 0 or 1 (detected); a time
/// unit becomes 1 microsecond.
[[nodiscard]] ImportedProblem parse_fjs(std::string_view text, const std::string& source);
/// Job shop without choices, a line of pairs "machine time" per job with each machine once; else like parse_fjs.
[[nodiscard]] ImportedProblem parse_jsp(std::string_view text, const std::string& source);

}  // namespace opweave
