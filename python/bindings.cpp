// The compiled core as seen from Python: values in and out as the files of docs/formats.md. Everything that users see
// is in the Python modules beside this file; nothing is decided here.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <thread>
#include <tuple>

#include "cost_bindings.h"
#include "insight_bindings.h"
#include "opweave/opweave.h"
#include "opweave/strategy_files.h"
#include "problem_bindings.h"
#include "report/comparison.h"
#include "report/format.h"
#include "report/names.h"
#include "search_bindings.h"
#include "strategy_bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace opweave::python {
namespace {

Contention parse_contention(const std::string& text) {
  if (const auto contention = contention_from_string(text)) return *contention;
  throw InputError("contention: value is \"" + text + "\", expected none, endpoint or link");
}

Blocks parse_blocks(const std::string& text) {
  const auto blocks = blocks_from_string(text);
  if (blocks && *blocks != Blocks::kNone) return *blocks;
  throw InputError("blocks: value is \"" + text + "\", expected stage or layer");
}

MemoryModes parse_memory_modes(const std::vector<std::string>& names) {
  MemoryModes modes;
  for (const std::string& name : names) {
    const auto mode = memory_mode_from_string(name);
    if (!mode) throw InputError("memory_modes: value is \"" + name + "\", expected keep, drop or host");
    modes.drop = modes.drop || *mode == MemoryMode::kDrop;
    modes.host = modes.host || *mode == MemoryMode::kHost;
  }
  return modes;
}

}  // namespace

Problem make_problem(const ComputationGraph& graph, const Cluster& cluster, const Settings& replacements) {
  SettingsOverride by{replacements.microbatches, replacements.replicas, {}, {}, {}};
  if (replacements.contention) by.contention = parse_contention(*replacements.contention);
  if (replacements.memory_limit_bytes) by.memory_limit = Bytes(*replacements.memory_limit_bytes);
  if (replacements.blocks) by.blocks = parse_blocks(*replacements.blocks);
  if (replacements.memory_modes) by.memory_modes = parse_memory_modes(*replacements.memory_modes);
  return Problem::create(graph, cluster, overridden(default_settings(graph, cluster), by));
}

Problem problem_of(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan) {
  return Problem::create(graph, cluster, plan.settings);
}

Method parse_method(const std::string& text) {
  if (const auto method = method_from_string(text)) return *method;
  throw InputError("method: value is \"" + text +
                   "\", expected auto, heuristic, mip-disjunctive, mip-time-indexed or cp");
}

unsigned threads_of(unsigned threads) {
  return threads != 0 ? threads : std::max(1U, std::thread::hardware_concurrency());
}

namespace {

nb::dict figures(const Problem& problem, const PlanStatistics& statistics) {
  nb::list devices;
  for (std::size_t d = 0; d < statistics.devices.size(); ++d) {
    const DeviceStatistics& device = statistics.devices[d];
    nb::dict entry;
    entry["device"] = problem.cluster().at(DeviceId(d)).name;
    entry["compute_busy_ns"] = device.compute_busy.value();
    entry["bubble_ns"] = device.bubble.value();
    entry["span_idle_ns"] = device.span_idle.value();
    entry["peak_memory_bytes"] = device.peak_memory.value();
    entry["persistent_memory_bytes"] = device.persistent_memory.value();
    entry["sent_bytes"] = device.bytes_sent.value();
    entry["received_bytes"] = device.bytes_received.value();
    devices.append(entry);
  }
  nb::dict result;
  result["makespan_ns"] = statistics.makespan.value();
  result["period_ns"] = statistics.period.value();
  result["bubble_ratio"] = statistics.bubble_ratio;
  result["moved_bytes"] = statistics.bytes_moved.value();
  result["parameter_copies"] = statistics.parameter_copies;
  result["devices"] = devices;
  return result;
}

nb::dict simulate_plan(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                       const std::optional<std::string>& contention, double compute_slowdown,
                       const std::optional<std::string>& durations_json, const std::string& channels) {
  const Problem problem = problem_of(graph, cluster, plan);
  const Schedule schedule = to_schedule(problem, plan);
  SimulationOptions how;
  how.contention = contention ? parse_contention(*contention) : problem.settings().contention;
  how.compute_slowdown = compute_slowdown;
  if (durations_json) how.durations = parse_durations(*durations_json, "durations", problem, schedule);
  const auto model = channel_model_from_string(channels);
  if (!model) {
    throw InputError("channels: value is \"" + channels +
                     "\", expected free, in-order, or rendezvous- or buffered- with rank, pair or direction");
  }
  how.channels = *model;
  const SimulationResult result = [&] {
    const nb::gil_scoped_release released;
    const ExecutionOrder order = execution_order(problem, schedule);
    if (how.channels.queue != ChannelQueue::kNone) how.turns = message_turns(problem, order, schedule);
    return simulate(problem, order, how);
  }();
  if (!result.deadlock.empty()) throw InputError("the order of the plan cannot run: " + result.deadlock);
  return figures(problem, statistics(problem, result.schedule, result.task_ends));
}

nb::dict comparison_rows(const Comparison& comparison) {
  nb::list rows;
  for (const auto& [row, activations] : comparison.schedules) {
    nb::dict entry;
    entry["name"] = row.name;
    entry["makespan_ns"] = row.makespan.value();
    entry["gap"] = row.gap;
    entry["bubble_ratio"] = row.bubble_ratio;
    entry["peak_memory_bytes"] = row.peak_memory.value();
    entry["peak_activations"] = activations;
    entry["fits_memory"] = row.fits_memory;
    entry["parameter_copies"] = row.parameter_copies;
    rows.append(entry);
  }
  nb::dict result;
  result["problem"] = comparison.problem;
  result["lower_bound_ns"] = comparison.bound.value.value();
  result["lower_bound_name"] = comparison.bound.name;
  result["schedules"] = rows;
  result["left_out"] = nb::cast(comparison.left_out);
  return result;
}

nb::dict compare(const ComputationGraph& graph, const Cluster& cluster, const Plan* plan, const Settings& settings) {
  const Problem problem = plan != nullptr ? problem_of(graph, cluster, *plan) : make_problem(graph, cluster, settings);
  const Comparison comparison = [&] {
    const nb::gil_scoped_release released;
    return compare_schedules(problem, plan);
  }();
  return comparison_rows(comparison);
}

std::string report(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                   std::optional<std::int64_t> tokens_per_microbatch, const std::string& times) {
  const Problem problem = problem_of(graph, cluster, plan);
  return report_html(problem, plan, rows_of(compare_schedules(problem, &plan)), {tokens_per_microbatch, times});
}

/// "message" or "message\nhint: advice".
std::string text_of(const InputError& error) {
  std::string text = readable(error.what());
  if (!error.hint().empty()) text += "\nhint: " + error.hint();
  return text;
}

void bind_errors(nb::module_& m) {
  // Kept alive by the module for as long as the interpreter runs.
  static nb::object input_error = nb::steal(PyErr_NewExceptionWithDoc(
      "opweave.InputError", "The input is wrong: where, which value, what was expected.", PyExc_ValueError, nullptr));
  static nb::object internal_error = nb::steal(PyErr_NewExceptionWithDoc(
      "opweave.InternalError", "A broken invariant of opweave itself: please report it.", PyExc_RuntimeError, nullptr));
  m.attr("InputError") = input_error;
  m.attr("InternalError") = internal_error;
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const InputError& error) {
      PyErr_SetString(input_error.ptr(), text_of(error).c_str());
    } catch (const InternalError& error) {
      PyErr_SetString(internal_error.ptr(), error.what());
    }
  });
}

/// Graphs, clusters, plans and settings.
void bind_values(nb::module_& m) {
  const auto no_gil = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<ComputationGraph>(m, "Graph")
      .def_prop_ro("name", [](const ComputationGraph& graph) { return graph.name(); })
      .def("to_json", &graph_to_json, no_gil)
      .def(
          "content_hash", [](const ComputationGraph& graph) { return content_hash(graph); }, no_gil);
  nb::class_<Cluster>(m, "Cluster")
      .def_prop_ro("name", [](const Cluster& cluster) { return cluster.name(); })
      .def("to_json", &cluster_to_json, no_gil)
      .def(
          "content_hash", [](const Cluster& cluster) { return content_hash(cluster); }, no_gil)
      .def("transfer_time_ns",
           [](const Cluster& cluster, std::int64_t bytes, const std::string& from, const std::string& to) {
             const auto find = [&](const std::string& name) {
               if (const auto device = cluster.find_device(name)) return *device;
               throw InputError("device \"" + name + "\" is unknown");
             };
             const auto time = cluster.transfer_time(Bytes(bytes), find(from), find(to));
             return time ? std::optional(time->value()) : std::nullopt;
           });
  nb::class_<Plan>(m, "Plan").def(
      "to_json",
      [](const Plan& plan, const ComputationGraph& graph, const Cluster& cluster) {
        return plan_to_json(plan, graph, cluster);
      },
      no_gil);
  nb::class_<Settings>(m, "Settings")
      .def(
          "__init__",
          [](Settings* self, std::optional<std::uint32_t> microbatches, std::optional<std::uint32_t> replicas,
             std::optional<std::string> contention, std::optional<std::int64_t> memory_limit_bytes,
             std::optional<std::string> blocks, std::optional<std::vector<std::string>> memory_modes) {
            new (self) Settings{microbatches,       replicas,          std::move(contention),
                                memory_limit_bytes, std::move(blocks), std::move(memory_modes)};
          },
          "microbatches"_a = nb::none(), "replicas"_a = nb::none(), "contention"_a = nb::none(),
          "memory_limit_bytes"_a = nb::none(), "blocks"_a = nb::none(), "memory_modes"_a = nb::none());
}

/// Texts and files to values, and back.
void bind_files(nb::module_& m) {
  const auto no_gil = nb::call_guard<nb::gil_scoped_release>();
  m.def(
      "parse_graph", [](const std::string& json, const std::string& source) { return parse_graph(json, source); },
      no_gil);
  m.def(
      "parse_cluster", [](const std::string& json, const std::string& source) { return parse_cluster(json, source); },
      no_gil);
  m.def(
      "parse_plan",
      [](const std::string& json, const std::string& source, const ComputationGraph& graph, const Cluster& cluster) {
        return parse_plan(json, source, graph, cluster);
      },
      no_gil);
  m.def(
      "read_file", [](const std::string& path) { return read_file(path); }, no_gil);
  m.def(
      "write_file", [](const std::string& path, const std::string& content) { write_file(path, content); }, no_gil);
  m.def("parse_bytes", [](const std::string& text) { return parse_bytes(text).value(); });

  m.def("readable", [](const std::string& text) { return readable(text); });
  m.def("short_names", [](const std::vector<std::string>& names, std::size_t room) {
    ShortNames result = short_names(names, room);
    return std::pair(std::move(result.left_out), std::move(result.names));
  });
  m.def("human_time", [](std::int64_t ns) { return human(Duration(ns)); });
  m.def("human_bytes", [](std::int64_t bytes) { return human(Bytes(bytes)); });
}

/// What is asked about a plan.
void bind_calls(nb::module_& m) {
  const auto no_gil = nb::call_guard<nb::gil_scoped_release>();
  m.def(
      "check",
      [](const ComputationGraph& graph, const Cluster& cluster, const Plan& plan, std::size_t limit) {
        std::vector<std::pair<std::string, std::string>> violations;
        for (const Violation& violation : check(graph, cluster, plan, limit)) {
          violations.emplace_back(std::string(to_string(violation.rule)), violation.message);
        }
        return violations;
      },
      no_gil);
  m.def("simulate", &simulate_plan, "graph"_a, "cluster"_a, "plan"_a, "contention"_a.none(), "compute_slowdown"_a,
        "durations_json"_a.none(), "channels"_a = "free");
  m.def("compare", &compare, "graph"_a, "cluster"_a, "plan"_a.none(), "settings"_a);
  m.def("report_html", &report, nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), no_gil);
  m.def(
      "perfetto_trace",
      [](const ComputationGraph& graph, const Cluster& cluster, const Plan& plan) {
        return perfetto_trace(problem_of(graph, cluster, plan), plan);
      },
      no_gil);
}

/// Plans and schedules in the formats of others.
void bind_export(nb::module_& m) {
  const auto no_gil = nb::call_guard<nb::gil_scoped_release>();
  m.def("megatron_layout", &megatron_layout, "stages"_a);
  m.def(
      "torchtitan_module",
      [](const std::vector<std::pair<std::string, std::string>>& parallelism,
         const std::vector<std::pair<std::string, std::string>>& training, const std::string& base) {
        return torchtitan_module({parallelism, training, {}, base});
      },
      "parallelism"_a, "training"_a, "base"_a);
  m.def(
      "format_schedule",
      [](const std::string& csv, const std::string& dialect, const std::vector<std::vector<std::int64_t>>& ends_ns) {
        if (dialect != "compute_only" && dialect != "compute_comms") {
          throw InputError("dialect: value is \"" + dialect + "\", expected compute_only or compute_comms");
        }
        ActionEnds ends;
        for (const auto& row : ends_ns) {
          ends.emplace_back();
          for (const std::int64_t end : row) ends.back().emplace_back(end);
        }
        return to_pytorch_csv(parse_pytorch_csv(csv, "schedule"),
                              dialect == "compute_only" ? CsvDialect::kComputeOnly : CsvDialect::kComputeComms, ends);
      },
      "csv"_a, "dialect"_a, "ends_ns"_a = std::vector<std::vector<std::int64_t>>(), no_gil);
}

/// Pipelines of stages, and what is published about them.
void bind_pipelines(nb::module_& m) {
  const auto no_gil = nb::call_guard<nb::gil_scoped_release>();
  m.def(
      "build_pipeline",
      [](const std::string& spec_json, const std::string& source, const std::string& shape,
         std::optional<std::uint32_t> stages, const std::optional<std::string>& cut,
         const std::optional<std::string>& schedule, const Cluster& cluster) {
        PipelineSpec spec = parse_pipeline_spec(spec_json, source);
        const auto known_shape = shape_from_string(shape);
        if (!known_shape) {
          throw InputError("shape: value is \"" + shape + "\", expected linear, V, loop, two-way or free");
        }
        spec.shape = *known_shape;
        for (const Device& device : cluster.devices()) spec.devices.push_back(device.name);
        CutRequest request{stages, cut, {}};
        if (schedule) request.schedule = expert_named(*schedule);
        cut_pipeline(spec, request, cluster);
        return build_pipeline(spec);
      },
      "spec_json"_a, "source"_a, "shape"_a, "stages"_a.none(), "cut"_a.none(), "schedule"_a.none(), "cluster"_a,
      no_gil);
  m.def(
      "expert_schedule",
      [](const std::string& name, std::uint32_t devices, std::uint32_t microbatches, std::uint32_t chunks,
         const std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>& stage_ns) {
        const Expert expert = expert_named(name);
        const ExpertSize size{.devices = devices, .microbatches = microbatches, .chunks = chunks, .group = {}};
        if (const auto reason = why_undefined(expert, size)) throw InputError(*reason);
        const auto [forward, input_gradient, weight_gradient, hop] = stage_ns;
        const StageCosts costs{Duration(forward), Duration(input_gradient), Duration(weight_gradient), Duration(hop)};
        const PipelineSchedule made = generate(expert, size, costs).value();
        std::vector<std::vector<std::string>> rows;
        for (const auto& device : made.devices) {
          auto& row = rows.emplace_back();
          for (const PipelineAction& action : device) row.push_back(to_string(action));
        }
        return std::pair(std::string(to_string(made.shape)), std::move(rows));
      },
      "name"_a, "devices"_a, "microbatches"_a, "chunks"_a, "stage_ns"_a, no_gil);
  m.def(
      "memory_for_activations",
      [](const ComputationGraph& graph, const Cluster& cluster, double activations) {
        return memory_for_activations(make_problem(graph, cluster, {}), activations).value();
      },
      no_gil);
}

}  // namespace
}  // namespace opweave::python

NB_MODULE(_core, m) {
  using namespace opweave::python;
  m.attr("__version__") = OPWEAVE_VERSION;
  bind_errors(m);
  bind_costs(m);
  bind_strategies(m);
  bind_insight(m);
  bind_values(m);
  bind_files(m);
  bind_search(m);
  bind_calls(m);
  bind_export(m);
  bind_pipelines(m);
}
