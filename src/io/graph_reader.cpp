#include <fmt/format.h>

#include <algorithm>

#include "io/captured_reader.h"
#include "io/formats.h"
#include "io/graph_options.h"
#include "io/json_reader.h"
#include "io/json_syntax.h"
#include "io/message.h"
#include "io/settings_json.h"
#include "io/whole_number.h"
#include "opweave/io.h"
#include "opweave/layout_files.h"

namespace opweave {
namespace {

using io::amount_into;
using io::JsonValue;
using io::NameIndex;
using io::names_into;
using io::optional;
using io::required;
using io::text_into;

/// A list of names that others have.
template <class IdType>
auto references_into(std::vector<IdType>& target, const NameIndex& names, const char* what) {
  return [&target, &names, what](const JsonValue& list) {
    list.each([&](const JsonValue& item) { target.emplace_back(names.resolve(item, what)); });
  };
}

class GraphReader {
 public:
  /// \param options  reads what operators of version 2 have beside those of version 1; null = version 1
  /// \param calls    reads the calls of a captured graph with operators that nobody timed; null = reads past them
  explicit GraphReader(io::GraphOptions* options, std::optional<analytic::CapturedCalls>* calls = nullptr)
      : options_(options), calls_(calls) {}

  ComputationGraph read(const JsonValue& root) {
    std::string name;
    Training training;
    std::optional<JsonValue> parameters;
    std::optional<JsonValue> tensors;
    std::optional<JsonValue> operators;
    std::optional<JsonValue> captured;
    read_object(root, required("format", [](const JsonValue&) {}), required("version", [](const JsonValue&) {}),
                optional("name", text_into(name)),
                optional("training", [&](const JsonValue& value) { training = io::read_training(value); }),
                optional("parameters", io::keep(parameters)), optional("tensors", io::keep(tensors)),
                required("operators", io::keep(operators)), optional("captured", io::keep(captured)),
                optional("movement_stream", [&](const JsonValue& value) {
                  if (options_ == nullptr) root.fail_unknown_key("movement_stream", {});
                  options_->read_stream(value);
                }));
    const auto make_room = [](const JsonValue& list, auto& items, NameIndex& names) {
      items.reserve(list.count());
      names.reserve(list.count());
    };
    if (parameters) make_room(*parameters, parameters_, parameter_names_);
    if (tensors) make_room(*tensors, tensors_, tensor_names_);
    make_room(*operators, operators_, operator_names_);
    // Names first: operators refer to each other forwards and backwards.
    if (parameters) parameters->each([&](const JsonValue& value) { read_parameter(value); });
    if (tensors) tensors->each([&](const JsonValue& value) { read_tensor(value); });
    operators->each([&](const JsonValue& value) { read_operator_name(value); });
    operators->each([&](const JsonValue& value) { read_operator(value); });
    if (captured) read_captured(*captured);
    return io::naming_source(root.source(), [&] {
      return ComputationGraph::create(std::move(name), std::move(operators_), std::move(tensors_),
                                      std::move(parameters_), std::move(training));
    });
  }

 private:
  /// What the Python package remembers of a captured graph: of no use where everything is timed.
  void read_captured(const JsonValue& value) {
    if (!value.is_object()) value.reject("an object");
    if (calls_ == nullptr || std::ranges::none_of(operators_, analytic::is_untimed)) return;
    *calls_ = io::read_captured_calls(value, operator_names_, operators_);
  }

  void read_parameter(const JsonValue& value) {
    Parameter& parameter = parameters_.emplace_back();
    read_object(value, required("name", parameter_names_.add_into(parameter.name, "parameter")),
                required("bytes", amount_into(parameter.weights)));
  }

  void read_tensor(const JsonValue& value) {
    Tensor& tensor = tensors_.emplace_back();
    read_object(value, required("name", tensor_names_.add_into(tensor.name, "tensor")),
                required("bytes", amount_into(tensor.size)),
                optional("memory_modes", [&](const JsonValue& v) { tensor.memory_modes = io::read_memory_modes(v); }));
  }

  void read_operator_name(const JsonValue& value) {
    read_object<io::OtherKeys::kIgnore>(
        value, required("name", [&](const JsonValue& v) { operator_names_.add(v, "operator"); }));
  }

  void read_operator(const JsonValue& value) {
    Operator& op = operators_.emplace_back();
    std::optional<JsonValue> options;
    std::optional<JsonValue> choice;
    read_object(
        value, required("name", text_into(op.name)), optional("kind", text_into(op.kind)),
        optional("phase", [&](const JsonValue& v) { op.phase = read_phase(v); }),
        optional("streams", names_into(op.streams)),
        optional("duration_ns", [&](const JsonValue& v) { op.durations = read_durations(v); }),
        optional("flops", [&](const JsonValue& v) { op.flops = v.number(); }),
        optional("bytes_accessed", [&](const JsonValue& v) { op.bytes_accessed = v.number(); }),
        optional("dtype", text_into(op.dtype)),
        optional("inputs", references_into(op.inputs, tensor_names_, "a tensor of the graph")),
        optional("outputs", references_into(op.outputs, tensor_names_, "a tensor of the graph")),
        optional("parameters", references_into(op.parameters, parameter_names_, "a parameter of the graph")),
        optional("after", references_into(op.after, operator_names_, "an operator of the graph")),
        optional("workspace_bytes", amount_into(op.workspace)),
        optional("devices", [&](const JsonValue& v) { op.devices = read_devices(v); }),
        optional(
            "modes",
            [&](const JsonValue& v) { v.each([&](const JsonValue& mode) { op.modes.push_back(read_mode(mode)); }); }),
        optional("colocation", text_into(op.colocation)), optional("anti_colocation", names_into(op.anti_colocation)),
        optional("stage", [&](const JsonValue& v) { op.stage = StageId(v.index()); }),
        optional("layer", text_into(op.layer)), optional("unit", text_into(op.unit)),
        optional("options", io::keep(options)), optional("choice", io::keep(choice)));
    if (options_ != nullptr) {
      options_->read(value, op, options, choice, {tensors_, parameters_});
    } else if (options || choice) {
      value.fail(fmt::format("key \"{}\" in a graph of version 1, expected version {}", options ? "options" : "choice",
                             io::kGraphVersionWithOptions));
    }
  }

  static Phase read_phase(const JsonValue& value) {
    const std::optional<Phase> phase = phase_from_string(value.text());
    if (!phase) value.reject("\"F\", \"I\", \"W\", \"B\", \"O\" or \"\"");
    return *phase;
  }

  /// A list of names for all replicas, or a list of such lists, one per replica.
  static std::vector<std::vector<std::string>> read_devices(const JsonValue& value) {
    std::vector<std::vector<std::string>> per_replica;
    std::vector<std::string> shared;
    value.each([&](const JsonValue& item) {
      if (item.is_array() && shared.empty()) {
        names_into(per_replica.emplace_back())(item);
      } else if (per_replica.empty()) {
        shared.emplace_back(item.name());
      } else {
        item.reject("an array, as the item before");
      }
    });
    if (!shared.empty()) per_replica.push_back(std::move(shared));
    if (per_replica.empty()) value.fail("no device, expected at least one", "without the key every device is allowed");
    return per_replica;
  }

  static ModeSpec read_mode(const JsonValue& value) {
    ModeSpec mode;
    read_object(value, required("devices", names_into(mode.devices)),
                required("duration_ns", amount_into(mode.duration)),
                optional("workspace_bytes", amount_into(mode.workspace)));
    return mode;
  }

  io::GraphOptions* options_;
  std::optional<analytic::CapturedCalls>* calls_;
  std::vector<Parameter> parameters_;
  std::vector<Tensor> tensors_;
  std::vector<Operator> operators_;
  NameIndex parameter_names_;
  NameIndex tensor_names_;
  NameIndex operator_names_;
};

JsonValue root_without_options(const io::JsonDocument& document) {
  const JsonValue root = document.root(io::kGraphFormat, io::kGraphVersionWithOptions);
  if (io::version_of(root) != io::kFormatVersion) {
    throw io::error_in(document.source(), "operators have options with layouts, which this command does not know",
                       "opweave plan, check, explain, report and show know them");
  }
  return root;
}

}  // namespace

ComputationGraph parse_graph(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  return GraphReader(nullptr).read(root_without_options(document));
}

CapturedGraph parse_captured_graph(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  CapturedGraph result;
  result.graph = GraphReader(nullptr, &result.calls).read(root_without_options(document));
  return result;
}

EstimatedGraph parse_graph(std::string_view json, const std::string& source, const Cluster& cluster) {
  CapturedGraph captured = parse_captured_graph(json, source);
  if (!captured.calls || cluster.types().empty()) return {std::move(captured.graph)};
  return io::naming_source(source, [&]() -> EstimatedGraph {
    auto durations = analytic::durations(captured.graph, *captured.calls, cluster);
    const auto count = std::ranges::count_if(captured.graph.operators(), analytic::is_untimed);
    return {analytic::with_durations(captured.graph, std::move(durations)), static_cast<std::size_t>(count)};
  });
}

bool has_layout_options(std::string_view json) {
  const std::optional<std::string_view> version = io::outermost_number(json, "version");
  return version && io::whole_number(*version) == io::kGraphVersionWithOptions;
}

LayoutGraph parse_layout_graph(std::string_view json, const std::string& source, const Cluster& cluster,
                               const Meshes& meshes) {
  const io::JsonDocument document(json, source);
  LayoutGraph result;
  io::GraphOptions options(cluster, meshes, result);
  result.graph = GraphReader(&options).read(document.root(io::kGraphFormat, io::kGraphVersionWithOptions));
  return result;
}

}  // namespace opweave
