/// Instances of the exact methods' tests.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "exact/cp_formulation.h"
#include "exact/engine.h"
#include "exact/retime.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/plan.h"
#include "support/random_problems.h"

namespace opweave::exact::testing {

/// What `check` says against a schedule.
inline std::vector<std::string> violations(const Problem& problem, const Schedule& schedule) {
  const Plan plan = make_plan(problem, schedule, {{"none", Duration(), ""}}, {});
  std::vector<std::string> messages;
  for (const Violation& violation : check(problem.graph(), problem.cluster(), plan)) {
    messages.push_back(violation.message);
  }
  return messages;
}

/// Nothing where the dice made parts that contradict each other.
inline std::optional<Problem> problem_of_seed(std::uint64_t seed, const opweave::testing::RandomShape& shape = {}) {
  try {
    return opweave::testing::random_problem(seed, shape).problem();
  } catch (const InputError&) {
    return std::nullopt;
  }
}

/// A valid schedule in no sensible order, started as early as that order allows: the best for random prices of
/// everything that is decided. Nothing if there is no schedule. Needs CP-SAT.
inline std::optional<Schedule> random_schedule(const Problem& problem, std::uint64_t seed) {
  const auto space = std::make_shared<const ScheduleSpace>(problem, exact_unit(problem));
  const CpFormulation formulation(space);
  const auto model = std::make_shared<CpModel>(formulation.model());
  opweave::testing::Dice dice(seed);
  std::vector<CpModel::Term> prices;
  for (std::size_t v = 0; v < model->domains().size(); ++v) {
    prices.push_back({static_cast<CpModel::Variable>(v), dice.roll(-3, 3)});
  }
  model->minimise(std::move(prices));
  EngineLimits limits;
  limits.work = 0.02;
  const auto claim = run<CpModel>(cp_sat_engine(), model, limits);
  if (!claim.has_solution()) return std::nullopt;
  return retime(problem, formulation.read(claim.values));
}

}  // namespace opweave::exact::testing
