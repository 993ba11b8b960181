#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "io/formats.h"
#include "io/message.h"
#include "io/plan_copies.h"
#include "io/plan_json.h"
#include "io/settings_json.h"
#include "opweave/io.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::number_into;
using io::optional;
using io::required;
using io::text_into;

template <class Amount>
auto total_into(Amount& target) {
  return io::amount_into(target, io::kMaxTotal);
}

class PlanReader {
 public:
  PlanReader(const ComputationGraph& graph, const Cluster& cluster) : graph_(graph), cluster_(cluster) {
    operators_.reserve(graph.operators().size());
    for (const Operator& op : graph.operators()) operators_.emplace(op.name, OperatorId(operators_.size()));
    tensors_.reserve(graph.tensors().size());
    for (const Tensor& tensor : graph.tensors()) tensors_.emplace(tensor.name, TensorId(tensors_.size()));
  }

  Plan read(const JsonValue& root) {
    require_figures(root);
    Plan plan;
    std::optional<JsonValue> lower_bound;
    std::optional<JsonValue> gap;
    Duration makespan;
    std::int64_t version = 0;
    read_object(
        root, required("format", [](const JsonValue&) {}),
        required("version", [&](const JsonValue& v) { version = v.integer(); }),
        required("graph", text_into(plan.graph_name)), required("cluster", text_into(plan.cluster_name)),
        optional("settings", [&](const JsonValue& v) { plan.settings = read_settings(v); }),
        required("status", [&](const JsonValue& v) { plan.status = read_status(v); }),
        required("makespan_ns", total_into(makespan)), required("lower_bound_ns", io::keep(lower_bound)),
        required("gap", io::keep(gap)),
        optional("bounds",
                 [&](const JsonValue& v) {
                   v.each([&](const JsonValue& bound) { plan.bounds.push_back(read_bound(bound)); });
                 }),
        optional("goal", [&](const JsonValue& v) { read_goal(v, plan); }),
        required("statistics", [&](const JsonValue& v) { plan.statistics = read_statistics(v); }),
        optional("provenance", [&](const JsonValue& v) { plan.provenance = read_provenance(v); }),
        required(
            "tasks",
            [&](const JsonValue& v) { v.each([&](const JsonValue& task) { plan.tasks.push_back(read_task(task)); }); }),
        optional("transfers",
                 [&](const JsonValue& v) {
                   v.each([&](const JsonValue& transfer) { plan.transfers.push_back(read_transfer(transfer)); });
                 }),
        optional("memory_modes",
                 [&](const JsonValue& list) {
                   require_version(list, version);
                   list.each([&](const JsonValue& v) { plan.modes.push_back(read_mode(v)); });
                 }),
        optional("movements", [&](const JsonValue& list) {
          require_version(list, version);
          list.each([&](const JsonValue& v) { plan.movements.push_back(read_movement(v)); });
        }));
    plan.statistics.makespan = makespan;
    // Written for people and scripts; a plan that contradicts itself here has been edited by hand.
    const std::int64_t best = plan.lower_bound().value();
    if (lower_bound->integer(0, io::kMaxTotal) != best)
      lower_bound->reject(fmt::format("{}, the largest of /bounds", best));
    constexpr double kRounding = 1e-9;
    const double largest = std::numeric_limits<double>::max();
    if (!(std::abs(gap->number(-largest) - plan.gap()) <= kRounding)) {
      gap->reject(fmt::format("{} = (makespan_ns - lower_bound_ns) / makespan_ns", plan.gap()));
    }
    return plan;
  }

 private:
  /// What follows from the rest of a plan is required all the same: a plan states what it is good for.
  static void require_figures(const JsonValue& root) {
    for (const char* key : {"status", "makespan_ns", "lower_bound_ns", "gap", "statistics"}) {
      simdjson::dom::element unused;
      if (root.object().at_key(key).get(unused) == simdjson::SUCCESS) continue;
      root.fail(fmt::format("key \"{}\" is missing", key),
                "opweave check GRAPH CLUSTER PLAN --fill FILE computes what follows from tasks and transfers");
    }
  }

  static ProblemSettings read_settings(const JsonValue& value) {
    ProblemSettings settings;
    read_object(value, optional("training", [&](const JsonValue& v) { settings.training = io::read_training(v); }),
                optional("contention", [&](const JsonValue& v) { settings.contention = io::read_contention(v); }),
                optional("memory_limit_bytes", [&](const JsonValue& v) { settings.memory_limit = Bytes(v.integer()); }),
                optional("memory_modes", [&](const JsonValue& v) { settings.memory_modes = io::read_memory_modes(v); }),
                optional("blocks", [&](const JsonValue& v) {
                  const auto blocks = blocks_from_string(v.text());
                  if (!blocks || *blocks == Blocks::kNone) v.reject("\"stage\" or \"layer\"");
                  settings.blocks = *blocks;
                }));
    return settings;
  }

  static PlanStatus read_status(const JsonValue& value) {
    for (const PlanStatus status : {PlanStatus::kOptimal, PlanStatus::kFeasible}) {
      if (value.text() == to_string(status)) return status;
    }
    value.reject("\"optimal\" or \"feasible\"");
  }

  static LowerBound read_bound(const JsonValue& value) {
    LowerBound bound;
    read_object(value, required("name", text_into(bound.name)), required("value_ns", total_into(bound.value)),
                optional("detail", text_into(bound.detail)));
    return bound;
  }

  static void read_goal(const JsonValue& value, Plan& plan) {
    read_object(value, optional("deadline_ns", [&](const JsonValue& v) { plan.deadline = Duration(v.integer()); }),
                required("objectives", [&](const JsonValue& list) {
                  list.each([&](const JsonValue& v) { plan.objectives.push_back(read_objective(v)); });
                  if (plan.objectives.empty()) list.fail("no objective, expected at least one");
                }));
  }

  static ObjectiveFigure read_objective(const JsonValue& value) {
    ObjectiveFigure figure;
    std::optional<JsonValue> unit;
    read_object(value,
                required("name",
                         [&](const JsonValue& v) {
                           const auto objective = objective_from_string(v.text());
                           if (!objective) {
                             v.reject("makespan, period, peak-memory, devices, communication or utilisation");
                           }
                           figure.objective = *objective;
                         }),
                required("unit", io::keep(unit)),
                required("value", [&](const JsonValue& v) { figure.value = v.integer(0, io::kMaxTotal); }),
                required("bound", [&](const JsonValue& v) { figure.bound = v.integer(0, io::kMaxTotal); }),
                optional("proof", text_into(figure.proof)));
    if (unit->text() != unit_of(figure.objective)) unit->reject(io::text_in_quotes(unit_of(figure.objective)));
    return figure;
  }

  PlanStatistics read_statistics(const JsonValue& value) const {
    PlanStatistics statistics;
    read_object(value, required("period_ns", total_into(statistics.period)),
                required("bubble_ratio", number_into(statistics.bubble_ratio)),
                required("utilisation", number_into(statistics.utilisation)),
                required("moved_bytes", total_into(statistics.bytes_moved)),
                required("parameter_copies", [&](const JsonValue& v) { statistics.parameter_copies = v.index(); }),
                optional("recomputed_ns", total_into(statistics.recomputed)),
                optional("copied_out_bytes", total_into(statistics.bytes_copied_out)),
                required("devices", [&](const JsonValue& list) {
                  list.each([&](const JsonValue& v) {
                    statistics.devices.push_back(read_device_statistics(v, statistics.devices.size()));
                  });
                  if (statistics.devices.size() != cluster_.device_count()) {
                    list.fail(fmt::format("{} items, expected {} (one for each device of the cluster)",
                                          statistics.devices.size(), cluster_.device_count()));
                  }
                }));
    return statistics;
  }

  DeviceStatistics read_device_statistics(const JsonValue& value, std::size_t position) const {
    DeviceStatistics device;
    read_object(value,
                required("device",
                         [&](const JsonValue& v) {
                           if (position >= cluster_.device_count()) v.fail("one item more than there are devices");
                           if (find_device(v).index() == position) return;
                           v.reject(fmt::format("{}: devices are in the order of the cluster",
                                                name_in_quotes(DeviceId(position))));
                         }),
                required("compute_busy_ns", total_into(device.compute_busy)),
                required("bubble_ns", total_into(device.bubble)),
                required("span_idle_ns", total_into(device.span_idle)),
                required("peak_memory_bytes", total_into(device.peak_memory)),
                required("persistent_memory_bytes", total_into(device.persistent_memory)),
                required("sent_bytes", total_into(device.bytes_sent)),
                required("received_bytes", total_into(device.bytes_received)),
                optional("host_peak_bytes", total_into(device.host_peak)));
    return device;
  }

  static Provenance read_provenance(const JsonValue& value) {
    Provenance provenance;
    read_object(
        value, optional("version", text_into(provenance.version)), optional("method", text_into(provenance.method)),
        optional("seed", [&](const JsonValue& v) { provenance.seed = v.unsigned_integer(); }),
        optional("limit", text_into(provenance.limit)), optional("graph_hash", text_into(provenance.graph_hash)),
        optional("cluster_hash", text_into(provenance.cluster_hash)),
        optional("command", text_into(provenance.command)),
        optional("seconds", [&](const JsonValue& v) { provenance.seconds = v.number(); }),
        optional("trajectory", [&](const JsonValue& list) {
          list.each([&](const JsonValue& v) { provenance.trajectory.push_back(read_improvement(v)); });
        }));
    return provenance;
  }

  static Improvement read_improvement(const JsonValue& value) {
    Improvement improvement;
    read_object(value, required("seconds", number_into(improvement.seconds)),
                required("makespan_ns", total_into(improvement.makespan)),
                required("method", text_into(improvement.method)));
    return improvement;
  }

  PlannedTask read_task(const JsonValue& value) const {
    PlannedTask task;
    std::optional<JsonValue> microbatch;
    std::optional<JsonValue> replica;
    std::optional<JsonValue> streams;
    read_object(value, required("operator", [&](const JsonValue& v) { task.op = find_operator(v); }),
                optional("microbatch", io::keep(microbatch)), optional("replica", io::keep(replica)),
                required("devices", [&](const JsonValue& list) { read_devices(list, task.devices); }),
                optional("streams", io::keep(streams)), required("start_ns", total_into(task.start)),
                required("end_ns", total_into(task.end)));
    task.copy = read_copy(value, microbatch, replica, io::runs_per_replica(graph_.at(task.op)));
    if (streams) require_streams(*streams, graph_.at(task.op).streams);
    return task;
  }

  PlannedTransfer read_transfer(const JsonValue& value) const {
    PlannedTransfer transfer;
    std::optional<JsonValue> microbatch;
    std::optional<JsonValue> replica;
    read_object(value, required("tensor", [&](const JsonValue& v) { transfer.tensor = find_tensor(v); }),
                optional("microbatch", io::keep(microbatch)), optional("replica", io::keep(replica)),
                required("source", [&](const JsonValue& v) { transfer.source = find_device(v); }),
                required("destination", [&](const JsonValue& v) { transfer.destination = find_device(v); }),
                required("start_ns", total_into(transfer.start)), required("end_ns", total_into(transfer.end)),
                optional("again", [&](const JsonValue& v) { transfer.again = v.boolean(); }));
    transfer.copy = read_copy(value, microbatch, replica, io::made_per_replica(graph_, graph_.at(transfer.tensor)));
    return transfer;
  }

  static void require_version(const JsonValue& list, std::int64_t version) {
    if (version >= io::kPlanVersionWithMovements) return;
    list.fail(
        fmt::format("a plan of version {} has none, expected version {}", version, io::kPlanVersionWithMovements));
  }

  PlannedMode read_mode(const JsonValue& value) const {
    PlannedMode mode;
    read_object(value, required("tensor", [&](const JsonValue& v) { mode.tensor = find_tensor(v); }),
                required("microbatch", [&](const JsonValue& v) { mode.copy = v.index(); }),
                required("mode", [&](const JsonValue& v) {
                  const auto found = memory_mode_from_string(v.text());
                  if (!found || *found == MemoryMode::kKeep) v.reject("\"drop\" or \"host\"");
                  mode.mode = *found;
                }));
    return mode;
  }

  /// What is moved: an operator that runs again, a tensor that is copied, a parameter whose gradients are reduced.
  static std::string_view object_of(MovementKind kind) {
    if (kind == MovementKind::kAllReduce) return "parameter";
    return is_copy(kind) ? "tensor" : "operator";
  }

  /// Copies name their tensor; what made it is known from the graph.
  PlannedMovement read_movement(const JsonValue& value) const {
    PlannedMovement movement;
    std::optional<JsonValue> op;
    std::optional<JsonValue> tensor;
    std::optional<JsonValue> parameter;
    std::optional<JsonValue> microbatch;
    read_object(value,
                required("kind",
                         [&](const JsonValue& v) {
                           const auto kind = movement_kind_from_string(v.text());
                           if (!kind) v.reject("\"recompute\", \"copy_out\", \"copy_in\" or \"all_reduce\"");
                           movement.kind = *kind;
                         }),
                optional("operator", io::keep(op)), optional("tensor", io::keep(tensor)),
                optional("parameter", io::keep(parameter)), optional("microbatch", io::keep(microbatch)),
                required("devices", [&](const JsonValue& list) { read_devices(list, movement.devices); }),
                required("start_ns", total_into(movement.start)), required("end_ns", total_into(movement.end)));
    const std::string_view wanted = object_of(movement.kind);
    const std::pair<std::string_view, const std::optional<JsonValue>*> objects[] = {
        {"operator", &op}, {"tensor", &tensor}, {"parameter", &parameter}};
    for (const auto& [key, given] : objects) {
      if (key == wanted && !*given) value.fail_missing_key(key);
      if (key == wanted || !*given) continue;
      value.fail(fmt::format("key \"{}\" given for a movement of kind \"{}\", expected \"{}\"", key,
                             to_string(movement.kind), wanted));
    }
    const bool is_reduction = movement.kind == MovementKind::kAllReduce;
    if (is_reduction && microbatch) value.fail("key \"microbatch\" given for what exists once, expected none");
    if (!is_reduction && !microbatch) value.fail_missing_key("microbatch");
    if (is_reduction) {
      movement.parameter = find_parameter(*parameter);
      return movement;
    }
    movement.copy = microbatch->index();
    if (is_copy(movement.kind)) {
      movement.tensor = find_tensor(*tensor);
      const std::optional<OperatorId> producer = graph_.at(movement.tensor).producer;
      if (!producer) tensor->reject("a tensor that an operator makes");
      movement.op = *producer;
    } else {
      movement.op = find_operator(*op);
    }
    return movement;
  }

  void read_devices(const JsonValue& list, std::vector<DeviceId>& devices) const {
    list.each([&](const JsonValue& v) { devices.push_back(find_device(v)); });
    if (devices.empty()) list.fail("no device, expected at least one");
    std::sort(devices.begin(), devices.end());
    const auto twice = std::adjacent_find(devices.begin(), devices.end());
    if (twice != devices.end()) list.fail(fmt::format("device {} is listed twice", name_in_quotes(*twice)));
  }

  /// The one of "microbatch" and "replica" that applies. Whether so many exist is for `check` to say.
  static std::uint32_t read_copy(const JsonValue& object, const std::optional<JsonValue>& microbatch,
                                 const std::optional<JsonValue>& replica, bool per_replica) {
    const std::optional<JsonValue>& wanted = per_replica ? replica : microbatch;
    if (per_replica ? microbatch.has_value() : replica.has_value()) {
      object.fail(per_replica ? "key \"microbatch\" given for what exists once per replica"
                              : "key \"replica\" given for what exists once per microbatch");
    }
    if (!wanted) object.fail_missing_key(per_replica ? "replica" : "microbatch");
    return wanted->index();
  }

  /// Streams follow from the operator; a plan repeats them for those who execute it.
  static void require_streams(const JsonValue& list, const std::vector<std::string>& expected) {
    std::size_t count = 0;
    list.each([&](const JsonValue& stream) {
      if (count >= expected.size() || stream.text() != expected[count]) {
        stream.reject("the streams of the operator, in their order");
      }
      ++count;
    });
    if (count != expected.size()) list.fail("streams are missing, expected those of the operator");
  }

  [[nodiscard]] OperatorId find_operator(const JsonValue& value) const {
    const auto found = operators_.find(value.text());
    if (found == operators_.end()) value.reject("the name of an operator of the graph");
    return found->second;
  }
  [[nodiscard]] ParameterId find_parameter(const JsonValue& value) const {
    const std::string name(value.text());
    const auto found = std::ranges::find(graph_.parameters(), name, &Parameter::name);
    if (found == graph_.parameters().end()) value.reject("the name of a parameter of the graph");
    return ParameterId(static_cast<std::size_t>(found - graph_.parameters().begin()));
  }
  [[nodiscard]] TensorId find_tensor(const JsonValue& value) const {
    const auto found = tensors_.find(value.text());
    if (found == tensors_.end()) value.reject("the name of a tensor of the graph");
    return found->second;
  }
  [[nodiscard]] DeviceId find_device(const JsonValue& value) const {
    const std::optional<DeviceId> found = cluster_.find_device(value.text());
    if (!found) value.reject("the name of a device of the cluster");
    return *found;
  }
  [[nodiscard]] std::string name_in_quotes(DeviceId device) const {
    return io::text_in_quotes(cluster_.at(device).name);
  }

  const ComputationGraph& graph_;
  const Cluster& cluster_;
  std::unordered_map<std::string_view, OperatorId> operators_;
  std::unordered_map<std::string_view, TensorId> tensors_;
};

}  // namespace

Plan io::read_plan(const JsonValue& value, const ComputationGraph& graph, const Cluster& cluster) {
  require_format(value, kPlanFormat, kPlanVersionWithMovements);
  return PlanReader(graph, cluster).read(value);
}

Plan parse_plan(std::string_view json, const std::string& source, const ComputationGraph& graph,
                const Cluster& cluster) {
  const io::JsonDocument document(json, source);
  return io::read_plan(document.root(), graph, cluster);
}

}  // namespace opweave
