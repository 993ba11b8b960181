/// Random problems of few tasks for which memory, routes and exclusions leave little, or nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>

#include "support/random_problems.h"

namespace opweave::testing {

/// Gangs, replicas with homes of their own, half-duplex links, missing links, two streams, anti-colocation, workspaces,
/// tensors of no bytes, operators that take no time, and memories about as large as the neediest operator. About half
/// of them have no plan. May be rejected by Problem::create, like random_problem().
inline RandomProblem tight_problem(std::uint64_t seed, std::int64_t most_tasks = 5) {
  RandomShape shape;
  shape.most_tasks = most_tasks;
  shape.pinned_percent = 25;
  RandomProblem result = random_problem(seed, shape);
  Dice dice(seed * 2 + 1'000'003);
  const auto device_name = [](std::int64_t d) { return "d" + std::to_string(d); };
  const std::int64_t devices = std::ssize(result.cluster.devices);

  std::int64_t neediest = 0;
  for (Operator& op : result.operators) {
    const bool is_free = op.modes.empty() && op.devices.empty();
    if (is_free && result.training.replicas == 2 && dice.chance(50)) {
      for (int replica = 0; replica < 2; ++replica) {
        std::set<std::string> homes;
        for (std::int64_t h = dice.roll(1, devices); h > 0; --h) homes.insert(device_name(dice.roll(0, devices - 1)));
        op.devices.emplace_back(homes.begin(), homes.end());
      }
    }
    if (op.colocation.empty() && dice.chance(25)) {
      op.anti_colocation = dice.chance(70) ? std::vector<std::string>{"apart"} : std::vector<std::string>{"alone"};
    }
    if (op.modes.empty() && dice.chance(25)) op.workspace = Bytes(dice.roll(1, 6));
    std::int64_t need = op.workspace.value();
    for (const TensorId tensor : op.inputs) need += result.tensors[tensor.index()].size.value();
    for (const TensorId tensor : op.outputs) need += result.tensors[tensor.index()].size.value();
    for (const ParameterId p : op.parameters) {
      need += result.training.persistent_bytes(result.parameters[p.index()].weights).value();
    }
    neediest = std::max(neediest, need);
  }
  for (Device& device : result.cluster.devices) {
    device.memory.reset();
    if (dice.chance(90)) device.memory = Bytes(std::max<std::int64_t>(0, neediest + dice.roll(-4, 4)));
  }
  if (dice.chance(35)) result.cluster.default_link.reset();
  return result;
}

}  // namespace opweave::testing
