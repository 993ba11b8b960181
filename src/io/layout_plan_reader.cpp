#include <fmt/format.h>

#include <limits>

#include "io/formats.h"
#include "io/graph_options.h"
#include "io/plan_json.h"
#include "opweave/error.h"
#include "opweave/layout_files.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::optional;
using io::required;

class LayoutPlanReader {
 public:
  LayoutPlanReader(const LayoutGraph& graph, const Cluster& cluster) : graph_(graph.graph), cluster_(cluster) {
    const auto number = [](auto& names, const auto& items) {
      for (const auto& item : items) names.emplace(item.name, static_cast<std::uint32_t>(names.size()));
    };
    number(operators_, graph_.operators());
    number(tensors_, graph_.tensors());
    number(parameters_, graph_.parameters());
  }

  LayoutPlan read(const JsonValue& root) {
    LayoutPlan result;
    result.options.resize(graph_.operators().size());
    std::optional<JsonValue> plan;
    read_object(root, required("format", [](const JsonValue&) {}), required("version", [](const JsonValue&) {}),
                required("options",
                         [&](const JsonValue& list) {
                           list.each([&](const JsonValue& v) { read_option(v, result.options); });
                         }),
                required("movements",
                         [&](const JsonValue& list) {
                           list.each([&](const JsonValue& v) { result.movements.push_back(read_movement(v)); });
                         }),
                optional("memory_modes",
                         [&](const JsonValue& list) {
                           list.each([&](const JsonValue& v) { result.modes.push_back(read_mode(v)); });
                         }),
                optional("returns",
                         [&](const JsonValue& list) {
                           list.each([&](const JsonValue& v) { result.returns.push_back(read_return(v)); });
                         }),
                required("plan", io::keep(plan)));
    result.plan = io::read_plan(*plan, graph_, cluster_);
    return result;
  }

 private:
  using Names = std::unordered_map<std::string_view, std::uint32_t>;

  static std::uint32_t find(const Names& names, const JsonValue& value, const char* what) {
    const auto found = names.find(value.text());
    if (found == names.end()) value.reject(fmt::format("the name of {} of the graph", what));
    return found->second;
  }

  void read_option(const JsonValue& value, std::vector<std::string>& options) const {
    std::uint32_t op = 0;
    std::string option;
    read_object(value, required("operator", [&](const JsonValue& v) { op = find(operators_, v, "an operator"); }),
                required("option", [&](const JsonValue& v) { option = v.name(); }));
    if (!options[op].empty()) value.fail("a second option of this operator, expected one");
    options[op] = std::move(option);
  }

  static TensorLayout read_layout(const JsonValue& value) {
    const auto found = layout_from_string(value.text());
    if (!found) value.reject("\"R\", \"P\", or \"S(dim)\" as in \"S(0)\"");
    return *found;
  }

  /// The members that say which value, in which form.
  struct ValueMembers {
    std::optional<JsonValue> tensor;
    std::optional<JsonValue> parameter;
    std::optional<JsonValue> layout;
    std::optional<JsonValue> target;
  };
  void read_form(const JsonValue& value, const ValueMembers& members, ValueForm& form) const {
    if (members.parameter && !members.tensor && !members.layout && !members.target) {
      form.moved = Moved::kForwardWeights;
      form.parameter = ParameterId(find(parameters_, *members.parameter, "a parameter"));
      return;
    }
    if (!members.tensor || members.parameter || members.layout.has_value() != members.target.has_value()) {
      value.fail("expected \"parameter\" alone, or \"tensor\", with \"layout\" and \"to\" together or not at all");
    }
    form.tensor = TensorId(find(tensors_, *members.tensor, "a tensor"));
    if (members.layout) form.layout = read_layout(*members.layout);
    if (members.target) form.target = io::read_device_set(*members.target, cluster_);
  }

  FormMode read_mode(const JsonValue& value) const {
    FormMode mode;
    ValueMembers members;
    read_object(value, optional("tensor", io::keep(members.tensor)), optional("parameter", io::keep(members.parameter)),
                optional("layout", io::keep(members.layout)), optional("to", io::keep(members.target)),
                required("microbatch", [&](const JsonValue& v) { mode.value.copy = v.index(); }),
                required("mode", [&](const JsonValue& v) {
                  const auto found = memory_mode_from_string(v.text());
                  if (!found || *found == MemoryMode::kKeep) v.reject("\"drop\" or \"host\"");
                  mode.mode = *found;
                }));
    read_form(value, members, mode.value);
    return mode;
  }

  FormReturn read_return(const JsonValue& value) const {
    FormReturn back;
    ValueMembers members;
    std::optional<JsonValue> op;
    read_object(value,
                required("kind",
                         [&](const JsonValue& v) {
                           const auto kind = movement_kind_from_string(v.text());
                           if (!kind) v.reject("recompute, copy_out or copy_in");
                           back.kind = *kind;
                         }),
                optional("operator", io::keep(op)), optional("tensor", io::keep(members.tensor)),
                optional("layout", io::keep(members.layout)), optional("to", io::keep(members.target)),
                required("microbatch", [&](const JsonValue& v) { back.value.copy = v.index(); }),
                required("devices", [&](const JsonValue& v) { back.devices = io::read_device_set(v, cluster_); }),
                required("start_ns", io::amount_into(back.start, io::kMaxTotal)),
                required("end_ns", io::amount_into(back.end, io::kMaxTotal)));
    const bool is_again = back.kind == MovementKind::kRecompute;
    if (is_again != op.has_value() || (is_again && (members.tensor || members.layout || members.target))) {
      value.fail("expected \"operator\" of what runs again, \"tensor\" of copies");
    }
    if (is_again) {
      back.op = OperatorId(find(operators_, *op, "an operator"));
    } else {
      read_form(value, members, back.value);
    }
    return back;
  }

  LayoutMovement read_movement(const JsonValue& value) const {
    LayoutMovement movement;
    MovementKey& key = movement.key;
    std::optional<JsonValue> tensor;
    std::optional<JsonValue> layout;
    std::optional<JsonValue> target;
    std::optional<JsonValue> parameter;
    std::optional<JsonValue> op;
    read_object(value,
                required("kind",
                         [&](const JsonValue& v) {
                           const auto kind = layout_movement_kind_from_string(v.text());
                           if (!kind) v.reject("send, all_gather, reduce_scatter, all_reduce or all_to_all");
                           movement.kind = *kind;
                         }),
                required("of",
                         [&](const JsonValue& v) {
                           const auto moved = moved_from_string(v.text());
                           if (!moved) v.reject("tensor, gradient, update, forward-weights or backward-weights");
                           key.moved = *moved;
                         }),
                optional("tensor", io::keep(tensor)), optional("layout", io::keep(layout)),
                optional("to", io::keep(target)), optional("parameter", io::keep(parameter)),
                optional("operator", io::keep(op)),
                required("microbatch", [&](const JsonValue& v) { key.copy = v.index(); }),
                required("devices", [&](const JsonValue& v) { movement.devices = io::read_device_set(v, cluster_); }),
                required("start_ns", io::amount_into(movement.start, io::kMaxTotal)),
                required("end_ns", io::amount_into(movement.end, io::kMaxTotal)),
                optional("again", [&](const JsonValue& v) { movement.again = v.boolean(); }));
    const bool is_tensor = key.moved == Moved::kTensor;
    if (is_tensor != (tensor && layout && target) || (!is_tensor && (tensor || layout || target)) ||
        is_tensor == parameter.has_value() || (movement.again && !is_tensor && key.moved != Moved::kForwardWeights) ||
        (op && key.moved != Moved::kGradient)) {
      value.fail(
          "expected \"tensor\", \"layout\" and \"to\" of a tensor, \"parameter\" of anything else, \"operator\" of "
          "gradients at most, and \"again\" of tensors and weights of the forward pass at most");
    }
    if (is_tensor) {
      key.tensor = TensorId(find(tensors_, *tensor, "a tensor"));
      key.layout = read_layout(*layout);
      key.target = io::read_device_set(*target, cluster_);
    } else {
      key.parameter = ParameterId(find(parameters_, *parameter, "a parameter"));
      if (op) key.op = OperatorId(find(operators_, *op, "an operator"));
    }
    return movement;
  }

  const ComputationGraph& graph_;
  const Cluster& cluster_;
  Names operators_;
  Names tensors_;
  Names parameters_;
};

}  // namespace

LayoutPlan parse_layout_plan(std::string_view json, const std::string& source, const LayoutGraph& graph,
                             const Cluster& cluster) {
  const io::JsonDocument document(json, source);
  const JsonValue root = document.root(io::kPlanFormat, io::kPlanVersionWithOptions);
  if (io::version_of(root) != io::kPlanVersionWithOptions) {
    throw InputError(
        fmt::format("{}: a plan of version {}, but operators of the graph have options, expected version {}", source,
                    io::version_of(root), io::kPlanVersionWithOptions));
  }
  return LayoutPlanReader(graph, cluster).read(root);
}

}  // namespace opweave
