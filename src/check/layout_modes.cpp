// What a plan with options says of memory modes, and what runs again together, written from docs/layouts.md and
// docs/memory-modes.md alone.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "check/layout_facts.h"

namespace opweave::checking {

void LayoutFacts::number_units() {
  std::map<std::pair<bool, std::string_view>, std::size_t> named;  // by unit, or else by layer
  for (const Operator& op : graph_.graph.operators()) {
    const bool is_alone = op.unit.empty() && op.layer.empty();
    const std::pair<bool, std::string_view> key(op.unit.empty(), op.unit.empty() ? op.layer : op.unit);
    unit_of_.push_back(is_alone ? unit_count_ : named.try_emplace(key, unit_count_).first->second);
    if (unit_of_.back() == unit_count_) ++unit_count_;
  }
  for (std::size_t p = 0; p < uses_.size(); ++p) give_unit(ParameterId(p));
  // Who reads a form: operators, and those of the forms that movements make of it, which come behind it.
  std::vector<std::vector<OperatorId>> readers;
  for (std::size_t t = 0; t < graph_.graph.tensors().size(); ++t) {
    const auto& maker = graph_.graph.tensors()[t].producer;
    if (!maker) continue;
    const std::span<Form> all = std::span(forms_).subspan(first_form_[t], first_form_[t + 1] - first_form_[t]);
    all.front().unit = unit(*maker);
    readers.resize(std::max(readers.size(), all.size()));
    for (std::size_t f = 0; f < all.size(); ++f) readers[f].clear();
    for (const OperatorId reader : graph_.graph.at(TensorId(t)).consumers) {
      const std::vector<TensorId>& inputs = graph_.graph.at(reader).inputs;
      const auto position = static_cast<std::size_t>(std::ranges::find(inputs, TensorId(t)) - inputs.begin());
      const auto& form = read_form(reader, position);
      if (form && !is_behind(reader)) readers[*form].push_back(reader);
    }
    for (std::size_t f = all.size(); f-- > 1;) {
      std::vector<OperatorId>& before = readers[*all[f].from];
      before.insert(before.end(), readers[f].begin(), readers[f].end());
      give_unit(all, f, readers[f]);
    }
  }
}

void LayoutFacts::give_unit(std::span<Form> forms, std::size_t number, const std::vector<OperatorId>& readers) {
  Form& form = forms[number];
  form.is_forward = !readers.empty();
  if (readers.empty()) return;
  const auto reads_in = [&](std::size_t wanted) {
    return [&, wanted](OperatorId op) { return graph_.graph.at(op).phase == Phase::kForward && unit(op) == wanted; };
  };
  const std::size_t own = forms.front().unit;
  const std::size_t of_first = unit(readers.front());
  const bool is_in_place = are_same(form.devices, forms[*form.from].devices);
  if (std::any_of(readers.begin(), readers.end(), reads_in(own))) {
    form.unit = own;
  } else if (form.kind == LayoutMovementKind::kAllGather && is_in_place &&
             std::all_of(readers.begin(), readers.end(), reads_in(of_first))) {
    form.unit = of_first;
  } else {
    form.unit = unit_count_++;
  }
}

/// What is gathered for the forward pass runs again with its readers, if they are of one unit.
void LayoutFacts::give_unit(ParameterId parameter) {
  const std::vector<OperatorId>& readers = use(parameter).forward;
  for (ParameterForm& form : parameter_forms_[parameter.index()]) {
    if (form.moved != Moved::kForwardWeights) continue;
    const bool are_of_one = std::all_of(readers.begin(), readers.end(), [&](OperatorId op) {
      return graph_.graph.at(op).phase == Phase::kForward && unit(op) == unit(readers.front());
    });
    form.unit = are_of_one ? unit(readers.front()) : unit_count_++;
  }
}

void LayoutFacts::file_weights(const ValueForm& value, MemoryMode mode, ViolationList& violations) {
  bool may_drop = false;
  bool is_gathered = false;
  if (value.parameter.index() < uses_.size() && value.copy < microbatches()) {
    for (const ParameterForm& form : forms(value.parameter)) is_gathered |= form.moved == Moved::kForwardWeights;
    for (const OperatorId reader : use(value.parameter).forward) {
      if (graph_.graph.at(use(value.parameter).forward.front()).phase != Phase::kForward) break;
      for (const TensorId output : graph_.graph.at(reader).outputs) {
        may_drop |= graph_.graph.memory_modes(output, plan_.plan.settings.memory_modes).drop;
      }
    }
  }
  if (!is_gathered || !may_drop || mode != MemoryMode::kDrop) {
    violations.add(Rule::kModes, [&] {
      return fmt::format("the gathered weights of a parameter ({}) have mode \"{}\", which they may not have",
                         value.parameter.index(), to_string(mode));
    });
  } else if (!dropped_weights_.emplace(value.parameter, value.copy).second) {
    violations.add(Rule::kModes, [&] { return name(value) + " has two modes"; });
  }
}

void LayoutFacts::file_modes(ViolationList& violations) {
  for (const FormMode& mode : plan_.modes) file_mode(mode, violations);
  for (const FormReturn& back : plan_.returns) file_return(back, violations);
  find_ends();
}

void LayoutFacts::file_mode(const FormMode& mode, ViolationList& violations) {
  if (mode.value.moved != Moved::kTensor) return file_weights(mode.value, mode.mode, violations);
  const auto form = form_of(mode.value);
  if (!form) {
    violations.add(Rule::kModes, [&] { return "plan gives a mode to a value that does not exist"; });
    return;
  }
  const Form& value = forms(mode.value.tensor)[*form];
  const MemoryModes allowed = graph_.graph.memory_modes(mode.value.tensor, plan_.plan.settings.memory_modes);
  const bool may_have = allowed.allows(mode.mode) && value.is_forward;
  if (!may_have || (mode.mode == MemoryMode::kHost && !are_same(value.parties(), value.devices))) {
    violations.add(Rule::kModes, [&] {
      return fmt::format("{} has mode \"{}\", which it may not have", name(mode.value), to_string(mode.mode));
    });
    return;
  }
  if (modes_.emplace(Value(mode.value.tensor, *form, mode.value.copy), mode.mode).second) return;
  violations.add(Rule::kModes, [&] { return name(mode.value) + " has two modes"; });
}

void LayoutFacts::file_return(const FormReturn& back, ViolationList& violations) {
  const bool is_again = back.kind == MovementKind::kRecompute;
  const auto form = is_again ? std::nullopt : form_of(back.value);
  const bool is_known =
      is_again ? back.op.index() < chosen_.size() && back.value.copy < copies(back.op) : form.has_value();
  const bool are_devices =
      std::ranges::all_of(back.devices, [&](DeviceId device) { return device.index() < cluster_.device_count(); });
  if (!is_known || !are_devices || back.end < back.start) {
    violations.add(Rule::kModes, [&] {
      return fmt::format(
          "what brings a value back ({} at {} ns) names an operator, a value or a device that does not "
          "exist, or ends before it starts",
          to_string(back.kind), back.start.value());
    });
    return;
  }
  const bool is_out = back.kind == MovementKind::kCopyOut;
  const bool is_new =
      is_again
          ? again_.emplace(std::pair(back.op, back.value.copy), &back).second
          : host_copies_.emplace(std::pair(is_out, Value(back.value.tensor, *form, back.value.copy)), &back).second;
  if (is_new) return;
  violations.add(Rule::kModes, [&] { return name(back) + (is_again ? " is there twice" : ": it is copied twice"); });
}

/// The ends of all that happens again, by unit.
void LayoutFacts::find_ends() {
  for (const auto& [value, mode] : modes_) {
    const auto& [tensor, form, copy] = value;
    if (mode == MemoryMode::kDrop) ends_.emplace(std::pair(forms(tensor)[form].unit, copy), Duration());
  }
  const auto unit_of_weights = [&](ParameterId parameter) {
    const std::vector<ParameterForm>& all = forms(parameter);
    const auto found = std::ranges::find(all, Moved::kForwardWeights, &ParameterForm::moved);
    return found == all.end() ? std::nullopt : std::optional(found->unit);
  };
  for (const auto& [parameter, copy] : dropped_weights_) {
    ends_.emplace(std::pair(*unit_of_weights(parameter), copy), Duration());
  }
  const auto add = [&](std::size_t number, std::uint32_t copy, Duration end) {
    const auto found = ends_.find({number, copy});
    if (found != ends_.end()) found->second = std::max(found->second, end);
  };
  for (const auto& [run, back] : again_) add(unit(run.first), run.second, back->end);
  for (const LayoutMovement& movement : plan_.movements) {
    const MovementKey& key = movement.key;
    if (!movement.again || again(key) != &movement) continue;
    const auto form = form_made_by(key);
    const auto number = key.moved == Moved::kTensor ? std::nullopt : unit_of_weights(key.parameter);
    if (form) add(forms(key.tensor)[*form].unit, key.copy, movement.end);
    if (number) add(*number, key.copy, movement.end);
  }
}

std::optional<std::size_t> LayoutFacts::form_of(const ValueForm& value) const {
  if (value.moved != Moved::kTensor || value.tensor.index() >= graph().tensors().size()) return std::nullopt;
  const auto& maker = graph_.graph.at(value.tensor).producer;
  if (!maker || value.copy >= copies(*maker)) return std::nullopt;
  if (value.target.empty()) return 0;
  const std::span<const Form> all = forms(value.tensor);
  const auto found = std::ranges::find_if(all, [&](const Form& form) {
    return form.from && form.layout == value.layout && are_same(form.devices, value.target);
  });
  return found == all.end() ? std::nullopt : std::optional(static_cast<std::size_t>(found - all.begin()));
}

MemoryMode LayoutFacts::mode(TensorId tensor, std::size_t form, std::uint32_t copy) const {
  const auto found = modes_.find({tensor, form, copy});
  return found == modes_.end() ? MemoryMode::kKeep : found->second;
}

Wide LayoutFacts::bytes(TensorId tensor, const Form& form) const {
  const Wide whole = graph_.graph.at(tensor).size.value();
  const bool is_part = form.layout.kind == TensorLayout::Kind::kSharded;
  return is_part ? rounded_up(whole, static_cast<std::int64_t>(form.devices.size())) : whole;
}

const FormReturn* LayoutFacts::again(OperatorId op, std::uint32_t copy) const {
  const auto found = again_.find({op, copy});
  return found == again_.end() ? nullptr : found->second;
}

const LayoutMovement* LayoutFacts::again(const MovementKey& key) const {
  if (const auto number = form_made_by(key)) return again(forms(key.tensor)[*number], key.copy);
  const auto found = movements_again_.find(key);
  return found == movements_again_.end() ? nullptr : found->second;
}

const FormReturn* LayoutFacts::host_copy(bool is_out, TensorId tensor, std::size_t form, std::uint32_t copy) const {
  const auto found = host_copies_.find({is_out, Value(tensor, form, copy)});
  return found == host_copies_.end() ? nullptr : found->second;
}

std::string LayoutFacts::name(const ValueForm& value) const {
  if (value.moved != Moved::kTensor) {
    return fmt::format("gathered weights \"{}#{}\"", graph_.graph.at(value.parameter).name, value.copy);
  }
  const std::string text = fmt::format("\"{}#{}\"", graph_.graph.at(value.tensor).name, value.copy);
  if (value.target.empty()) return "value " + text;
  return fmt::format("value {} in {} on {}", text, to_string(value.layout), names(value.target));
}

std::string LayoutFacts::name(const FormReturn& back) const {
  if (back.kind == MovementKind::kRecompute) return "task " + name(back.op, back.value.copy) + " again";
  return fmt::format("copy {} of {}", back.kind == MovementKind::kCopyOut ? "out" : "in", name(back.value));
}

}  // namespace opweave::checking
