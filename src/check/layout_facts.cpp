#include "check/layout_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "opweave/error.h"

namespace opweave::checking {

LayoutFacts::LayoutFacts(const LayoutGraph& graph, const Cluster& cluster, const LayoutPlan& plan,
                         ViolationList& violations)
    : graph_(graph), cluster_(cluster), plan_(plan) {
  if (!settings_are_usable(violations) || !choose(violations)) return;
  choose_together(violations);
  for (const LayoutMovement& movement : plan.movements) {
    if (movement.end >= movement.start) continue;
    violations.add(Rule::kMovement, [&] { return name(movement.key) + " ends before it starts"; });
    return;
  }
  usable_ = true;
  find_forms();
  make_room_for_movements();
  for (const LayoutMovement& movement : plan.movements) file_movement(movement);
  find_uses(violations);
  number_units();
  file_modes(violations);
}

bool LayoutFacts::settings_are_usable(ViolationList& violations) const {
  try {
    validate(plan_.plan.settings.training);
    require_layout_settings(plan_.plan.settings);
  } catch (const InputError& error) {
    violations.add(Rule::kOption, [&] { return std::string("settings: ") + error.what(); });
    return false;
  }
  // A hostile plan may claim four billion microbatches.
  constexpr Wide kAlwaysFine = 1'000'000;
  const Wide expected = Wide{microbatches()} * static_cast<std::int64_t>(graph_.graph.operators().size());
  if (expected <= kAlwaysFine + 4 * Wide{plan_.plan.tasks.size()}) return true;
  violations.add(Rule::kOnce, [&] {
    return fmt::format("plan has {} tasks, but its settings ({} microbatches) ask for about {}",
                       plan_.plan.tasks.size(), microbatches(), expected);
  });
  return false;
}

/// Each operator in the option that the plan names, on the devices of its first task.
bool LayoutFacts::choose(ViolationList& violations) {
  const std::size_t count = graph_.graph.operators().size();
  chosen_.assign(count, nullptr);
  runs_.assign(count * microbatches(), nullptr);
  for (const PlannedTask& task : plan_.plan.tasks) {
    if (task.end < task.start) {
      violations.add(Rule::kOnce,
                     [&] { return fmt::format("task {} ends before it starts", name(task.op, task.copy)); });
      return false;
    }
    const bool exists = task.copy < copies(task.op);
    if (!exists || !file_run(task)) {
      violations.add(Rule::kOnce, [&] {
        return fmt::format("task {} {}", name(task.op, task.copy), exists ? "runs twice" : "does not exist");
      });
    }
    if (chosen_[task.op.index()] != nullptr) continue;
    for (const LayoutOption& option : graph_.options[task.op.index()]) {
      const bool is_named = plan_.options.size() == count && option.name == plan_.options[task.op.index()];
      if (is_named && option.devices == task.devices) chosen_[task.op.index()] = &option;
    }
  }
  bool all = true;
  for (std::size_t i = 0; i < count; ++i) {
    if (chosen_[i] != nullptr) continue;
    all = false;
    const auto own = std::span(runs_).subspan(i * microbatches(), microbatches());
    const bool runs = std::ranges::any_of(own, [](const PlannedTask* run) { return run != nullptr; });
    violations.add(runs ? Rule::kOption : Rule::kOnce, [&] {
      if (!runs) return fmt::format("operator \"{}\" does not run", graph_.graph.operators()[i].name);
      const std::string stated = i < plan_.options.size() ? plan_.options[i] : std::string();
      return fmt::format("operator \"{}\" has no option \"{}\" on the devices of its task",
                         graph_.graph.operators()[i].name, stated);
    });
  }
  return all;
}

bool LayoutFacts::file_run(const PlannedTask& task) {
  const PlannedTask*& run = runs_[task.op.index() * microbatches() + task.copy];
  if (run != nullptr) return false;
  run = &task;
  return true;
}

/// Operators of one choice, of one colocation group and of one parameter; anti-colocated ones share no device.
void LayoutFacts::choose_together(ViolationList& violations) const {
  std::map<std::pair<int, std::string>, OperatorId> first;
  std::map<std::string, std::vector<OperatorId>> apart;
  for (std::size_t i = 0; i < chosen_.size(); ++i) {
    const OperatorId id(i);
    const Operator& op = graph_.graph.at(id);
    const auto join = [&](int kind, const std::string& text) {
      if (text.empty()) return;
      const OperatorId other = first.emplace(std::pair(kind, text), id).first->second;
      if (option(other).name == option(id).name && option(other).devices == option(id).devices) return;
      violations.add(Rule::kOption, [&] {
        return fmt::format(
            "operators \"{}\" and \"{}\" choose together, but run in option \"{}\" on {} and \"{}\" on {}",
            graph_.graph.at(other).name, op.name, option(other).name, names(option(other).devices), option(id).name,
            names(option(id).devices));
      });
    };
    join(0, graph_.choices[i]);
    join(1, op.colocation);
    for (const ParameterId parameter : op.parameters) join(2, graph_.graph.at(parameter).name);
    for (const std::string& text : op.anti_colocation) apart[text].push_back(id);
  }
  for (const auto& [text, operators] : apart) {
    std::map<DeviceId, OperatorId> user;
    for (const OperatorId op : operators) {
      for (const DeviceId device : option(op).devices) {
        const auto [place, is_new] = user.emplace(device, op);
        if (is_new) continue;
        violations.add(Rule::kPlacement, [&] {
          return fmt::format("operators \"{}\" and \"{}\" share device {}, but are anti-colocated",
                             graph_.graph.at(place->second).name, graph_.graph.at(op).name, name(device));
        });
      }
    }
  }
}

void LayoutFacts::find_uses(ViolationList& violations) {
  uses_.resize(graph_.graph.parameters().size());
  std::vector<std::optional<ParameterParts>> stated(uses_.size());
  for (std::size_t i = 0; i < chosen_.size(); ++i) {
    const Operator& op = graph_.graph.operators()[i];
    for (std::size_t k = 0; k < op.parameters.size(); ++k) {
      ParameterUse& use = uses_[op.parameters[k].index()];
      use.devices = chosen_[i]->devices;
      const bool is_update = op.phase == Phase::kWeightGradient || op.phase == Phase::kBackward;
      if (is_update) use.updates.emplace_back(i);
      if (op.phase == Phase::kOptimizer) {
        use.optimizer.emplace_back(i);
      } else {
        (is_update || op.phase == Phase::kInputGradient ? use.backward : use.forward).emplace_back(i);
      }
      const auto& parts = chosen_[i]->parameters[k];
      std::optional<ParameterParts>& known = stated[op.parameters[k].index()];
      if (parts && known && *parts != *known) {
        violations.add(Rule::kOption, [&] {
          return fmt::format("parameter \"{}\" has different parts in the options of its operators",
                             graph_.graph.at(op.parameters[k]).name);
        });
      }
      if (parts && !known) known = parts;
    }
  }
  parameter_forms_.resize(uses_.size());
  for (std::size_t p = 0; p < uses_.size(); ++p) {
    uses_[p].parts = stated[p].value_or(ParameterParts{});
    find_parameter_forms(ParameterId(p));
  }
}

const PlannedTask* LayoutFacts::run(OperatorId op, std::uint32_t copy) const {
  return copy < microbatches() ? runs_[op.index() * microbatches() + copy] : nullptr;
}

std::optional<std::size_t> LayoutFacts::form_made_by(const MovementKey& key) const {
  if (key.moved != Moved::kTensor || key.tensor.index() >= graph().tensors().size()) return std::nullopt;
  const auto& maker = graph_.graph.at(key.tensor).producer;
  if (!maker || key.copy >= copies(*maker)) return std::nullopt;
  const std::span<const Form> all = forms(key.tensor);
  const auto found = std::ranges::find_if(all, [&](const Form& form) {
    return form.from && form.layout == key.layout && are_same(form.devices, key.target);
  });
  return found == all.end() ? std::nullopt : std::optional(static_cast<std::size_t>(found - all.begin()));
}

/// Of those with one key the first counts; the others are a violation.
void LayoutFacts::file_movement(const LayoutMovement& movement) {
  const MovementKey& key = movement.key;
  const auto number = form_made_by(key);
  bool is_first = false;
  if (!number) {
    is_first = (movement.again ? movements_again_ : movements_).emplace(key, &movement).second;
    beside_forms_.push_back(&movement);
  } else {
    const Form& form = forms(key.tensor)[*number];
    const LayoutMovement*& run = (movement.again ? form.again : form.runs)[key.copy];
    is_first = run == nullptr;
    if (is_first) run = &movement;
  }
  if (!is_first) repeated_.push_back(&movement);
}

const LayoutMovement* LayoutFacts::movement(const MovementKey& key) const {
  if (const auto number = form_made_by(key)) return movement(forms(key.tensor)[*number], key.copy);
  const auto found = movements_.find(key);
  return found == movements_.end() ? nullptr : found->second;
}

MovementKey LayoutFacts::key(TensorId tensor, const Form& form, std::uint32_t copy) const {
  MovementKey result;
  result.tensor = tensor;
  result.copy = copy;
  result.target.assign(form.devices.begin(), form.devices.end());
  result.layout = form.layout;
  return result;
}

MovementKey LayoutFacts::key(ParameterId parameter, const ParameterForm& form, std::uint32_t copy) const {
  MovementKey result;
  result.moved = form.moved;
  result.parameter = parameter;
  result.op = form.op;
  result.copy = copy;
  return result;
}

std::string LayoutFacts::names(std::span<const DeviceId> devices) const {
  std::string text;
  for (const DeviceId device : devices) text += (text.empty() ? "" : ", ") + name(device);
  return text;
}

std::string LayoutFacts::name(OperatorId op, std::uint32_t copy) const {
  const std::string& text = graph_.graph.at(op).name;
  return microbatches() == 1 ? fmt::format("\"{}\"", text) : fmt::format("\"{}#{}\"", text, copy);
}

std::string LayoutFacts::name(const MovementKey& key) const {
  if (key.moved == Moved::kTensor) {
    return fmt::format("movement of \"{}#{}\" to {} on {}", graph_.graph.at(key.tensor).name, key.copy,
                       to_string(key.layout), names(key.target));
  }
  return fmt::format("movement ({}) of parameter \"{}#{}\"{}", to_string(key.moved),
                     graph_.graph.at(key.parameter).name, key.copy,
                     key.op ? fmt::format(" behind \"{}\"", graph_.graph.at(*key.op).name) : std::string());
}

}  // namespace opweave::checking
