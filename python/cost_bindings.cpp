#include "cost_bindings.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "opweave/analytic.h"
#include "opweave/io.h"

namespace nb = nanobind;

namespace opweave::python {
namespace {

using analytic::Curve;
using analytic::Efficiencies;
/// Points and source.
using CurveValue = std::pair<std::vector<std::pair<double, double>>, std::string>;

Curve curve_of(CurveValue value) { return {std::move(value.first), std::move(value.second)}; }

std::vector<CurveValue> curves_of(const Efficiencies& of) {
  std::vector<CurveValue> result;
  for (const Curve* curve : {&of.matrix, &of.memory, &of.attention_forward, &of.attention_backward}) {
    result.emplace_back(curve->points, curve->source);
  }
  return result;
}

/// Nanoseconds by operator and type of device, of the operators that nobody timed.
std::map<std::string, std::map<std::string, std::int64_t>> analytic_durations(
    const std::string& graph, const Cluster& cluster, bool is_fused, const std::string& dtype,
    std::map<std::string, Efficiencies> efficiencies) {
  const CapturedGraph read = parse_captured_graph(graph, "graph");
  analytic::Options options{is_fused, dtype, {}};
  for (auto& [type, shares] : efficiencies) options.efficiencies.emplace(type, std::move(shares));
  const auto found = analytic::durations(read.graph, read.calls.value_or(analytic::CapturedCalls()), cluster, options);
  std::map<std::string, std::map<std::string, std::int64_t>> result;
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (const MeasuredDuration& duration : found[i]) {
      result[read.graph.operators()[i].name][duration.device_type] = duration.duration.value();
    }
  }
  return result;
}

std::vector<std::string> slow_dtypes(const ComputationGraph& graph, const Cluster& cluster) {
  std::vector<std::string> texts;
  for (const DeviceType& type : cluster.types()) {
    if (std::string text = analytic::slow_dtype(graph, type); !text.empty()) texts.push_back(std::move(text));
  }
  return texts;
}

}  // namespace

void bind_costs(nb::module_& m) {
  nb::class_<Efficiencies>(m, "Efficiencies")
      .def("__init__",
           [](Efficiencies* self, CurveValue matrix, CurveValue memory, CurveValue forward, CurveValue backward,
              double optimizer, double overhead_ns) {
             new (self) Efficiencies{curve_of(std::move(matrix)),
                                     curve_of(std::move(memory)),
                                     curve_of(std::move(forward)),
                                     curve_of(std::move(backward)),
                                     optimizer,
                                     overhead_ns};
           })
      .def_prop_ro("curves", &curves_of)
      .def_ro("optimizer", &Efficiencies::optimizer)
      .def_ro("overhead_ns", &Efficiencies::overhead_ns);
  m.def("curve_at",
        [](std::vector<std::pair<double, double>> points, double size) { return Curve{std::move(points)}.at(size); });
  m.def("efficiencies_of", [](const std::string& type) { return analytic::efficiencies_of(type); });
  m.def("efficiencies_alone", &analytic::efficiencies_alone);
  m.def("analytic_durations", &analytic_durations, nb::call_guard<nb::gil_scoped_release>());
  m.def("slow_dtypes", &slow_dtypes);
}

}  // namespace opweave::python
