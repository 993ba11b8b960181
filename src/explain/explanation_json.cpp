#include <nlohmann/json.hpp>
#include <numeric>

#include "opweave/explain.h"
#include "opweave/plan.h"

namespace opweave {
namespace {

using Json = nlohmann::ordered_json;

class Writer {
 public:
  Writer(const Problem& problem, const Schedule& schedule) : problem_(problem), schedule_(schedule) {}

  [[nodiscard]] const std::string& name(DeviceId device) const { return problem_.cluster().at(device).name; }

  /// Adds "task" or "transfer", whichever is there.
  void add_event(Json& entry, std::optional<TaskId> task, std::optional<std::size_t> transfer) const {
    if (task) entry["task"] = problem_.task_name(*task);
    if (!transfer) return;
    const Transfer& sent = schedule_.transfers[*transfer];
    entry["transfer"] = {{"tensor", problem_.graph().at(problem_.tensor_of(sent.value)).name},
                         {"copy", problem_.copy_of(sent.value)},
                         {"source", name(sent.source)},
                         {"destination", name(sent.destination)}};
  }
  [[nodiscard]] Json devices_of(TaskId task) const {
    auto names = Json::array();
    for (const DeviceId device : problem_.mode(task, schedule_.tasks[task.index()].mode).devices) {
      names.push_back(name(device));
    }
    return names;
  }

  [[nodiscard]] Json path(const std::vector<PathStep>& steps) const {
    auto path = Json::array();
    for (const PathStep& step : steps) {
      Json entry = {{"from_ns", step.from.value()}, {"until_ns", step.until.value()}};
      add_event(entry, step.task, step.transfer);
      if (step.task) entry["devices"] = devices_of(*step.task);
      entry["spent_on"] = spent_on(problem_, step);
      entry["starts_after"] = to_string(step.binding);
      path.push_back(std::move(entry));
    }
    return path;
  }

  [[nodiscard]] Json shares(const std::vector<PathStep>& steps) const {
    auto rows = Json::array();
    for (const PathShare& share : path_shares(problem_, steps)) {
      rows.push_back({{"spent_on", share.what}, {"time_ns", share.time.value()}, {"steps", share.steps}});
    }
    return rows;
  }

  [[nodiscard]] Json devices(const Explanation& explanation) const {
    auto devices = Json::array();
    const auto causes = explanation.idle_by_cause();
    for (std::size_t d = 0; d < causes.size(); ++d) {
      Json idle;
      for (std::size_t c = 0; c < kIdleCauses; ++c) {
        idle[std::string(to_string(static_cast<IdleCause>(c))) + "_ns"] = causes[d][c].value();
      }
      devices.push_back({{"device", name(DeviceId(d))},
                         {"bubble_ns", std::accumulate(causes[d].begin(), causes[d].end(), Duration()).value()},
                         {"idle", std::move(idle)}});
    }
    return devices;
  }

  [[nodiscard]] Json idle_spans(const Explanation& explanation) const {
    auto spans = Json::array();
    for (const IdleSpan& span : explanation.idle_spans()) {
      Json entry = {{"device", name(span.device)},
                    {"from_ns", span.from.value()},
                    {"until_ns", span.until.value()},
                    {"cause", to_string(span.cause)}};
      add_event(entry, span.waits_for, span.transfer);
      if (span.next) entry["next"] = problem_.task_name(*span.next);
      spans.push_back(std::move(entry));
    }
    return spans;
  }

  [[nodiscard]] Json tasks(const Explanation& explanation) const {
    auto tasks = Json::array();
    const auto slack = explanation.slack();
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      const TaskId task(t);
      const StartReason why = explanation.reason(task);
      const Duration start = schedule_.tasks[t].start;
      Json entry = {{"task", problem_.task_name(task)},
                    {"operator", problem_.op(task).name},
                    {"devices", devices_of(task)},
                    {"start_ns", start.value()},
                    {"end_ns", schedule_.end(problem_, task).value()},
                    {"slack_ns", slack[t].value()},
                    {"starts_after", to_string(why.binding)},
                    {"since_ns", why.since.value()}};
      Json reason;
      add_event(reason, why.task, why.transfer);
      if (!reason.is_null()) entry["reason"] = std::move(reason);
      tasks.push_back(std::move(entry));
    }
    return tasks;
  }

 private:
  const Problem& problem_;
  const Schedule& schedule_;
};

}  // namespace

std::string explanation_to_json(const Problem& problem, const Plan& plan) {
  const Schedule schedule = to_schedule(problem, plan);
  const Explanation explanation(problem, schedule);
  const Writer write(problem, schedule);
  const auto path = explanation.critical_path();
  return Json{{"makespan_ns", explanation.makespan().value()},
              {"lower_bound_ns", plan.lower_bound().value()},
              {"path_shares", write.shares(path)},
              {"critical_path", write.path(path)},
              {"devices", write.devices(explanation)},
              {"idle_spans", write.idle_spans(explanation)},
              {"tasks", write.tasks(explanation)}}
             .dump(2) +
         "\n";
}

std::string alternatives_to_json(const Problem& problem, const std::vector<Alternatives>& all) {
  const auto name = [&](DeviceId device) { return problem.cluster().at(device).name; };
  auto rows = Json::array();
  for (const Alternatives& of : all) {
    for (const Alternative& other : of.others) {
      rows.push_back({{"device", name(other.device)},
                      {"instead_of", name(of.from)},
                      {"moved_tasks", of.moved_tasks},
                      {"stays_ns", of.stays.value()},
                      {"makespan_ns", other.makespan ? Json(other.makespan->value()) : Json()},
                      {"fits_memory", other.fits_memory},
                      {"obstacle", other.obstacle}});
    }
  }
  return rows.dump(2) + "\n";
}

}  // namespace opweave
