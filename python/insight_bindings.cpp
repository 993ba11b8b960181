#include "insight_bindings.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>

#include "distribute/sweep_on.h"
#include "opweave/check.h"
#include "opweave/explain.h"
#include "opweave/memory_modes.h"
#include "opweave/pareto.h"
#include "opweave/plan_diff.h"
#include "opweave/strategy_insight.h"
#include "opweave/sweep.h"
#include "opweave/what_if.h"
#include "problem_bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace opweave::python {
namespace {

/// Work that takes a while: runs in one thread while others look at it and stop it. Its answer is a text, as the
/// command line writes it. Holds no Python object.
class Work {
 public:
  using Body = std::function<std::string(Work&)>;
  explicit Work(Body body) : body_(std::move(body)) {}

  std::string run() { return body_(*this); }
  void stop() { stopped_ = true; }
  [[nodiscard]] const std::atomic<bool>& stopped() const { return stopped_; }

  void tell(const Progress& state) {
    const std::scoped_lock lock(mutex_);
    progress_ = state;
    progress_.schedule = nullptr;  // which ends with the call that tells of it
  }
  [[nodiscard]] Progress progress() const {
    const std::scoped_lock lock(mutex_);
    return progress_;
  }
  [[nodiscard]] PlannerOptions planner(std::uint64_t seed, unsigned threads) {
    PlannerOptions options;
    options.seed = seed;
    options.threads = threads_of(threads);
    options.on_progress = [this](const Progress& state) { tell(state); };
    return options;
  }

 private:
  Body body_;
  std::atomic<bool> stopped_ = false;
  mutable std::mutex mutex_;
  Progress progress_;
};

/// A plan is explained as one only where it obeys the rules.
Problem problem_of_valid(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                         const std::string& source) {
  const auto violations = check(graph, cluster, plan, 1);
  if (!violations.empty()) {
    throw InputError(
        source + ": " + std::string(to_string(violations.front().rule)) + ": " + violations.front().message,
        "plan.check() lists all violations");
  }
  return problem_of(graph, cluster, plan);
}

std::string explain_plan(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan) {
  return explanation_to_json(problem_of_valid(graph, cluster, plan, "plan"), plan);
}

std::string other_devices(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                          const std::string& name) {
  const Problem problem = problem_of_valid(graph, cluster, plan, "plan");
  const auto found = std::ranges::find(graph.operators(), name, &Operator::name);
  if (found == graph.operators().end()) throw InputError("operator: the graph has no operator \"" + name + "\"");
  const OperatorId op(static_cast<std::size_t>(found - graph.operators().begin()));
  return alternatives_to_json(problem, alternatives(problem, to_schedule(problem, plan), op));
}

/// A plan with what it is for.
struct Planned {
  const ComputationGraph& graph;
  const Cluster& cluster;
  const Plan& plan;
};

std::string diff_of(const Planned& first, const Planned& second) {
  const auto alone = [](const Planned& it, const std::string& source) {
    return parse_plan_alone(plan_to_json(it.plan, it.graph, it.cluster), source);
  };
  const PlanAlone a = alone(first, "first"), b = alone(second, "second");
  const PlanDiff diff = diff_plans(a, b);
  std::optional<DiffCosts> costs;
  if (diff.is_same_problem && diff.is_same_settings) {
    const Problem problem = problem_of_valid(first.graph, first.cluster, first.plan, "first");
    (void)problem_of_valid(second.graph, second.cluster, second.plan, "second");
    costs = diff_costs(problem, to_schedule(problem, first.plan), to_schedule(problem, second.plan));
  }
  return diff_to_json(a, b, diff, costs);
}

/// A plan as what-if plays it, on its problem. With movements these run as operators; a plan of a problem that may have
/// some, but has none, keeps everything.
WhatIfAnswer what_if_anything(const Problem& problem, const Plan& plan, const WhatIfQuestion& question,
                              const PlannerOptions& planner, const std::atomic<bool>* stop) {
  if (!plan.modes.empty() || !plan.movements.empty()) {
    const OrdinaryPlan ordinary = with_movements(problem, plan);
    return what_if(ordinary.movements, to_schedule(ordinary.movements.problem(), ordinary.plan), question, planner,
                   stop);
  }
  if (!has_movements(problem)) return what_if(problem, plan, question, planner, stop);
  const MemoryChoice keep(problem.value_count(), MemoryMode::kKeep);
  const auto kept = ProblemWithMovements::create(problem, keep);
  return what_if(kept, kept.schedule(plan), question, planner, stop);
}

std::unique_ptr<Work> what_if_of(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                                 std::vector<double> link_speeds, std::vector<double> memories,
                                 std::vector<double> host_links, std::vector<std::uint32_t> devices,
                                 std::vector<std::uint32_t> microbatches, std::vector<std::string> faster,
                                 double factor, bool replan, std::optional<double> time_limit,
                                 std::optional<std::uint64_t> work_limit, std::uint32_t samples, std::uint64_t seed,
                                 unsigned threads) {
  const WhatIfQuestion question{std::move(link_speeds),
                                std::move(memories),
                                std::move(host_links),
                                std::move(devices),
                                std::move(microbatches),
                                std::move(faster),
                                factor,
                                replan,
                                time_limit,
                                work_limit,
                                samples};
  return std::make_unique<Work>(
      [problem = problem_of_valid(graph, cluster, plan, "plan"), plan, question, seed, threads](Work& work) {
        return what_if_to_json(what_if_anything(problem, plan, question, work.planner(seed, threads), &work.stopped()));
      });
}

std::unique_ptr<Work> pareto_of(const ComputationGraph& graph, const Cluster& cluster, const Settings& settings,
                                std::size_t points, std::optional<double> time_limit,
                                std::optional<std::uint64_t> work_limit, std::uint64_t seed, unsigned threads,
                                const std::string& method) {
  return std::make_unique<Work>([problem = make_problem(graph, cluster, settings), points, time_limit, work_limit, seed,
                                 threads, method = parse_method(method)](Work& work) {
    Budget budget(time_limit, work_limit);
    budget.watch(&work.stopped());
    PlannerOptions planner = work.planner(seed, threads);
    planner.method = method;
    const ParetoCurve curve = pareto_curve(problem, points, budget, planner);
    if (!curve.points.empty()) return pareto_to_json(curve);
    return nlohmann::json{{"infeasible", curve.is_infeasible}, {"detail", curve.detail}}.dump();
  });
}

/// \param clusters  a device type, or the text of a file with its name in errors
/// \param profiles  texts of files with their names in errors
std::unique_ptr<Work> sweep_of(const ModelDescription& model,
                               const std::vector<std::pair<std::string, std::optional<std::string>>>& clusters,
                               const std::vector<std::uint32_t>& nodes, std::vector<std::int64_t> global_batches,
                               std::vector<std::int64_t> sequences, const std::string& precision,
                               const std::string& target,
                               const std::vector<std::pair<std::string, std::string>>& profiles, double seconds,
                               const distribute::Place* place, unsigned workers, const std::string& journal,
                               std::size_t shard, std::size_t shards) {
  SweepQuestion question;
  question.model = model;
  for (const auto& [text, source] : clusters) {
    const Machines machines = source ? parse_machines(text, *source) : machines_named(text);
    for (const std::uint32_t count : nodes.empty() ? std::vector{machines.nodes} : nodes) {
      question.machines.push_back(machines);
      question.machines.back().nodes = count;
    }
  }
  question.global_batches = std::move(global_batches);
  question.sequences = std::move(sequences);
  const auto known_precision = precision_from_string(precision);
  if (!known_precision) throw InputError("precision: value is \"" + precision + "\", expected bf16 or fp8");
  const auto known_target = target_from_string(target);
  if (!known_target) throw InputError("target: value is \"" + target + "\", expected any, megatron or torchtitan");
  question.precision = *known_precision;
  question.target = *known_target;
  question.seconds_per_point = seconds;
  for (const auto& [text, source] : profiles) question.add_profile(parse_profile(text, source), source);
  const std::optional<distribute::Place> where = place != nullptr ? std::optional(*place) : std::nullopt;
  return std::make_unique<Work>([question = std::move(question), journal, where, workers, shard, shards](Work& work) {
    const std::atomic<bool>* stop = &work.stopped();
    return sweep_to_text(where ? distribute::run_sweep_on(*where, question, journal, shard, shards, workers, stop, {})
                               : run_sweep(question, journal, shard, shards, threads_of(workers), stop, {}));
  });
}

}  // namespace

void bind_insight(nb::module_& m) {
  const auto no_gil = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<Work>(m, "Work").def("run", &Work::run, no_gil).def("stop", &Work::stop).def("progress", &Work::progress);
  m.def("explain_plan", &explain_plan, no_gil);
  m.def("other_devices", &other_devices, no_gil);
  m.def(
      "diff_plans",
      [](const ComputationGraph& graph_a, const Cluster& cluster_a, const Plan& a, const ComputationGraph& graph_b,
         const Cluster& cluster_b, const Plan& b) {
        return diff_of({graph_a, cluster_a, a}, {graph_b, cluster_b, b});
      },
      no_gil);
  m.def("what_if_plan", &what_if_of, "graph"_a, "cluster"_a, "plan"_a, "link_speeds"_a, "memories"_a, "host_links"_a,
        "devices"_a, "microbatches"_a, "faster"_a, "factor"_a, "replan"_a, "time_limit"_a.none(), "work_limit"_a.none(),
        "samples"_a, "seed"_a, "threads"_a, no_gil);
  m.def("pareto", &pareto_of, "graph"_a, "cluster"_a, "settings"_a, "points"_a, "time_limit"_a.none(),
        "work_limit"_a.none(), "seed"_a, "threads"_a, "method"_a, no_gil);
  m.def("explain_strategy", [](const std::string& json, const std::string& source) {
    return std::make_unique<Work>([record = parse_strategy_record(json, source)](Work& work) {
      return explanation_to_json(record, explain_strategy(record, &work.stopped()));
    });
  });
  m.def(
      "diff_strategies",
      [](const std::string& a, const std::string& source_a, const std::string& b, const std::string& source_b) {
        return diff_to_json(parse_strategy_record(a, source_a), parse_strategy_record(b, source_b));
      },
      no_gil);
  m.def("what_if_strategy", [](const std::string& json, const std::string& source, double seconds) {
    return std::make_unique<Work>([record = parse_strategy_record(json, source), seconds](Work& work) {
      return what_if_to_json(record, what_if_strategy(record, seconds, &work.stopped()));
    });
  });
  m.def("sweep", &sweep_of, "model"_a, "clusters"_a, "nodes"_a, "global_batches"_a, "sequences"_a, "precision"_a,
        "target"_a, "profiles"_a, "seconds"_a, "place"_a.none(), "workers"_a, "journal"_a, "shard"_a, "shards"_a,
        no_gil);
  m.def(
      "merge_sweeps",
      [](const std::vector<std::string>& journals) {
        return sweep_to_text(merge_sweeps({journals.begin(), journals.end()}));
      },
      "journals"_a, no_gil);
  m.def(
      "sweep_html",
      [](const std::string& journal, const std::string& title, double price) {
        return sweep_html(parse_sweep(journal, "journal"), title, price);
      },
      no_gil);
}

}  // namespace opweave::python
