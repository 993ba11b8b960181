#include "distribute/plan_parts.h"

#include "opweave/io.h"
#include "opweave/model.h"

namespace opweave::distribute {

Plan settings_alone(const Problem& problem) {
  Plan plan;
  plan.settings = problem.settings();
  plan.statistics.devices.resize(problem.cluster().device_count());
  return plan;
}

std::string hash_of(const Problem& problem) {
  return text_hash(content_hash(problem.graph()) + content_hash(problem.cluster()) +
                   plan_to_json(settings_alone(problem), problem.graph(), problem.cluster()));
}

std::string plan_text(const Problem& problem, const Schedule& schedule, const std::string& method) {
  Provenance provenance;
  provenance.method = method;
  return plan_to_json(make_plan(problem, schedule, {}, std::move(provenance)), problem.graph(), problem.cluster());
}

Plan plan_from(const Problem& problem, const std::string& text) {
  return parse_plan(text, "a worker's plan", problem.graph(), problem.cluster());
}

Json to_json(const LowerBound& bound) {
  return {{"name", bound.name}, {"value", bound.value.value()}, {"detail", bound.detail}};
}

LowerBound bound_from(const Json& value) {
  return {value.at("name").get<std::string>(), Duration(value.at("value").get<std::int64_t>()),
          value.at("detail").get<std::string>()};
}

Json result_to_json(const Problem& problem, const PlanResult& result) {
  Json bounds = Json::array();
  for (const LowerBound& bound : result.plan ? result.plan->bounds : result.bounds) bounds.push_back(to_json(bound));
  Json value = {{"infeasible", result.reason == PlanResult::Reason::kInfeasible},
                {"limit", result.limit},
                {"detail", result.detail},
                {"bounds", std::move(bounds)}};
  if (result.plan) value["plan"] = plan_to_json(*result.plan, problem.graph(), problem.cluster());
  return value;
}

PlanResult result_from(const Problem& problem, const Json& value) {
  using Reason = PlanResult::Reason;
  PlanResult result;
  result.reason = value.at("infeasible").get<bool>() ? Reason::kInfeasible : Reason::kNotFound;
  result.limit = value.at("limit").get<std::string>();
  result.detail = value.at("detail").get<std::string>();
  for (const Json& bound : value.at("bounds")) result.bounds.push_back(bound_from(bound));
  if (value.contains("plan")) {
    result.plan = plan_from(problem, value["plan"].get<std::string>());
    result.reason = Reason::kPlanned;
  }
  return result;
}

}  // namespace opweave::distribute
