// The movements that layouts and parts ask for, written from docs/layouts.md alone.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "check/layout_facts.h"

namespace opweave::checking {
namespace {

using Devices = std::vector<DeviceId>;
using Pairs = std::vector<std::pair<DeviceId, DeviceId>>;

/// latency x steps + bytes x times / (parts x bandwidth) over the slowest of the ways; nothing without a way.
std::optional<Wide> time_over(const Cluster& cluster, const Pairs& pairs, Wide steps, Wide bytes, Wide times,
                              Wide parts) {
  Wide latency = 0;
  std::optional<Wide> bandwidth;
  for (const auto& [from, to] : pairs) {
    if (from == to) continue;
    const std::optional<Route> route = cluster.route(from, to);
    if (!route) return std::nullopt;
    latency = std::max(latency, Wide{route->latency.value()});
    if (!route->bandwidth_bytes_per_s) continue;
    const Wide own = *route->bandwidth_bytes_per_s;
    if (!bandwidth || own < *bandwidth) bandwidth = own;
  }
  Wide time = latency * steps;
  if (bandwidth) time += rounded_up(bytes * times * 1'000'000'000, *bandwidth * parts);
  return std::min<Wide>(time, kMaxInputValue);
}

void add_ring(std::span<const DeviceId> devices, Pairs& pairs) {
  for (std::size_t i = 0; i + 1 < devices.size(); ++i) pairs.emplace_back(devices[i], devices[i + 1]);
  if (devices.size() > 1) pairs.emplace_back(devices.back(), devices.front());
}

Pairs everybody(std::span<const DeviceId> from, std::span<const DeviceId> to) {
  Pairs pairs;
  pairs.reserve(from.size() * to.size());
  for (const DeviceId a : from) {
    for (const DeviceId b : to) pairs.emplace_back(a, b);
  }
  return pairs;
}

bool is_whole(const Form& form) { return form.layout.kind == TensorLayout::Kind::kReplicated; }
bool is_sum(const Form& form) { return form.layout.kind == TensorLayout::Kind::kPartial; }

/// Kind and duration of a movement between two forms.
void describe(const Cluster& cluster, Wide bytes, const Form& from, Form& to) {
  const Wide n = static_cast<std::int64_t>(from.devices.size());
  const Wide m = static_cast<std::int64_t>(to.devices.size());
  Pairs pairs;
  if (are_same(from.devices, to.devices)) {
    if (!is_sum(from) && !is_whole(to)) {
      to.kind = LayoutMovementKind::kAllToAll;
      to.lasts = time_over(cluster, everybody(from.devices, from.devices), n - 1, bytes, n - 1, n * n);
      return;
    }
    add_ring(from.devices, pairs);
    const Wide rounds = is_sum(from) && is_whole(to) ? 2 : 1;
    to.kind = is_whole(to) ? LayoutMovementKind::kAllGather : LayoutMovementKind::kReduceScatter;
    if (rounds == 2) to.kind = LayoutMovementKind::kAllReduce;
    to.lasts = time_over(cluster, pairs, rounds * (n - 1), bytes, rounds * (n - 1), n);
    return;
  }
  const Wide share = is_whole(to) ? bytes : rounded_up(bytes, m);
  if (is_whole(from)) {
    std::size_t next = 0;
    for (const DeviceId device : to.devices) {
      if (std::find(from.devices.begin(), from.devices.end(), device) != from.devices.end()) continue;
      pairs.emplace_back(from.devices[next++ % from.devices.size()], device);
    }
    const Wide rounds = rounded_up(static_cast<std::int64_t>(pairs.size()), n);
    to.kind = LayoutMovementKind::kSend;
    to.lasts = time_over(cluster, pairs, rounds, share, rounds, 1);
    return;
  }
  if (from.layout == to.layout && n == m) {
    for (std::size_t i = 0; i < from.devices.size(); ++i) pairs.emplace_back(from.devices[i], to.devices[i]);
    to.kind = LayoutMovementKind::kSend;
    to.lasts = time_over(cluster, pairs, 1, share, 1, 1);
    return;
  }
  to.kind = is_whole(to) ? LayoutMovementKind::kAllGather : LayoutMovementKind::kAllToAll;
  const Wide most = std::max(n, m);
  to.lasts = time_over(cluster, everybody(from.devices, to.devices), most, share, most, n);
}

}  // namespace

void LayoutFacts::find_forms() {
  const ComputationGraph& graph = graph_.graph;
  std::size_t inputs = 0;
  for (const Operator& op : graph.operators()) {
    first_input_.push_back(inputs);
    inputs += op.inputs.size();
  }
  read_.resize(inputs);
  forms_.reserve(graph.tensors().size() + inputs);
  first_form_.reserve(graph.tensors().size() + 1);
  first_form_.push_back(0);
  for (std::size_t t = 0; t < graph.tensors().size(); ++t) {
    first_form_.push_back(forms_.size());  // so far none
    if (const std::optional<OperatorId> maker = graph.tensors()[t].producer) {
      const std::vector<TensorId>& outputs = graph.at(*maker).outputs;
      const auto position = static_cast<std::size_t>(std::ranges::find(outputs, TensorId(t)) - outputs.begin());
      Form& made = forms_.emplace_back();
      made.devices = option(*maker).devices;
      if (made.devices.size() > 1) made.layout = option(*maker).outputs[position];
      ++first_form_.back();
    }
    for (const OperatorId reader : graph.tensors()[t].consumers) {
      const std::vector<TensorId>& read = graph.at(reader).inputs;
      const auto position = static_cast<std::size_t>(std::ranges::find(read, TensorId(t)) - read.begin());
      read_[first_input_[reader.index()] + position] =
          form_for(TensorId(t), option(reader).devices, option(reader).inputs[position]);
    }
  }
}

/// The form in which a reader finds a tensor: nothing where no movement makes it. \pre all forms known are of the
/// tensor or of those before it
std::optional<std::size_t> LayoutFacts::form_for(TensorId tensor, std::span<const DeviceId> devices,
                                                 TensorLayout layout) {
  if (devices.size() == 1) layout = {};
  const std::span<const Form> known = forms(tensor);
  const auto find = [&](std::span<const DeviceId> on, const TensorLayout& in) -> std::optional<std::size_t> {
    for (std::size_t i = 0; i < known.size(); ++i) {
      if (known[i].layout == in && are_same(known[i].devices, on)) return i;
    }
    return std::nullopt;
  };
  if (const auto number = find(devices, layout)) return number;
  if (!graph_.graph.at(tensor).producer) {  // an input of the graph is there in every form
    Form& form = forms_.emplace_back();
    form.devices = devices;
    form.layout = layout;
    return first_form_.back()++ - first_form_[tensor.index()];
  }
  if (layout.kind == TensorLayout::Kind::kPartial) return std::nullopt;
  std::size_t base = 0;
  const std::span<const DeviceId> made = known[0].devices;
  if (is_sum(known[0])) {
    const bool in_parts = layout.kind == TensorLayout::Kind::kSharded && made.size() == devices.size();
    const TensorLayout summed = in_parts ? layout : TensorLayout{};
    const auto number = find(made, summed);
    base = number ? *number : add_form(tensor, 0, made, summed);
    if (summed == layout && are_same(made, devices)) return base;
  }
  if (is_whole(forms(tensor)[base])) {
    const bool is_there =
        std::ranges::all_of(devices, [&](DeviceId device) { return std::ranges::find(made, device) != made.end(); });
    if (is_there || layout.kind == TensorLayout::Kind::kReplicated) return base;
  }
  return add_form(tensor, base, devices, layout);
}

std::size_t LayoutFacts::add_form(TensorId tensor, std::size_t from, std::span<const DeviceId> devices,
                                  TensorLayout layout) {
  const Form& read = forms(tensor)[from];
  Form form;
  form.devices = devices;
  form.layout = layout;
  form.from = from;
  if (!are_same(read.devices, devices)) {
    std::ranges::set_union(read.devices, devices, std::back_inserter(form.united));  // both ascend
  }
  describe(cluster_, graph_.graph.at(tensor).size.value(), read, form);
  forms_.push_back(std::move(form));
  return first_form_.back()++ - first_form_[tensor.index()];
}

/// Where the movements of the plan are filed, by form and copy.
void LayoutFacts::make_room_for_movements() {
  const bool any_again = std::ranges::any_of(plan_.movements, &LayoutMovement::again);
  const auto copies_of = [&](TensorId tensor) { return is_made_once(tensor) ? 1 : microbatches(); };
  std::size_t count = 0;
  for (std::size_t t = 0; t < graph().tensors().size(); ++t)
    count += forms(TensorId(t)).size() * copies_of(TensorId(t));
  movement_runs_.assign(count, nullptr);
  if (any_again) movement_runs_again_.assign(count, nullptr);
  std::size_t next = 0;
  for (std::size_t t = 0; t < graph().tensors().size(); ++t) {
    const std::uint32_t copies = copies_of(TensorId(t));
    for (std::size_t f = first_form_[t]; f < first_form_[t + 1]; ++f, next += copies) {
      forms_[f].runs = std::span(movement_runs_).subspan(next, copies);
      if (any_again) forms_[f].again = std::span(movement_runs_again_).subspan(next, copies);
    }
  }
}

void LayoutFacts::find_parameter_forms(ParameterId parameter) {
  const ParameterUse& use = uses_[parameter.index()];
  const ParameterParts& parts = use.parts;
  if (use.forward.empty() && use.backward.empty()) return;
  const Wide copies = static_cast<std::int64_t>(use.devices.size() / parts.split);
  if (copies < 2) return;
  Pairs pairs;
  for (std::size_t part = 0; part < parts.split; ++part) {
    Devices ring;
    for (std::size_t i = part; i < use.devices.size(); i += parts.split) ring.push_back(use.devices[i]);
    add_ring(ring, pairs);
  }
  const std::int64_t weights = graph_.graph.at(parameter).weights.value();
  const double factor = plan_.plan.settings.training.gradient_bytes_per_weight_byte;
  const auto whole_gradient = static_cast<std::int64_t>(std::ceil(static_cast<double>(weights) * factor));
  const Wide weight = rounded_up(weights, parts.split);
  const Wide gradient = rounded_up(whole_gradient, parts.split);
  const auto add = [&](Moved moved, LayoutMovementKind kind, bool per_microbatch, Wide moved_bytes, Wide held) {
    const Wide rounds = kind == LayoutMovementKind::kAllReduce ? 2 : 1;
    ParameterForm form{moved, {}, kind, per_microbatch, 0, use.devices, held, {}};
    form.lasts = time_over(cluster_, pairs, rounds * (copies - 1), moved_bytes, rounds * (copies - 1), copies);
    parameter_forms_[parameter.index()].push_back(std::move(form));
  };
  if (parts.weights != parts.split) {
    if (!use.forward.empty()) add(Moved::kForwardWeights, LayoutMovementKind::kAllGather, true, weight, weight);
    if (!use.backward.empty()) add(Moved::kBackwardWeights, LayoutMovementKind::kAllGather, true, weight, weight);
  }
  if (parts.gradients != parts.split) {
    for (const OperatorId op : use.updates) {
      add(Moved::kGradient, LayoutMovementKind::kReduceScatter, true, gradient, gradient);
      parameter_forms_[parameter.index()].back().op = op;
    }
  } else if (!use.updates.empty()) {
    const bool whole = parts.optimizer == parts.split;
    add(Moved::kGradient, whole ? LayoutMovementKind::kAllReduce : LayoutMovementKind::kReduceScatter, false, gradient,
        0);
  }
  if (parts.weights == parts.split && parts.optimizer != parts.split && !use.optimizer.empty()) {
    add(Moved::kUpdate, LayoutMovementKind::kAllGather, false, weight, 0);
  }
}

}  // namespace opweave::checking
