#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "opweave/report.h"

namespace opweave {
namespace {

/// Microseconds with all three decimals: the unit of the format, without loss of a nanosecond.
std::string microseconds(Duration time) { return fmt::format("{}.{:03}", time.value() / 1000, time.value() % 1000); }

/// A quoted JSON string; bytes that are no UTF-8 become the replacement character.
std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class TraceWriter {
 public:
  TraceWriter(const Problem& problem, const Plan& plan) : problem_(problem), plan_(plan) {
    for (const Operator& op : problem.graph().operators()) details_.push_back(operator_details(op));
    planned_.resize(problem.task_count());
    for (std::size_t t = 0; t < plan.tasks.size(); ++t) {
      planned_[problem.task_of(plan.tasks[t].op, plan.tasks[t].copy).index()] = t;
    }
  }

  std::string write() {
    // No "displayTimeUnit": readers of today ignore it with a remark, old ones took the times for nanoseconds.
    out_ = "{\"traceEvents\":[\n";
    for (std::size_t d = 0; d < problem_.cluster().device_count(); ++d) name_tracks(DeviceId(d));
    for (const PlannedTask& task : plan_.tasks) slices(task);
    for (std::size_t t = 0; t < plan_.transfers.size(); ++t) flow(plan_.transfers[t], t);
    const auto curves = memory_curves(problem_, to_schedule(problem_, plan_));
    for (std::size_t d = 0; d < curves.size(); ++d) memory(DeviceId(d), curves[d]);
    out_ += "\n],\n\"otherData\":" + provenance() + "}\n";
    return std::move(out_);
  }

 private:
  template <class... Args>
  void event(fmt::format_string<Args...> format, Args&&... args) {
    if (!first_) out_ += ",\n";
    first_ = false;
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  // Process 0 and thread 0 stand for the idle task of a machine in Perfetto, and a thread of the number of a process
  // for its main thread; thread ids are unique over all processes, as they are on a machine.
  static std::size_t process(DeviceId device) { return device.index() + 1; }
  [[nodiscard]] std::size_t thread(DeviceId device, unsigned stream) const {
    const Cluster& cluster = problem_.cluster();
    return cluster.device_count() + 1 + device.index() * cluster.stream_names().size() + stream;
  }

  static std::string operator_details(const Operator& op) {
    std::string details;
    if (op.phase != Phase::kNone) details += fmt::format(",\"phase\":\"{}\"", to_string(op.phase));
    if (!op.kind.empty()) details += ",\"kind\":" + json_string(op.kind);
    if (!op.layer.empty()) details += ",\"layer\":" + json_string(op.layer);
    if (op.stage) details += fmt::format(",\"stage\":{}", op.stage->index());
    return details;
  }

  void name_tracks(DeviceId device) {
    const Device& description = problem_.cluster().at(device);
    const std::size_t pid = process(device);
    event(R"({{"ph":"M","pid":{},"name":"process_name","args":{{"name":{}}}}})", pid, json_string(description.name));
    event(R"({{"ph":"M","pid":{},"name":"process_sort_index","args":{{"sort_index":{}}}}})", pid, device.index());
    for (unsigned s = 0; s < problem_.cluster().stream_names().size(); ++s) {
      if ((problem_.cluster().stream_mask(device) >> s & 1U) == 0) continue;
      const std::size_t tid = thread(device, s);
      event(R"({{"ph":"M","pid":{},"tid":{},"name":"thread_name","args":{{"name":{}}}}})", pid, tid,
            json_string(problem_.cluster().stream_names()[s]));
      event(R"({{"ph":"M","pid":{},"tid":{},"name":"thread_sort_index","args":{{"sort_index":{}}}}})", pid, tid, s);
    }
  }

  void slices(const PlannedTask& task) {
    const TaskId id = problem_.task_of(task.op, task.copy);
    const std::string name = json_string(problem_.task_name(id));
    const std::string_view phase = to_string(problem_.op(id).phase);
    const std::string_view copy = problem_.op(id).phase == Phase::kOptimizer ? "replica" : "microbatch";
    for (const DeviceId device : task.devices) {
      for (unsigned s = 0; s < 32; ++s) {
        if ((problem_.streams(id) >> s & 1U) == 0) continue;
        event(R"({{"ph":"X","pid":{},"tid":{},"ts":{},"dur":{},"name":{},"cat":"{}","args":{{"{}":{}{}}}}})",
              process(device), thread(device, s), microseconds(task.start), microseconds(task.end - task.start), name,
              phase.empty() ? "task" : phase, copy, task.copy, details_[task.op.index()]);
      }
    }
  }

  /// An end of a flow belongs to the slice that is open at its time, so it lies in the middle of one.
  void flow_end(std::string_view ends, std::size_t id, const PlannedTask& task, DeviceId device) {
    const auto stream = static_cast<unsigned>(__builtin_ctz(problem_.streams(problem_.task_of(task.op, task.copy))));
    const Duration middle((task.start.value() + task.end.value()) / 2);
    event(R"({{{},"id":{},"pid":{},"tid":{},"ts":{},"name":"transfer","cat":"transfer"}})", ends, id, process(device),
          thread(device, stream), microseconds(middle));
  }

  /// From the producer to the first task on the destination that waits for the value.
  void flow(const PlannedTransfer& transfer, std::size_t id) {
    const ValueId value = problem_.value_of(transfer.tensor, transfer.copy);
    const auto producer = problem_.producer(value);
    if (!producer) return;
    const PlannedTask& from = plan_.tasks[planned_[producer->index()]];
    const PlannedTask* to = nullptr;
    for (const TaskId consumer : problem_.consumers(value)) {
      const PlannedTask& task = plan_.tasks[planned_[consumer.index()]];
      const bool here = std::binary_search(task.devices.begin(), task.devices.end(), transfer.destination);
      if (here && (to == nullptr || task.start < to->start)) to = &task;
    }
    if (to == nullptr) return;  // sent on from there: the arrow of that transfer shows it
    // A value that is sent on from a device that did not make it still starts at its producer.
    const bool made_at_source = std::binary_search(from.devices.begin(), from.devices.end(), transfer.source);
    flow_end(R"("ph":"s")", id, from, made_at_source ? transfer.source : from.devices.front());
    flow_end(R"("ph":"f","bp":"e")", id, *to, transfer.destination);
  }

  void memory(DeviceId device, const std::vector<MemoryStep>& curve) {
    if (const auto capacity = problem_.capacity(device)) {
      event(R"({{"ph":"C","pid":{},"ts":0.000,"name":"memory limit","args":{{"bytes":{}}}}})", process(device),
            capacity->value());
    }
    for (const MemoryStep& step : curve) {
      event(R"({{"ph":"C","pid":{},"ts":{},"name":"memory","args":{{"bytes":{}}}}})", process(device),
            microseconds(step.time), step.bytes.value());
    }
  }

  std::string provenance() const {
    const Provenance& origin = plan_.provenance;
    return fmt::format(R"({{"generator":{},"graph":{},"cluster":{},"graph_hash":{},"cluster_hash":{},"seed":"{}"}})",
                       json_string("opweave " + origin.version), json_string(plan_.graph_name),
                       json_string(plan_.cluster_name), json_string(origin.graph_hash),
                       json_string(origin.cluster_hash), origin.seed);
  }

  const Problem& problem_;
  const Plan& plan_;
  std::vector<std::string> details_;  // by operator: the constant part of the arguments
  std::vector<std::size_t> planned_;  // by TaskId: position in the plan
  std::string out_;
  bool first_ = true;
};

}  // namespace

std::string perfetto_trace(const Problem& problem, const Plan& plan) { return TraceWriter(problem, plan).write(); }

}  // namespace opweave
