/// Problems for the tests of merging: random ones with everything in them, and large ones with heavy transfers.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "coarsen/merging.h"
#include "opweave/error.h"
#include "opweave/pipeline.h"
#include "support/random_problems.h"

namespace opweave::testing {

/// Random problems that can be merged, with everything that a graph and a cluster may contain beside.
inline std::vector<Problem> mergeable_problems(std::uint64_t count, std::int64_t most_tasks) {
  std::vector<Problem> result;
  RandomShape shape;
  shape.most_tasks = most_tasks;
  shape.pinned_percent = 15;
  shape.gangs = false;
  for (std::uint64_t seed = 1; result.size() < seeds(count); ++seed) {
    try {
      Problem problem = random_problem(seed, shape).problem();
      if (coarsen::can_merge(problem) && problem.task_count() > 1) result.push_back(std::move(problem));
    } catch (const InputError&) {  // shared parameters on different devices
    }
  }
  return result;
}

/// Every way to merge, up to short clusters and without a limit.
inline std::vector<coarsen::MergeOptions> merge_options() {
  constexpr std::int64_t kMuch = std::numeric_limits<std::int64_t>::max() / 4;
  std::vector<coarsen::MergeOptions> result;
  for (const std::int64_t longest : {std::int64_t{8}, kMuch}) {
    for (const bool backward : {false, true}) {
      for (const bool is_gentle : {false, true}) {
        result.push_back({Duration(longest), Duration(kMuch), Bytes(kMuch), backward, is_gentle});
      }
    }
  }
  return result;
}

/// Layers of operators that read two of those before, with transfers that cost about as much as an operator.
inline Problem heavy_layers(std::size_t operators, std::uint32_t devices) {
  Dice dice(7);
  std::vector<Operator> list(operators);
  std::vector<Tensor> tensors(operators);
  for (std::size_t i = 0; i < operators; ++i) {
    list[i].name = fmt::format("op{}", i);
    list[i].durations = {{"", Duration(dice.roll(1000, 9000))}};
    tensors[i].name = fmt::format("t{}", i);
    tensors[i].size = Bytes(dice.roll(2000, 6000));
    list[i].outputs = {TensorId(i)};
    for (int k = 0; k < 2 && i > 0; ++k) {
      const auto input = static_cast<std::size_t>(
          dice.roll(static_cast<std::int64_t>(i > 40 ? i - 40 : 0), static_cast<std::int64_t>(i) - 1));
      if (std::ranges::find(list[i].inputs, TensorId(input)) == list[i].inputs.end())
        list[i].inputs.emplace_back(input);
    }
  }
  return Problem::create(ComputationGraph::create("layers", std::move(list), std::move(tensors), {}),
                         uniform_cluster(devices, {"compute"}, std::nullopt, Duration(500), 1'000'000'000));
}

}  // namespace opweave::testing
