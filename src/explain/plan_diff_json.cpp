#include <algorithm>
#include <nlohmann/json.hpp>

#include "opweave/plan_diff.h"

namespace opweave {
namespace {

using Json = nlohmann::ordered_json;

Json figures(const Plan& plan) {
  Bytes peak;
  for (const DeviceStatistics& device : plan.statistics.devices) peak = std::max(peak, device.peak_memory);
  Json result = {{"makespan_ns", plan.statistics.makespan.value()},
                 {"lower_bound_ns", plan.lower_bound().value()},
                 {"gap", plan.gap()},
                 {"bubble_ratio", plan.statistics.bubble_ratio},
                 {"peak_memory_bytes", peak.value()},
                 {"moved_bytes", plan.statistics.bytes_moved.value()},
                 {"method", plan.provenance.method}};
  if (plan.movements.empty()) return result;
  result["values_that_do_not_stay"] = plan.modes.size();
  result["recomputed_ns"] = plan.statistics.recomputed.value();
  result["copied_out_bytes"] = plan.statistics.bytes_copied_out.value();
  return result;
}

Json idle(const IdleByCause& causes) {
  Json result;
  for (std::size_t c = 0; c < kIdleCauses; ++c) {
    result[std::string(to_string(static_cast<IdleCause>(c))) + "_ns"] = causes[c].value();
  }
  return result;
}

Json to_json(const DiffCosts& costs) {
  auto alone = Json::array();
  for (const DiffCosts::Move& move : costs.alone) {
    alone.push_back({{"group", move.group}, {"makespan_ns", move.makespan.value()}});
  }
  return {{"first_ns", costs.first.value()},        {"with_places_ns", costs.with_places.value()},
          {"second_ns", costs.second.value()},      {"idle_first", idle(costs.idle_first)},
          {"idle_second", idle(costs.idle_second)}, {"moved_groups", costs.moved_groups},
          {"moved_alone", std::move(alone)}};
}

}  // namespace

std::string diff_to_json(const PlanAlone& first, const PlanAlone& second, const PlanDiff& diff,
                         const std::optional<DiffCosts>& costs) {
  Json result = {{"same_problem", diff.is_same_problem},
                 {"same_settings", diff.is_same_settings},
                 {"first", figures(first.plan)},
                 {"second", figures(second.plan)},
                 {"tasks_in_both", diff.in_both},
                 {"tasks_only_in_first", diff.only_first},
                 {"tasks_only_in_second", diff.only_second}};
  auto moved = Json::array();
  for (const MovedTasks& move : diff.moved) {
    moved.push_back({{"from", move.from}, {"to", move.to}, {"tasks", move.tasks}, {"operators", move.operators}});
  }
  result["moved"] = std::move(moved);
  auto orders = Json::array();
  for (const OrderChange& order : diff.orders) {
    orders.push_back({{"device", order.device},
                      {"tasks_stayed", order.stayed},
                      {"pairs_swapped", order.swapped},
                      {"share", order.share}});
  }
  result["orders"] = std::move(orders);
  auto shifted = Json::array();
  for (const ShiftedTask& task : diff.shifted) {
    shifted.push_back(
        {{"task", task.task}, {"first_start_ns", task.first.value()}, {"second_start_ns", task.second.value()}});
  }
  result["shifted"] = std::move(shifted);
  if (costs) result["costs"] = to_json(*costs);
  return result.dump(2) + "\n";
}

}  // namespace opweave
