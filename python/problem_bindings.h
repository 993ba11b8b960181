/// Problems as Python's calls state them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "opweave/opweave.h"

namespace opweave::python {

/// Replacements for what graph and cluster say.
struct Settings {
  std::optional<std::uint32_t> microbatches;
  std::optional<std::uint32_t> replicas;
  std::optional<std::string> contention;
  std::optional<std::int64_t> memory_limit_bytes;
  std::optional<std::string> blocks;
  std::optional<std::vector<std::string>> memory_modes = {};
};

[[nodiscard]] Problem make_problem(const ComputationGraph& graph, const Cluster& cluster, const Settings& replacements);
/// The problem that a plan is for: with its own settings.
[[nodiscard]] Problem problem_of(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan);
/// \throws InputError naming the values that there are
[[nodiscard]] Method parse_method(const std::string& text);
/// 0 = all cores.
[[nodiscard]] unsigned threads_of(unsigned threads);

}  // namespace opweave::python
