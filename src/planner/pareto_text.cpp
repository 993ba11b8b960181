#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "opweave/pareto.h"

namespace opweave {

double ParetoPoint::gap() const {
  if (!makespan || *makespan == Duration()) return 0;
  const auto length = static_cast<double>(makespan->value());
  return (length - static_cast<double>(bound.value())) / length;
}

std::string pareto_to_csv(const ParetoCurve& curve) {
  std::string text = "memory_limit_bytes,makespan_ns,lower_bound_ns,peak_memory_bytes,infeasible\n";
  for (const ParetoPoint& point : curve.points) {
    text += fmt::format("{},{},{},{},{}\n", point.memory_limit.value(),
                        point.makespan ? std::to_string(point.makespan->value()) : "", point.bound.value(),
                        point.makespan ? std::to_string(point.peak_memory.value()) : "", point.is_infeasible ? 1 : 0);
  }
  return text;
}

std::string pareto_to_json(const ParetoCurve& curve) {
  auto list = nlohmann::ordered_json::array();
  for (const ParetoPoint& point : curve.points) {
    nlohmann::ordered_json item = {{"memory_limit_bytes", point.memory_limit.value()}};
    if (point.makespan) {
      item["makespan_ns"] = point.makespan->value();
      item["peak_memory_bytes"] = point.peak_memory.value();
      item["method"] = point.method;
    }
    item["lower_bound_ns"] = point.bound.value();
    item["bound"] = point.bound_name;
    item["infeasible"] = point.is_infeasible;
    list.push_back(std::move(item));
  }
  return nlohmann::ordered_json{{"points", list}}.dump(2) + "\n";
}

}  // namespace opweave
