#include "io/formats.h"
#include "io/plan_copies.h"
#include "io/plan_json.h"
#include "io/settings_json.h"
#include "opweave/io.h"

namespace opweave {
namespace {

using io::JsonWriter;
using Layout = io::JsonWriter::Layout;

class PlanWriter {
 public:
  PlanWriter(JsonWriter& json, const Plan& plan, const ComputationGraph& graph, const Cluster& cluster)
      : plan_(plan), graph_(graph), cluster_(cluster), json_(json) {}

  void write() {
    json_.open_object(Layout::kBlock);
    json_.member("format", io::kPlanFormat);
    json_.member("version", has_movements() ? io::kPlanVersionWithMovements : io::kFormatVersion);
    json_.member("graph", plan_.graph_name);
    json_.member("cluster", plan_.cluster_name);
    write_settings();
    json_.member("status", to_string(plan_.status));
    json_.member("makespan_ns", plan_.statistics.makespan.value());
    json_.member("lower_bound_ns", plan_.lower_bound().value());
    json_.member("gap", plan_.gap());
    write_bounds();
    write_goal();
    write_statistics();
    write_provenance();
    write_tasks();
    write_transfers();
    write_modes();
    write_movements();
    json_.close_object();
  }

 private:
  /// In plans with options they are beside this plan, which has their figures.
  [[nodiscard]] bool has_movements() const {
    const PlanStatistics& figures = plan_.statistics;
    return !plan_.modes.empty() || !plan_.movements.empty() || figures.recomputed > Duration() ||
           figures.bytes_copied_out > Bytes();
  }

  void write_settings() {
    const ProblemSettings& settings = plan_.settings;
    if (settings == ProblemSettings()) return;
    json_.key("settings");
    json_.open_object(Layout::kBlock);
    io::write_training(json_, settings.training);
    if (settings.contention != Contention::kNone) json_.member("contention", to_string(settings.contention));
    if (settings.memory_limit) json_.member("memory_limit_bytes", settings.memory_limit->value());
    if (settings.blocks != Blocks::kNone) json_.member("blocks", to_string(settings.blocks));
    if (settings.memory_modes.any()) io::write_memory_modes(json_, settings.memory_modes);
    json_.close_object();
  }

  void write_bounds() {
    if (plan_.bounds.empty()) return;
    json_.key("bounds");
    json_.open_array(Layout::kBlock);
    for (const LowerBound& bound : plan_.bounds) {
      json_.open_object(Layout::kLine);
      json_.member("name", bound.name);
      json_.member("value_ns", bound.value.value());
      if (!bound.detail.empty()) json_.member("detail", bound.detail);
      json_.close_object();
    }
    json_.close_array();
  }

  void write_goal() {
    if (plan_.objectives.empty() && !plan_.deadline) return;
    json_.key("goal");
    json_.open_object(Layout::kBlock);
    if (plan_.deadline) json_.member("deadline_ns", plan_.deadline->value());
    json_.key("objectives");
    json_.open_array(Layout::kBlock);
    for (const ObjectiveFigure& figure : plan_.objectives) {
      json_.open_object(Layout::kLine);
      json_.member("name", to_string(figure.objective));
      json_.member("unit", unit_of(figure.objective));
      json_.member("value", figure.value);
      json_.member("bound", figure.bound);
      if (!figure.proof.empty()) json_.member("proof", figure.proof);
      json_.close_object();
    }
    json_.close_array();
    json_.close_object();
  }

  void write_statistics() {
    const PlanStatistics& statistics = plan_.statistics;
    json_.key("statistics");
    json_.open_object(Layout::kBlock);
    json_.member("period_ns", statistics.period.value());
    json_.member("bubble_ratio", statistics.bubble_ratio);
    json_.member("utilisation", statistics.utilisation);
    json_.member("moved_bytes", statistics.bytes_moved.value());
    json_.member("parameter_copies", statistics.parameter_copies);
    if (has_movements()) {
      json_.member("recomputed_ns", statistics.recomputed.value());
      json_.member("copied_out_bytes", statistics.bytes_copied_out.value());
    }
    json_.key("devices");
    json_.open_array(Layout::kBlock);
    for (std::size_t d = 0; d < statistics.devices.size(); ++d) {
      const DeviceStatistics& device = statistics.devices[d];
      json_.open_object(Layout::kLine);
      json_.member("device", cluster_.at(DeviceId(d)).name);
      json_.member("compute_busy_ns", device.compute_busy.value());
      json_.member("bubble_ns", device.bubble.value());
      json_.member("span_idle_ns", device.span_idle.value());
      json_.member("peak_memory_bytes", device.peak_memory.value());
      json_.member("persistent_memory_bytes", device.persistent_memory.value());
      json_.member("sent_bytes", device.bytes_sent.value());
      json_.member("received_bytes", device.bytes_received.value());
      if (has_movements()) json_.member("host_peak_bytes", device.host_peak.value());
      json_.close_object();
    }
    json_.close_array();
    json_.close_object();
  }

  void write_provenance() {
    const Provenance& provenance = plan_.provenance;
    json_.key("provenance");
    json_.open_object(Layout::kBlock);
    const auto write_text = [&](std::string_view key, const std::string& text) {
      if (!text.empty()) json_.member(key, text);
    };
    write_text("version", provenance.version);
    write_text("method", provenance.method);
    json_.member("seed", provenance.seed);
    write_text("limit", provenance.limit);
    write_text("graph_hash", provenance.graph_hash);
    write_text("cluster_hash", provenance.cluster_hash);
    write_text("command", provenance.command);
    if (provenance.seconds) json_.member("seconds", *provenance.seconds);
    if (!provenance.trajectory.empty()) {
      json_.key("trajectory");
      json_.open_array(Layout::kBlock);
      for (const Improvement& improvement : provenance.trajectory) {
        json_.open_object(Layout::kLine);
        json_.member("seconds", improvement.seconds);
        json_.member("makespan_ns", improvement.makespan.value());
        json_.member("method", improvement.method);
        json_.close_object();
      }
      json_.close_array();
    }
    json_.close_object();
  }

  void write_tasks() {
    json_.key("tasks");
    json_.open_array(Layout::kBlock);
    for (const PlannedTask& task : plan_.tasks) {
      const Operator& op = graph_.at(task.op);
      json_.open_object(Layout::kLine);
      json_.member("operator", op.name);
      json_.member(io::runs_per_replica(op) ? "replica" : "microbatch", task.copy);
      write_devices(task.devices);
      json_.list("streams", op.streams);
      json_.member("start_ns", task.start.value());
      json_.member("end_ns", task.end.value());
      json_.close_object();
    }
    json_.close_array();
  }

  void write_transfers() {
    if (plan_.transfers.empty()) return;
    json_.key("transfers");
    json_.open_array(Layout::kBlock);
    for (const PlannedTransfer& transfer : plan_.transfers) {
      const Tensor& tensor = graph_.at(transfer.tensor);
      json_.open_object(Layout::kLine);
      json_.member("tensor", tensor.name);
      json_.member(io::made_per_replica(graph_, tensor) ? "replica" : "microbatch", transfer.copy);
      json_.member("source", cluster_.at(transfer.source).name);
      json_.member("destination", cluster_.at(transfer.destination).name);
      json_.member("start_ns", transfer.start.value());
      json_.member("end_ns", transfer.end.value());
      if (transfer.again) json_.member("again", true);
      json_.close_object();
    }
    json_.close_array();
  }

  void write_devices(const std::vector<DeviceId>& devices) {
    json_.key("devices");
    json_.open_array(Layout::kLine);
    for (const DeviceId device : devices) json_.value(cluster_.at(device).name);
    json_.close_array();
  }

  void write_modes() {
    if (plan_.modes.empty()) return;
    json_.key("memory_modes");
    json_.open_array(Layout::kBlock);
    for (const PlannedMode& mode : plan_.modes) {
      json_.open_object(Layout::kLine);
      json_.member("tensor", graph_.at(mode.tensor).name);
      json_.member("microbatch", mode.copy);
      json_.member("mode", to_string(mode.mode));
      json_.close_object();
    }
    json_.close_array();
  }

  void write_movements() {
    if (plan_.movements.empty()) return;
    json_.key("movements");
    json_.open_array(Layout::kBlock);
    for (const PlannedMovement& movement : plan_.movements) {
      json_.open_object(Layout::kLine);
      json_.member("kind", to_string(movement.kind));
      if (movement.kind == MovementKind::kRecompute) {
        json_.member("operator", graph_.at(movement.op).name);
      } else if (movement.kind == MovementKind::kAllReduce) {
        json_.member("parameter", graph_.at(movement.parameter).name);
      } else {
        json_.member("tensor", graph_.at(movement.tensor).name);
      }
      if (movement.kind != MovementKind::kAllReduce) json_.member("microbatch", movement.copy);
      write_devices(movement.devices);
      json_.member("start_ns", movement.start.value());
      json_.member("end_ns", movement.end.value());
      json_.close_object();
    }
    json_.close_array();
  }

  const Plan& plan_;
  const ComputationGraph& graph_;
  const Cluster& cluster_;
  JsonWriter& json_;
};

}  // namespace

void io::write_plan(JsonWriter& json, const Plan& plan, const ComputationGraph& graph, const Cluster& cluster) {
  PlanWriter(json, plan, graph, cluster).write();
}

std::string plan_to_json(const Plan& plan, const ComputationGraph& graph, const Cluster& cluster) {
  JsonWriter json;
  io::write_plan(json, plan, graph, cluster);
  return std::move(json).finish();
}

}  // namespace opweave
