#include "report/report_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "opweave/experts.h"
#include "opweave/explain.h"
#include "report/comparison.h"
#include "report/work.h"

namespace opweave {
namespace {

using Json = nlohmann::json;
using Column = std::vector<std::int64_t>;

/// Appends value - previous value, so that a column that grows slowly stays short as text.
class DifferenceColumn {
 public:
  void push(std::int64_t value) {
    differences_.push_back(value - last_);
    last_ = value;
  }
  [[nodiscard]] const Column& differences() const { return differences_; }

 private:
  Column differences_;
  std::int64_t last_ = 0;
};

/// Texts that many operators share, each once.
class Words {
 public:
  /// Index of the text; -1 for the empty one.
  std::int64_t index(const std::string& text) {
    if (text.empty()) return -1;
    const auto [position, inserted] = indices_.try_emplace(text, static_cast<std::int64_t>(list_.size()));
    if (inserted) list_.push_back(text);
    return position->second;
  }
  [[nodiscard]] const std::vector<std::string>& list() const { return list_; }

 private:
  std::unordered_map<std::string, std::int64_t> indices_;
  std::vector<std::string> list_;
};

template <class Quantity>
Json value_or_null(const std::optional<Quantity>& quantity) {
  return quantity ? Json(quantity->value()) : Json();
}

Json operators_json(const Problem& problem, Words& words) {
  std::vector<std::string> names;
  Column kinds, layers, phases, stages, streams;
  const auto& operators = problem.graph().operators();
  for (std::size_t o = 0; o < operators.size(); ++o) {
    const Operator& op = operators[o];
    names.push_back(op.name);
    kinds.push_back(words.index(op.kind));
    layers.push_back(words.index(op.layer));
    phases.push_back(static_cast<std::int64_t>(op.phase));
    stages.push_back(op.stage ? static_cast<std::int64_t>(op.stage->index()) : -1);
    streams.push_back(problem.streams(problem.task_of(OperatorId(o), 0)));
  }
  return {{"name", names},   {"kind", kinds},   {"layer", layers},
          {"phase", phases}, {"stage", stages}, {"streams", streams}};
}

/// The plan's schedule with its explanation, and where the tasks stand in the plan.
struct Explained {
  Schedule schedule;
  Explanation explanation;
  std::vector<std::int64_t> position;  ///< by TaskId, in plan.tasks

  Explained(const Problem& problem, const Plan& plan)
      : schedule(to_schedule(problem, plan)), explanation(problem, schedule), position(problem.task_count()) {
    for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
      position[problem.task_of(plan.tasks[i].op, plan.tasks[i].copy).index()] = static_cast<std::int64_t>(i);
    }
  }
};

/// Also fills `sets` with the distinct lists of devices that tasks run on.
Json tasks_json(const Problem& problem, const Plan& plan, const Explained& explained, Json& sets) {
  DifferenceColumn ops, starts;
  Column copies, devices, durations, bindings, slacks;
  const std::vector<Duration> slack = explained.explanation.slack();
  std::map<std::vector<DeviceId>, std::int64_t> set_indices;
  sets = Json::array();
  for (const PlannedTask& task : plan.tasks) {
    ops.push(static_cast<std::int64_t>(task.op.index()));
    copies.push_back(task.copy);
    const auto [set, inserted] = set_indices.try_emplace(task.devices, static_cast<std::int64_t>(sets.size()));
    if (inserted) {
      Json members = Json::array();
      for (const DeviceId device : task.devices) members.push_back(device.index());
      sets.push_back(std::move(members));
    }
    devices.push_back(set->second);
    starts.push(task.start.value());
    durations.push_back((task.end - task.start).value());
    const TaskId id = problem.task_of(task.op, task.copy);
    bindings.push_back(static_cast<std::int64_t>(explained.explanation.reason(id).binding));
    slacks.push_back(slack[id.index()].value());
  }
  return {{"op", ops.differences()}, {"copy", copies},  {"devices", devices},
          {"binding", bindings},     {"slack", slacks}, {"start", starts.differences()},
          {"duration", durations}};
}

/// Also fills `tensors` with the tensors that are sent at all.
Json transfers_json(const Problem& problem, const Plan& plan, Json& tensors) {
  std::vector<std::string> names;
  Column bytes, producers;
  Json consumers = Json::array();
  std::unordered_map<TensorId, std::int64_t> tensor_indices;
  const auto tensor_index = [&](TensorId id) {
    const auto [position, inserted] = tensor_indices.try_emplace(id, static_cast<std::int64_t>(names.size()));
    if (inserted) {
      const Tensor& tensor = problem.graph().at(id);
      names.push_back(tensor.name);
      bytes.push_back(tensor.size.value());
      producers.push_back(tensor.producer ? static_cast<std::int64_t>(tensor.producer->index()) : -1);
      Json list = Json::array();
      for (const OperatorId consumer : tensor.consumers) list.push_back(consumer.index());
      consumers.push_back(std::move(list));
    }
    return position->second;
  };
  DifferenceColumn starts;
  Column sent, copies, sources, destinations, durations;
  for (const PlannedTransfer& transfer : plan.transfers) {
    sent.push_back(tensor_index(transfer.tensor));
    copies.push_back(transfer.copy);
    sources.push_back(static_cast<std::int64_t>(transfer.source.index()));
    destinations.push_back(static_cast<std::int64_t>(transfer.destination.index()));
    starts.push(transfer.start.value());
    durations.push_back((transfer.end - transfer.start).value());
  }
  tensors = {{"name", names}, {"bytes", bytes}, {"producer", producers}, {"consumers", std::move(consumers)}};
  return {{"tensor", sent},
          {"copy", copies},
          {"source", sources},
          {"destination", destinations},
          {"start", starts.differences()},
          {"duration", durations}};
}

Json memory_json(const std::vector<MemoryStep>& curve) {
  DifferenceColumn times, bytes;
  for (const MemoryStep& step : curve) {
    times.push(step.time.value());
    bytes.push(step.bytes.value());
  }
  return {{"time", times.differences()}, {"bytes", bytes.differences()}};
}

/// Idle stretches of each device.
std::vector<Json> idle_json(const Problem& problem, const Explained& explained) {
  struct Columns {
    Column cause, length;
    DifferenceColumn start;
  };
  std::vector<Columns> columns(problem.cluster().device_count());
  for (const IdleSpan& span : explained.explanation.idle_spans()) {
    Columns& device = columns[span.device.index()];
    device.cause.push_back(static_cast<std::int64_t>(span.cause));
    device.start.push(span.from.value());
    device.length.push_back((span.until - span.from).value());
  }
  std::vector<Json> result;
  for (const Columns& device : columns) {
    result.push_back({{"cause", device.cause}, {"start", device.start.differences()}, {"length", device.length}});
  }
  return result;
}

/// The critical path, and the words for causes and bindings in the order of their enumerators.
Json explanation_json(const Explained& explained) {
  Json causes = Json::array(), bindings = Json::array();
  for (std::size_t c = 0; c < kIdleCauses; ++c) causes.push_back(to_string(static_cast<IdleCause>(c)));
  for (const Binding binding :
       {Binding::kStart, Binding::kInput, Binding::kTransfer, Binding::kStream, Binding::kLink, Binding::kMemory}) {
    bindings.push_back(to_string(binding));
  }
  Column tasks, transfers, lengths;
  for (const PathStep& step : explained.explanation.critical_path()) {
    tasks.push_back(step.task ? explained.position[step.task->index()] : -1);
    transfers.push_back(step.transfer ? static_cast<std::int64_t>(*step.transfer) : -1);
    lengths.push_back((step.until - step.from).value());
  }
  return {{"causes", std::move(causes)},
          {"bindings", std::move(bindings)},
          {"path", {{"task", tasks}, {"transfer", transfers}, {"length", lengths}}}};
}

/// Pictures of schedules on one time axis: per device a letter for each of kSlices slices of time, the number of the
/// phase that its compute stream runs longest, "." where more than half of the slice is idle.
constexpr std::size_t kSlices = 800;
Json lanes_json(const Problem& problem, const Schedule& schedule, Duration until) {
  constexpr std::size_t kPhases = 6;
  const std::size_t device_count = problem.cluster().device_count();
  std::vector<std::array<double, kPhases>> busy(device_count * kSlices);
  const double width = static_cast<double>(until.value()) / kSlices;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    if ((problem.streams(TaskId(t)) & 1U) == 0) continue;
    const auto start = static_cast<double>(schedule.tasks[t].start.value());
    const auto end = static_cast<double>(schedule.end(problem, TaskId(t)).value());
    for (const DeviceId device : problem.mode(TaskId(t), schedule.tasks[t].mode).devices) {
      for (auto s = static_cast<std::size_t>(start / width); s < kSlices && static_cast<double>(s) * width < end; ++s) {
        const double from = std::max(start, static_cast<double>(s) * width);
        const double to = std::min(end, static_cast<double>(s + 1) * width);
        busy[device.index() * kSlices + s][static_cast<std::size_t>(problem.op(TaskId(t)).phase)] += to - from;
      }
    }
  }
  Json lanes = Json::array();
  for (std::size_t d = 0; d < device_count; ++d) {
    std::string lane(kSlices, '.');
    for (std::size_t s = 0; s < kSlices; ++s) {
      const auto& shares = busy[d * kSlices + s];
      double sum = 0;
      for (const double share : shares) sum += share;
      if (2 * sum < width) continue;
      lane[s] = static_cast<char>('0' + (std::ranges::max_element(shares) - shares.begin()));
    }
    lanes.push_back(std::move(lane));
  }
  return lanes;
}

/// The plan and the published schedules that the comparison names, side by side.
Json beside_json(const Problem& problem, const Plan& plan, const std::vector<ComparisonRow>& comparison,
                 const Schedule& schedule) {
  constexpr std::size_t kMostDevices = 64;  // more make no picture that one can read
  Json rows = Json::array();
  Duration until;
  if (problem.cluster().device_count() <= kMostDevices && !comparison.empty()) {
    const std::vector<ExpertPlan> experts = published_schedules(problem);
    for (const ComparisonRow& row : comparison) until = std::max(until, row.makespan);
    for (const ComparisonRow& row : comparison) {
      const auto expert = std::ranges::find(experts, row.name, &ExpertPlan::name);
      // What is no expert's is the plan.
      const bool is_plan = expert == experts.end();
      if (is_plan && row.makespan != plan.statistics.makespan) continue;
      rows.push_back({{"name", row.name},
                      {"makespan", row.makespan.value()},
                      {"fits_memory", row.fits_memory},
                      {"lanes", lanes_json(problem, is_plan ? schedule : expert->schedule, until)}});
    }
  }
  return {{"until", until.value()}, {"slices", kSlices}, {"rows", std::move(rows)}};
}

/// What a parameter takes where it lives: weights, gradients and optimizer state.
Json parameters_json(const Problem& problem) {
  std::vector<std::string> names;
  Column bytes;
  for (std::size_t p = 0; p < problem.graph().parameters().size(); ++p) {
    names.push_back(problem.graph().parameters()[p].name);
    bytes.push_back(problem.persistent_bytes(ParameterId(p)).value());
  }
  return {{"name", names}, {"bytes", bytes}};
}

Json devices_json(const Problem& problem, const Plan& plan, const Explained& explained) {
  const auto homes = parameters_on_devices(problem, explained.schedule);
  const auto curves = memory_curves(problem, explained.schedule);
  const std::vector<Json> idle = idle_json(problem, explained);
  Json devices = Json::array();
  for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
    const Device& device = problem.cluster().devices()[d];
    const DeviceStatistics& figures = plan.statistics.devices[d];
    Json streams = Json::array();
    for (std::size_t s = 0; s < problem.cluster().stream_names().size(); ++s) {
      if (problem.cluster().stream_mask(DeviceId(d)) >> s & 1U) streams.push_back(s);
    }
    DifferenceColumn parameters;
    for (const ParameterId parameter : homes[d]) parameters.push(static_cast<std::int64_t>(parameter.index()));
    devices.push_back({{"name", device.name},
                       {"type", device.type},
                       {"capacity", value_or_null(problem.capacity(DeviceId(d)))},
                       {"streams", std::move(streams)},
                       {"memory", memory_json(curves[d])},
                       {"idle", idle[d]},
                       {"parameters", parameters.differences()},
                       {"statistics",
                        {{"compute_busy", figures.compute_busy.value()},
                         {"bubble", figures.bubble.value()},
                         {"span_idle", figures.span_idle.value()},
                         {"peak_memory", figures.peak_memory.value()},
                         {"persistent_memory", figures.persistent_memory.value()},
                         {"bytes_sent", figures.bytes_sent.value()},
                         {"bytes_received", figures.bytes_received.value()}}}});
  }
  return devices;
}

Json work_json(const Problem& problem, const ReportNotes& notes) {
  const Work work = work_of(problem);
  const std::int64_t microbatches = problem.settings().training.microbatches;
  const std::optional<std::int64_t>& tokens = notes.tokens_per_microbatch;
  return {{"flops", work.flops},
          {"dtype", work.dtype},
          {"peak_flops_per_s", work.peak_flops_per_s ? Json(*work.peak_flops_per_s) : Json()},
          {"tokens", tokens ? Json(*tokens * microbatches) : Json()},
          {"given", work.given},
          {"from_peak_rates", work.from_peak_rates},
          {"times", notes.times}};
}

Json settings_json(const ProblemSettings& settings) {
  Json json = {{"microbatches", settings.training.microbatches},
               {"replicas", settings.training.replicas},
               {"gradient_bytes_per_weight_byte", settings.training.gradient_bytes_per_weight_byte},
               {"optimizer_bytes_per_weight_byte", settings.training.optimizer_bytes_per_weight_byte},
               {"contention", to_string(settings.contention)},
               {"memory_limit", value_or_null(settings.memory_limit)}};
  if (settings.blocks != Blocks::kNone) json["blocks"] = to_string(settings.blocks);
  return json;
}

Json statistics_json(const PlanStatistics& statistics) {
  return {{"makespan", statistics.makespan.value()},       {"period", statistics.period.value()},
          {"bubble_ratio", statistics.bubble_ratio},       {"utilisation", statistics.utilisation},
          {"bytes_moved", statistics.bytes_moved.value()}, {"parameter_copies", statistics.parameter_copies}};
}

Json provenance_json(const Provenance& provenance) {
  Json trajectory = Json::array();
  for (const Improvement& improvement : provenance.trajectory) {
    trajectory.push_back(
        {{"seconds", improvement.seconds}, {"makespan", improvement.makespan.value()}, {"method", improvement.method}});
  }
  return {{"version", provenance.version},
          {"method", provenance.method},
          {"seed", std::to_string(provenance.seed)},  // all 64 bits, which a number of JavaScript does not hold
          {"limit", provenance.limit},
          {"graph_hash", provenance.graph_hash},
          {"cluster_hash", provenance.cluster_hash},
          {"command", provenance.command},
          {"seconds", provenance.seconds ? Json(*provenance.seconds) : Json()},
          {"trajectory", std::move(trajectory)}};
}

Json comparison_json(const std::vector<ComparisonRow>& comparison) {
  Json rows = Json::array();
  for (const ComparisonRow& row : comparison) {
    rows.push_back({{"name", row.name},
                    {"makespan", row.makespan.value()},
                    {"bubble_ratio", row.bubble_ratio},
                    {"peak_memory", row.peak_memory.value()},
                    {"parameter_copies", row.parameter_copies},
                    {"fits_memory", row.fits_memory},
                    {"gap", row.gap ? Json(*row.gap) : Json()}});
  }
  return rows;
}

Json bounds_json(const std::vector<LowerBound>& bounds) {
  Json rows = Json::array();
  for (const LowerBound& bound : bounds) {
    rows.push_back({{"name", bound.name}, {"value", bound.value.value()}, {"detail", bound.detail}});
  }
  return rows;
}

/// "<" occurs in JSON only inside strings, where its escape means the same. Without it no text of a user
/// can end the <script> element or open a comment.
std::string without_markup(const std::string& json) {
  std::string result;
  result.reserve(json.size());
  for (const char c : json) {
    if (c == '<') {
      result += "\\u003c";
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace

std::string report_data(const Problem& problem, const Plan& plan, const std::vector<ComparisonRow>& comparison,
                        const ReportNotes& notes) {
  const Explained explained(problem, plan);
  Words words;
  Json sets, tensors;
  Json data = {{"graph", plan.graph_name},
               {"cluster", plan.cluster_name},
               {"status", to_string(plan.status)},
               {"streams", problem.cluster().stream_names()},
               {"settings", settings_json(plan.settings)},
               {"statistics", statistics_json(plan.statistics)},
               {"work", work_json(problem, notes)},
               {"bounds", bounds_json(plan.bounds)},
               {"comparison", comparison_json(comparison)},
               {"provenance", provenance_json(plan.provenance)},
               {"operators", operators_json(problem, words)},
               {"parameters", parameters_json(problem)},
               {"explanation", explanation_json(explained)},
               {"beside", beside_json(problem, plan, comparison, explained.schedule)},
               {"tasks", tasks_json(problem, plan, explained, sets)},
               {"transfers", transfers_json(problem, plan, tensors)},
               {"devices", devices_json(problem, plan, explained)}};
  data["device_sets"] = std::move(sets);
  data["tensors"] = std::move(tensors);
  data["words"] = words.list();
  // Names are UTF-8 where files were read; anything else becomes the replacement character.
  return without_markup(data.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace opweave
