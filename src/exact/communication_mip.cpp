#include "exact/communication_mip.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>

#include "exact/engine.h"
#include "exact/mip_placement.h"
#include "exact/schedule_space.h"

namespace opweave::exact {
namespace {

constexpr std::size_t kMostNonzeros = 2'000'000;

/// Rough count of what would be built, before it is.
std::size_t nonzeros(const ScheduleSpace& space) {
  const Problem& problem = space.problem();
  std::size_t count = 0;
  for (const ScheduleSpace::Delivery& delivery : space.deliveries()) {
    count += 4 * delivery.sources.size() + (2 + delivery.sources.size()) * problem.consumers(delivery.value).size();
  }
  for (std::size_t t = 0; t < problem.task_count(); ++t) count += space.options(problem.group_of(TaskId(t))).size();
  return count;
}

/// Model and how to read it; kept together because a solver that was left behind still reads the model.
struct Program {
  explicit Program(const ScheduleSpace& space) : placement(space, model) {}
  MipModel model;
  MipPlacement placement;
};

void limit_loads(const ScheduleSpace& space, std::int64_t most, Program& program) {
  const Problem& problem = space.problem();
  const std::size_t stream_count = problem.cluster().stream_names().size();
  std::map<std::size_t, MipModel::Expression> loads;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const GroupId group = problem.group_of(TaskId(t));
    const auto& options = space.options(group);
    for (std::uint32_t o = 0; o < options.size(); ++o) {
      const auto work = static_cast<double>(space.duration(TaskId(t), o));
      if (work == 0) continue;
      for (const DeviceId device : options[o].devices) {
        for (std::uint32_t mask = problem.streams(TaskId(t)); mask != 0; mask &= mask - 1) {
          loads[device.index() * stream_count + static_cast<std::size_t>(__builtin_ctz(mask))] +=
              work * program.placement.chosen(group, o);
        }
      }
    }
  }
  for (const auto& [stream, load] : loads) program.model.add_at_most(load, static_cast<double>(most));
}

/// Parameters must fit where they live. Tensors come and go, so they are left out.
void limit_parameters(const ScheduleSpace& space, Program& program) {
  for (std::size_t d = 0; d < space.problem().cluster().device_count(); ++d) {
    const std::optional<Bytes> capacity = space.binding_capacity(DeviceId(d));
    if (!capacity) continue;
    program.model.add_at_most(program.placement.persistent(DeviceId(d)),
                              program.placement.units(DeviceId(d), *capacity));
  }
}

}  // namespace

LeastCommunication least_communication(const Problem& problem, std::optional<Duration> largest_load,
                                       const Budget& budget, unsigned threads, std::uint64_t seed) {
  LeastCommunication result;
  if (result.message = highs_engine()->unavailable_because(); !result.message.empty()) return result;
  if (const std::size_t choices = choice_count(problem); choices > kMostNonzeros / 4) {
    result.message = fmt::format("{} choices, expected at most {}", choices, kMostNonzeros / 4);
    return result;
  }
  // Loads and parameters are rounded down, at least as much as solvers need: a relaxation, like leaving tensors out.
  TimeUnit time_unit = relaxed_unit(problem, largest_load.value_or(Duration()), kMostUnits);
  time_unit.is_rounded = true;
  const ScheduleSpace space(problem, time_unit);
  if (const std::size_t size = nonzeros(space); size > kMostNonzeros) {
    result.message = fmt::format("the model would have {} nonzeros, expected at most {}", size, kMostNonzeros);
    return result;
  }
  // Bytes in a unit that keeps the numbers small; what is rounded down makes a relaxation.
  std::int64_t total = 0;
  std::int64_t divisor = 0;
  for (const ScheduleSpace::Delivery& delivery : space.deliveries()) {
    total += problem.size(delivery.value).value();
    divisor = std::gcd(divisor, problem.size(delivery.value).value());
  }
  const std::int64_t unit = std::max({std::int64_t{1}, divisor, total / 100'000'000});

  const auto program = std::make_shared<Program>(space);
  if (largest_load) limit_loads(space, largest_load->value() / space.unit().length.value(), *program);
  limit_parameters(space, *program);
  for (std::size_t s = 0; s < space.deliveries().size(); ++s) {
    const double cost = static_cast<double>(problem.size(space.deliveries()[s].value).value() / unit);
    for (std::size_t k = 0; k < space.deliveries()[s].sources.size(); ++k) {
      const MipModel::Expression& sent = program->placement.sent(s, k);
      program->model.set_cost(sent.terms().front().column, cost);
    }
  }
  EngineLimits limits;
  limits.seconds = budget.remaining();
  limits.threads = threads;
  limits.seed = seed;
  if (budget.work_limit()) {
    limits.work = static_cast<double>(*budget.work_limit()) / 1000;  // a unit of work is a node
    limits.deterministic = true;
    limits.threads = 1;  // the same answer whatever the machine
  }
  const std::shared_ptr<const MipModel> model(program, &program->model);
  const Claim<MipModel> claim = run<MipModel>(highs_engine(), model, limits, [&] { return budget.expired(); });
  result.message = claim.message;
  result.is_infeasible = claim.status == EngineStatus::kInfeasible;
  if (claim.bound) {
    const double least = std::ceil(*claim.bound * (1 - 1e-9) - 1e-5);
    result.bound = Bytes(unit * std::max<std::int64_t>(0, static_cast<std::int64_t>(least)));
  }
  if (claim.has_solution()) result.modes = program->placement.modes(claim.values);
  return result;
}

}  // namespace opweave::exact
