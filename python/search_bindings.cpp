#include "search_bindings.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <mutex>
#include <tuple>

#include "distribute/plan_on.h"
#include "opweave/opweave.h"
#include "problem_bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace opweave::python {
namespace {

using Bounds = std::vector<std::tuple<std::string, std::int64_t, std::string>>;

Bounds bounds_of(const std::vector<LowerBound>& bounds) {
  Bounds result;
  for (const LowerBound& bound : bounds) result.emplace_back(bound.name, bound.value.value(), bound.detail);
  return result;
}

/// A planner that runs in one thread while others look at it and stop it.
class Search {
 public:
  Search(const ComputationGraph& graph, const Cluster& cluster, const Settings& settings,
         std::optional<double> time_limit, std::optional<std::uint64_t> work_limit, std::uint64_t seed,
         unsigned threads, const std::string& method, const std::string& objectives,
         std::optional<std::int64_t> deadline_ns, const Plan* warm_start, const distribute::Place* place,
         std::size_t workers, std::size_t searches)
      : problem_(make_problem(graph, cluster, settings)),
        time_limit_(time_limit),
        work_limit_(work_limit),
        workers_(workers),
        searches_(searches) {
    if (place != nullptr) place_ = *place;
    if (place_ && has_movements(problem_)) {
      throw InputError(may_choose_modes(problem_) ? "memory modes: workers know none, expected no on"
                                                  : "reduction_stream: workers reduce no gradients, expected no on");
    }
    options_.method = parse_method(method);
    options_.objectives = parse_objectives(objectives);
    if (deadline_ns) options_.deadline = Duration(*deadline_ns);
    if (warm_start != nullptr) options_.warm_start = to_schedule(problem_, *warm_start);
    options_.seed = seed;
    options_.threads = threads_of(threads);
    options_.on_progress = [this](const Progress& state) {
      const std::scoped_lock lock(mutex_);
      progress_ = state;
      progress_.schedule = nullptr;  // which ends with this call
    };
  }

  /// Holds no Python object, so the interpreter is free meanwhile.
  PlanResult run() {
    Budget budget(time_limit_, work_limit_);
    budget.watch(&stopped_);
    if (place_) return distribute::plan_on(*place_, workers_, searches_, problem_, budget, options_);
    return has_movements(problem_) ? plan_with_memory_modes(problem_, budget, options_)
                                   : plan(problem_, budget, options_);
  }

  void stop() { stopped_ = true; }

  [[nodiscard]] Progress progress() const {
    const std::scoped_lock lock(mutex_);
    return progress_;
  }

 private:
  Problem problem_;
  std::optional<double> time_limit_;
  std::optional<std::uint64_t> work_limit_;
  PlannerOptions options_;
  std::optional<distribute::Place> place_;
  std::size_t workers_;
  std::size_t searches_;
  std::atomic<bool> stopped_ = false;
  mutable std::mutex mutex_;
  Progress progress_;
};

}  // namespace

void bind_search(nb::module_& m) {
  const auto no_gil = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<Progress>(m, "Progress")
      .def_ro("seconds", &Progress::seconds)
      .def_prop_ro(
          "makespan_ns",
          [](const Progress& state) { return state.makespan ? std::optional(state.makespan->value()) : std::nullopt; })
      .def_prop_ro("lower_bound_ns", [](const Progress& state) { return state.lower_bound.value(); })
      .def_ro("method", &Progress::method);
  nb::class_<PlanResult>(m, "PlanResult")
      .def_prop_ro("infeasible",
                   [](const PlanResult& result) { return result.reason == PlanResult::Reason::kInfeasible; })
      .def_ro("plan", &PlanResult::plan)
      .def_ro("limit", &PlanResult::limit)
      .def_ro("detail", &PlanResult::detail)
      .def_prop_ro("bounds", [](const PlanResult& result) { return bounds_of(result.bounds); });
  nb::class_<distribute::Place>(m, "Place")
      .def(
          "__init__",
          [](distribute::Place* self, const std::string& text, const std::string& program, const std::string& python) {
            distribute::Place place = distribute::parse_place(text, "on");
            place.program = program;
            place.python = python;
            new (self) distribute::Place(std::move(place));
          },
          "text"_a, "program"_a, "python"_a);
  nb::class_<Search>(m, "Search")
      .def(nb::init<const ComputationGraph&, const Cluster&, const Settings&, std::optional<double>,
                    std::optional<std::uint64_t>, std::uint64_t, unsigned, const std::string&, const std::string&,
                    std::optional<std::int64_t>, const Plan*, const distribute::Place*, std::size_t, std::size_t>(),
           "graph"_a, "cluster"_a, "settings"_a, "time_limit"_a.none(), "work_limit"_a.none(), "seed"_a, "threads"_a,
           "method"_a, "objectives"_a, "deadline_ns"_a.none(), "warm_start"_a.none(), "place"_a.none(), "workers"_a,
           "searches"_a)
      .def("run", &Search::run, no_gil)
      .def("stop", &Search::stop)
      .def("progress", &Search::progress);
  m.def(
      "lower_bounds",
      [](const ComputationGraph& graph, const Cluster& cluster, const Settings& settings) {
        const Problem problem = make_problem(graph, cluster, settings);
        return bounds_of(has_movements(problem) ? lower_bounds_with_modes(problem) : lower_bounds(problem));
      },
      no_gil);
}

}  // namespace opweave::python
