#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "io/formats.h"
#include "io/json_reader.h"
#include "io/message.h"
#include "opweave/io.h"
#include "opweave/plan_alone.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::names_into;
using io::optional;
using io::OtherKeys;
using io::read_object;
using io::required;

/// Collects what the file names, as the graph and the cluster that it could be for. Whatever is wrong with the
/// rest of the file is found by parse_plan, which reads it again with these.
class Names {
 public:
  explicit Names(MovementsAlone movements) : movements_(movements) {}

  void collect(const JsonValue& root) {
    read_object<OtherKeys::kIgnore>(
        root, optional("memory_modes", [this](const JsonValue& v) { collect_movements(v); }),
        optional("movements", [this](const JsonValue& v) { collect_movements(v); }),
        required("statistics", [this](const JsonValue& v) { collect_devices(v); }),
        required("tasks",
                 [this](const JsonValue& v) { v.each([this](const JsonValue& task) { collect_task(task); }); }),
        optional("transfers", [this](const JsonValue& v) {
          v.each([this](const JsonValue& transfer) { collect_transfer(transfer); });
        }));
  }

  ComputationGraph graph() {
    // A tensor counted by replica is made by an optimizer operator: by which one makes no difference here.
    for (const std::string& tensor : by_replica_) {
      for (Operator& op : operators_) {
        if (op.phase != Phase::kOptimizer) continue;
        op.outputs.emplace_back(tensors_.at(tensor));
        break;
      }
    }
    // Likewise one that runs per microbatch makes all that is copied.
    const auto maker =
        std::ranges::find_if(operators_, [](const Operator& op) { return op.phase != Phase::kOptimizer; });
    for (const std::string& tensor : moved_) {
      if (maker != operators_.end() && !by_replica_.contains(tensor)) maker->outputs.emplace_back(tensors_.at(tensor));
    }
    std::vector<Tensor> tensors(tensors_.size());
    for (const auto& [text, index] : tensors_) tensors[index].name = text;
    std::vector<Parameter> parameters;
    for (const std::string& name : parameters_) parameters.push_back({name, Bytes()});
    return ComputationGraph::create("", std::move(operators_), std::move(tensors), std::move(parameters));
  }

  Cluster cluster() {
    ClusterParts parts;
    for (const std::string& device : devices_) {
      std::vector<std::string> streams = {"compute"};
      for (const std::string& stream : streams_) {
        if (stream != "compute") streams.push_back(stream);
      }
      parts.devices.push_back({device, "", std::nullopt, std::move(streams)});
    }
    return Cluster::create(std::move(parts));
  }

 private:
  void collect_devices(const JsonValue& statistics) {
    read_object<OtherKeys::kIgnore>(
        statistics, required("devices", [this](const JsonValue& list) {
          list.each([this](const JsonValue& device) {
            read_object<OtherKeys::kIgnore>(
                device, required("device", [this](const JsonValue& v) { devices_.emplace_back(v.name()); }));
          });
        }));
  }

  void collect_task(const JsonValue& value) {
    Operator op;
    std::optional<JsonValue> replica;
    read_object<OtherKeys::kIgnore>(value, required("operator", [&](const JsonValue& v) { op.name = v.name(); }),
                                    optional("replica", io::keep(replica)),
                                    optional("streams", names_into(op.streams)));
    if (replica) op.phase = Phase::kOptimizer;
    if (!seen_.insert(op.name).second) return;
    streams_.insert(op.streams.begin(), op.streams.end());
    operators_.push_back(std::move(op));
  }

  /// Names in a list of memory modes or movements.
  void collect_movements(const JsonValue& list) {
    if (movements_ == MovementsAlone::kRefuse) {
      list.fail("memory modes and movements cannot be read from the plan alone",
                "name GRAPH and CLUSTER before the plan");
    }
    list.each([this](const JsonValue& value) {
      read_object<OtherKeys::kIgnore>(
          value,
          optional("tensor",
                   [this](const JsonValue& v) {
                     const std::string name(v.name());
                     tensors_.try_emplace(name, tensors_.size());
                     moved_.insert(name);
                   }),
          optional("parameter", [this](const JsonValue& v) { parameters_.insert(std::string(v.name())); }));
    });
  }

  void collect_transfer(const JsonValue& value) {
    std::string tensor;
    std::optional<JsonValue> replica;
    read_object<OtherKeys::kIgnore>(value, required("tensor", [&](const JsonValue& v) { tensor = v.name(); }),
                                    optional("replica", io::keep(replica)));
    tensors_.try_emplace(tensor, tensors_.size());
    if (replica) by_replica_.insert(tensor);
  }

  const MovementsAlone movements_;
  std::set<std::string> moved_;
  std::set<std::string> parameters_;
  std::vector<std::string> devices_;
  std::set<std::string> streams_;
  std::set<std::string> seen_;
  std::vector<Operator> operators_;
  std::map<std::string, std::size_t> tensors_;
  std::set<std::string> by_replica_;
};

}  // namespace

PlanAlone parse_plan_alone(std::string_view json, const std::string& source, MovementsAlone movements) {
  Names names(movements);
  {
    const io::JsonDocument document(json, source);
    names.collect(document.root(io::kPlanFormat, io::kPlanVersionWithMovements));
  }
  PlanAlone result = io::naming_source(source, [&] { return PlanAlone{names.graph(), names.cluster(), {}}; });
  result.plan = parse_plan(json, source, result.graph, result.cluster);
  return result;
}

}  // namespace opweave
