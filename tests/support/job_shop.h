/// Random flexible job shops: operations in sequence, each on one of several machines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "opweave/problem.h"
#include "support/random_problems.h"

namespace opweave::testing {

inline Problem random_job_shop(std::uint64_t seed, std::int64_t jobs, std::int64_t operations, std::int64_t machines) {
  Dice dice(seed);
  std::vector<Operator> operators;
  for (std::int64_t job = 0; job < jobs; ++job) {
    for (std::int64_t i = 0; i < operations; ++i) {
      Operator op;
      op.name = "j" + std::to_string(job) + "." + std::to_string(i);
      if (i > 0) op.after = {OperatorId(operators.size() - 1)};
      for (std::int64_t m = 0; m < machines; ++m) {
        if (dice.chance(50)) op.modes.push_back({{"m" + std::to_string(m)}, Duration(dice.roll(1, 9)), Bytes()});
      }
      if (op.modes.empty()) op.modes.push_back({{"m0"}, Duration(dice.roll(1, 9)), Bytes()});
      operators.push_back(std::move(op));
    }
  }
  ClusterParts parts;
  parts.name = "job shop";
  for (std::int64_t m = 0; m < machines; ++m) {
    Device device;
    device.name = "m" + std::to_string(m);
    parts.devices.push_back(std::move(device));
  }
  return Problem::create(ComputationGraph::create("job shop", std::move(operators), {}, {}),
                         Cluster::create(std::move(parts)));
}

}  // namespace opweave::testing
