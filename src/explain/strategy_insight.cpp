#include "opweave/strategy_insight.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "explain/strategy_choices.h"
#include "opweave/error.h"
#include "strategy/component_meshes.h"

namespace opweave {
namespace explaining {

BestStrategy best_with(const StrategyRecord& record, const HeldDecisions& held, const Budget& budget) {
  BestStrategy choice;
  try {
    const auto result =
        search_strategies(record.model, record.machines, record.run, record.profile(), record.target, held, 1, budget);
    if (!result.ranked.empty()) {
      choice.best = result.ranked.front();
    } else if (result.least_memory) {
      choice.least_memory = result.least_memory->value.memory.total();
      choice.least_host_memory = result.least_memory->value.host;
      choice.why_not = "does not fit";
    } else {
      choice.why_not = "not found in time";
    }
  } catch (const InputError& error) {
    const std::string text = error.what();
    const std::size_t reason = text.find("for example: ");
    choice.why_not = reason == std::string::npos ? text : text.substr(reason + 13);
  }
  return choice;
}

}  // namespace explaining

namespace {

/// All decisions of a mesh as they are; layers and what is kept of them are found anew.
HeldDecisions held_by(const ModelDescription& model, const Strategy& s, Target target) {
  HeldDecisions held;
  held.tensor = s.tensor;
  held.context = s.context;
  held.data = s.data;
  held.pipeline = s.pipeline;
  held.chunks = s.chunks;
  held.expert = s.expert;
  held.micro_batch = s.micro_batch;
  held.sharding = s.sharding;
  held.schedule = s.schedule;
  if (s.component) {
    const ComponentMesh& mesh = *s.component;
    held.component = HeldComponent{mesh.name, true, mesh.tensor, mesh.context, mesh.data, mesh.pipeline};
  } else if (const ModelComponent* first = strategy::first_component(model);
             first != nullptr && target == Target::kAny) {
    held.component = HeldComponent{first->name, false, {}, {}, {}, {}};
  }
  return held;
}

/// The component on the other kind of mesh, with all else found anew; and where it has one of its own, its axes that
/// trade ranks.
void add_component_choices(const HeldDecisions& held, std::vector<std::pair<std::string, HeldDecisions>>& result) {
  if (!held.component) return;
  const HeldComponent& mesh = *held.component;
  HeldDecisions other;
  other.component = HeldComponent{mesh.name, !mesh.wants_mesh(), {}, {}, {}, {}};
  const std::string_view where = mesh.wants_mesh() ? "on the shared mesh" : "on a mesh of its own";
  result.emplace_back(fmt::format("{} {}", mesh.name, where), other);
  if (!mesh.wants_mesh()) return;
  using Degree = std::optional<std::uint32_t> HeldComponent::*;
  const std::pair<std::string_view, Degree> axes[] = {
      {"tensor", &HeldComponent::tensor}, {"pipeline", &HeldComponent::pipeline}, {"data", &HeldComponent::data}};
  for (const auto& [more, up] : axes) {
    for (const auto& [less, down] : axes) {
      if (up == down || *(mesh.*down) % 2 != 0) continue;
      other = held;
      *((*other.component).*up) *= 2;
      *((*other.component).*down) /= 2;
      other.sharding.reset();
      result.emplace_back(fmt::format("{}: {} {}, {} {}", mesh.name, more, *((*other.component).*up), less,
                                      *((*other.component).*down)),
                          other);
    }
  }
}

/// Each other choice of one decision, or of two axes that trade ranks.
std::vector<std::pair<std::string, HeldDecisions>> other_choices(const ModelDescription& model, const Strategy& s,
                                                                 Target target) {
  std::vector<std::pair<std::string, HeldDecisions>> result;
  const HeldDecisions held = held_by(model, s, target);
  add_component_choices(held, result);
  using Degree = std::optional<std::uint32_t> HeldDecisions::*;
  const std::pair<std::string_view, Degree> axes[] = {{"tensor", &HeldDecisions::tensor},
                                                      {"context", &HeldDecisions::context},
                                                      {"pipeline", &HeldDecisions::pipeline},
                                                      {"data", &HeldDecisions::data}};
  for (const auto& [more, up] : axes) {
    for (const auto& [less, down] : axes) {
      if (up == down || *(held.*down) % 2 != 0) continue;
      HeldDecisions other = held;
      other.*up = 2 * *(held.*up);
      other.*down = *(held.*down) / 2;
      // A pipeline of one has one schedule; any other takes the one that suits it.
      if (up == &HeldDecisions::pipeline || down == &HeldDecisions::pipeline) {
        other.chunks.reset();
        other.schedule.reset();
      }
      other.sharding.reset();
      other.expert.reset();
      result.emplace_back(fmt::format("{} {}, {} {}", more, *(other.*up), less, *(other.*down)), other);
    }
  }
  for (const std::uint32_t micro_batch : {s.micro_batch * 2, s.micro_batch / 2}) {
    if (micro_batch == 0) continue;
    HeldDecisions other = held;
    other.micro_batch = micro_batch;
    result.emplace_back(fmt::format("microbatch {}", micro_batch), other);
  }
  for (const PipelineKind kind :
       {PipelineKind::k1F1B, PipelineKind::kInterleaved, PipelineKind::kZeroBubble1, PipelineKind::kZeroBubble2}) {
    const bool is_zero_bubble = kind == PipelineKind::kZeroBubble1 || kind == PipelineKind::kZeroBubble2;
    if (kind == s.schedule || s.pipeline == 1 || (is_zero_bubble && target == Target::kMegatron)) continue;
    HeldDecisions other = held;
    other.schedule = kind;
    other.chunks.reset();
    result.emplace_back(fmt::format("schedule {}", to_string(kind)), other);
  }
  if (target != Target::kAny) return result;  // each of them has one way to share out states
  for (const Sharding sharding : {Sharding::kOptimizer, Sharding::kWeights}) {
    if (sharding == s.sharding || s.data * s.context == 1) continue;
    HeldDecisions other = held;
    other.sharding = sharding;
    result.emplace_back(fmt::format("sharding {}", to_string(sharding)), other);
  }
  return result;
}

/// Decisions by their names in the file.
nlohmann::ordered_json decisions(const Strategy& strategy) {
  auto json = nlohmann::ordered_json::parse(strategy_to_json(strategy));
  json.erase("format");
  json.erase("version");
  return json;
}

}  // namespace

StrategyExplanation explain_strategy(const StrategyRecord& record, const std::atomic<bool>* stop) {
  StrategyExplanation explanation{record.value(), {}};
  Budget budget;
  if (stop != nullptr) budget.watch(stop);
  // Other choices have their best layers and recomputation: what those alone would gain stands by itself.
  const HeldDecisions same = held_by(record.model, record.strategy, record.target);
  BestStrategy anew = explaining::best_with(record, same, budget);
  if (anew.best && anew.best->value.time.step < explanation.value.time.step) {
    explanation.others.push_back({"layers and recomputation anew", std::move(anew)});
  }
  for (auto& [choice, held] : other_choices(record.model, record.strategy, record.target)) {
    if (budget.stopped()) break;
    explanation.others.push_back({std::move(choice), explaining::best_with(record, held, budget)});
  }
  return explanation;
}

std::vector<DecisionChange> changed_decisions(const Strategy& first, const Strategy& second) {
  const auto before = decisions(first);
  const auto after = decisions(second);
  std::vector<DecisionChange> changes;
  const auto add = [&](const nlohmann::ordered_json& all) {
    for (const auto& [key, unused] : all.items()) {
      const std::string left = before.contains(key) ? before[key].dump() : "-";
      const std::string right = after.contains(key) ? after[key].dump() : "-";
      const bool is_there = std::ranges::find(changes, key, &DecisionChange::decision) != changes.end();
      if (left != right && !is_there) changes.push_back({key, left, right});
    }
  };
  add(before);
  add(after);
  return changes;
}

}  // namespace opweave
