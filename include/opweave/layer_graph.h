/// Layer graphs with measured alternatives of Tarnawski, Narayanan and Phanishayee ("Piper", NeurIPS 2021), cut into
/// the stages of a pipeline under their own objective.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/budget.h"

namespace opweave {

/// One graph in the terms of its file: seconds and bytes as double, as published.
struct LayerGraph {
  struct Edge {
    std::uint32_t source = 0;
    std::uint32_t target = 0;
    double bytes = 0;
  };
  /// One way to run a node on `tensor` devices.
  struct Alternative {
    std::string name;
    double seconds = 0;  ///< of one sample
    double parameter_bytes = 0;
    double bytes_per_flight = 0;                 ///< for each microbatch in flight
    double bytes = 0;                            ///< whatever is in flight
    std::map<std::uint32_t, double> sync_bytes;  ///< by edge of the graph; counts where the edge is cut
  };
  struct Node {
    std::int64_t id = 0;
    std::string name;
    std::map<std::uint32_t, std::vector<Alternative>> by_tensor;
  };
  std::vector<Node> nodes;
  std::vector<Edge> edges;  ///< acyclic
};

/// What the graph is cut for.
struct StageTask {
  std::uint32_t devices = 1;
  double memory_bytes = 0;  ///< of one device
  double bytes_per_second = 1;
  std::uint32_t microbatches = 1;  ///< of one batch; the data-parallel degrees of stages divide it
};

struct CutStage {
  std::vector<std::uint32_t> nodes;
  std::uint32_t tensor = 1;
  std::uint32_t data = 1;
  std::vector<std::uint32_t> alternatives;  ///< by item of `nodes`
  double seconds = 0;                       ///< of one sample
  double memory_bytes = 0;
};

struct StageAnswer {
  std::vector<CutStage> stages;                            ///< first to last; empty if none was found
  double value = std::numeric_limits<double>::infinity();  ///< the longest stage, seconds per sample
  double bound = 0;                                        ///< no stages have a smaller value
  std::uint64_t ideals = 0;                                ///< sets of nodes that stages may end with
  bool is_exact_space = true;  ///< all of them were looked at; else those along one order alone, and the bound is weak

  [[nodiscard]] bool is_proven() const { return value <= bound * (1 + 1e-9); }
};

/// \throws InputError naming place and value
[[nodiscard]] LayerGraph parse_layer_graph(std::string_view json, const std::string& source);

/// Seconds per sample and bytes of every stage, in place; why the stages are not allowed, or nothing. Written from the
/// model alone (docs/stages.md), for whoever doubts `cut_stages`.
[[nodiscard]] std::string value_stages(const LayerGraph& graph, const StageTask& task, std::vector<CutStage>& stages);

/// The stages with the least value, by a dynamic program over sets of nodes that are closed under successors, with
/// exact knapsacks for the alternatives (docs/stages.md). Stops with what it has when the budget ends.
[[nodiscard]] StageAnswer cut_stages(const LayerGraph& graph, const StageTask& task, const Budget& budget = {});

}  // namespace opweave
