/// Small random placement models, and what enumeration says of them.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <random>
#include <vector>

#include "partition/cut_model.h"

namespace opweave::testing {

/// Integers as doubles throughout, so that sums are exact. One net per vertex with readers; the precedence is that of
/// the nets, so it has no circle.
inline partition::CutModel random_model(std::mt19937_64& random, std::size_t vertices, std::uint32_t accelerators,
                                        std::uint32_t cpus) {
  const auto number = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  partition::CutModel model;
  partition::DeviceKind fast{accelerators, true, static_cast<double>(number(8, 30)), {}};
  partition::DeviceKind slow{cpus, false, std::numeric_limits<double>::infinity(), {}};
  for (std::size_t u = 0; u < vertices; ++u) {
    const bool idle = number(0, 3) == 0;
    model.bytes.push_back(number(0, 6));
    fast.work.push_back(cpus > 0 && number(0, 9) == 0 ? std::numeric_limits<double>::infinity()
                                                      : (idle ? 0 : number(1, 9)));
    slow.work.push_back(idle ? 0 : number(3, 30));
  }
  model.kinds = {fast, slow};
  for (partition::Vertex u = 0; u + 1 < vertices; ++u) {
    partition::Net net;
    net.pins.push_back(u);
    for (partition::Vertex v = u + 1; v < vertices; ++v) {
      if (number(0, 2) == 0) {
        net.pins.push_back(v);
        model.precedence.emplace_back(u, v);
      }
    }
    net.cost = number(0, 12);
    if (net.pins.size() > 1) model.nets.push_back(net);
  }
  // The same pins twice would be two nets.
  std::vector<std::uint32_t> label;
  for (std::uint32_t u = 0; u < vertices; ++u) label.push_back(u);
  return partition::merge(model, label).model;
}

/// The devices can be lined up so that no precedence goes back.
inline bool lines_up(const partition::CutModel& model, const partition::Assignment& assignment) {
  const std::size_t devices = model.device_count();
  std::vector<std::vector<bool>> reach(devices, std::vector<bool>(devices));
  for (const auto& [a, b] : model.precedence) {
    if (assignment[a] != assignment[b]) reach[assignment[a]][assignment[b]] = true;
  }
  for (std::size_t k = 0; k < devices; ++k) {
    for (std::size_t i = 0; i < devices; ++i) {
      for (std::size_t j = 0; j < devices; ++j) reach[i][j] = reach[i][j] || (reach[i][k] && reach[k][j]);
    }
  }
  for (std::size_t i = 0; i < devices; ++i) {
    if (reach[i][i]) return false;
  }
  return true;
}

/// Least largest load over all assignments that `accepts`; infinite if there is none.
inline double least_load(const partition::CutModel& model,
                         const std::function<bool(const partition::Assignment&)>& accepts) {
  double best = std::numeric_limits<double>::infinity();
  partition::Assignment assignment(model.vertex_count());
  while (true) {
    const double load = partition::largest_load(model, assignment);
    if (load < best && accepts(assignment)) best = load;
    std::size_t digit = 0;
    while (digit < assignment.size() && ++assignment[digit] == model.device_count()) assignment[digit++] = 0;
    if (digit == assignment.size()) return best;
  }
}

}  // namespace opweave::testing
