#include "cli/parallelize_hints.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <initializer_list>
#include <vector>

#include <algorithm>

#include "cli/strategy_insight.h"
#include "opweave/error.h"
#include "report/names.h"
#include "report/strategy_words.h"

namespace opweave::cli {
namespace {

struct Degree {
  std::string_view key;
  std::optional<std::uint32_t> HeldDecisions::*held;
  std::uint32_t Strategy::*found;
};
constexpr std::array<Degree, 7> kDegrees = {{{"tp", &HeldDecisions::tensor, &Strategy::tensor},
                                             {"pp", &HeldDecisions::pipeline, &Strategy::pipeline},
                                             {"dp", &HeldDecisions::data, &Strategy::data},
                                             {"cp", &HeldDecisions::context, &Strategy::context},
                                             {"ep", &HeldDecisions::expert, &Strategy::expert},
                                             {"mbs", &HeldDecisions::micro_batch, &Strategy::micro_batch},
                                             {"vpp", &HeldDecisions::chunks, &Strategy::chunks}}};

/// "tp=2,dp=4 would do".
template <class Degrees = std::initializer_list<Degree>>
std::string degrees_in_words(const Degrees& degrees, const Strategy& found) {
  std::vector<std::string> values;
  for (const Degree& degree : degrees) values.push_back(fmt::format("{}={}", degree.key, found.*degree.found));
  return fmt::format("{} would do", fmt::join(values, ","));
}

std::optional<Strategy> best_of(const StrategyQuestion& q, const Machines& machines, const HeldDecisions& held,
                                const Budget& budget) {
  try {
    const auto result = search_strategies(q.model, machines, q.run, q.profile, q.target, held, 1, budget);
    if (!result.ranked.empty()) return result.ranked.front().strategy;
  } catch (const InputError&) {
    // Impossible with these as well.
  }
  return std::nullopt;
}

/// Where degrees of a component are held: its mesh, with all else as it is held.
std::string mesh_that_would_work(const StrategyQuestion& q, const Budget& budget) {
  if (!q.held.component) return {};
  const std::string& name = q.held.component->name;
  if (std::ranges::find(q.model.components, name, &ModelComponent::name) == q.model.components.end()) return {};
  HeldDecisions free = q.held;
  free.component.reset();
  const auto found = best_of(q, q.machines, free, budget);
  if (!found) return {};
  if (!found->component) return fmt::format("{}.mesh=shared would do", readable(name));
  const ComponentMesh& mesh = *found->component;
  return fmt::format("{0}.tp={1},{0}.cp={2},{0}.pp={3},{0}.dp={4} would do", readable(mesh.name), mesh.tensor,
                     mesh.context, mesh.pipeline, mesh.data);
}

}  // namespace

std::string nodes_that_would_work(const StrategyQuestion& q, const Budget& budget) {
  constexpr std::uint32_t kMostTimes = 4096;
  Machines more = q.machines;
  for (std::uint32_t times = 2; times <= kMostTimes && !budget.expired(); times *= 2) {
    more.nodes = q.machines.nodes * times;
    const auto found = best_of(q, more, q.held, budget);
    if (!found) continue;
    std::string text = fmt::format("{} nodes would do: tp {}, pp {}, cp {}, ep {}, dp {}", more.nodes, found->tensor,
                                   found->pipeline, found->context, found->expert, found->data);
    if (found->component) {
      text += fmt::format("; {}: {}", readable(found->component->name), component_mesh_text(*found->component));
    }
    return text;
  }
  return {};
}

std::string decision_that_would_work(const StrategyQuestion& q, const Budget& budget) {
  for (const Degree& degree : kDegrees) {
    if (!(q.held.*degree.held) || budget.expired()) continue;
    HeldDecisions free = q.held;
    (free.*degree.held).reset();
    if (const auto found = best_of(q, q.machines, free, budget)) return degrees_in_words({degree}, *found);
  }
  if (std::string text = mesh_that_would_work(q, budget); !text.empty()) return text;
  HeldDecisions free = q.held;
  free.schedule.reset();
  if (q.held.schedule) {
    if (const auto found = best_of(q, q.machines, free, budget)) {
      return fmt::format("schedule={} would do", to_string(found->schedule));
    }
  }
  // What one degree gives up another takes, as there are so many devices.
  for (const Degree& degree : kDegrees) {
    if (!(q.held.*degree.held) || !q.held.data || degree.held == &HeldDecisions::data || budget.expired()) continue;
    free = q.held;
    (free.*degree.held).reset();
    free.data.reset();
    if (const auto found = best_of(q, q.machines, free, budget)) return degrees_in_words({degree, kDegrees[2]}, *found);
  }
  return {};
}

std::string decision_that_would_fit(const StrategyQuestion& q, const Budget& budget) {
  if (q.held == HeldDecisions()) return {};
  if (std::string text = decision_that_would_work(q, budget); !text.empty()) return text;
  HeldDecisions free = q.held;
  std::vector<Degree> held;
  for (const Degree& degree : kDegrees) {
    if (free.*degree.held) held.push_back(degree);
    (free.*degree.held).reset();
  }
  if (const auto found = best_of(q, q.machines, free, budget); found && !held.empty()) {
    return degrees_in_words(held, *found);
  }
  const auto found = best_of(q, q.machines, {}, budget);
  return found ? "without --fix, " + degrees_in_words(kDegrees, *found) : "";
}

std::string strategy_that_would_work(const StrategyQuestion& q, const Strategy& wrong, const Budget& budget) {
  HeldDecisions held;
  for (const Degree& degree : kDegrees) held.*degree.held = wrong.*degree.found;
  held.schedule = wrong.schedule;
  if (const auto found = best_of(q, q.machines, held, budget)) {
    return fmt::format("with its degrees these would do: layers_per_stage [{}], recompute {}",
                       fmt::join(found->layers_per_stage, ", "), to_string(found->recompute));
  }
  std::string decision = decision_that_would_work({q.model, q.machines, q.run, q.profile, q.target, held}, budget);
  if (!decision.empty()) return decision;
  const auto found = best_of(q, q.machines, {}, budget);
  return found ? degrees_in_words(kDegrees, *found) : "";
}

}  // namespace opweave::cli
