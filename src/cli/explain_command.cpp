#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "cli/strategy_insight.h"
#include "opweave/error.h"
#include "opweave/explain.h"
#include "report/format.h"
#include "report/names.h"

namespace opweave::cli {
namespace {

using Rows = std::vector<std::vector<std::string>>;

struct ExplainOptions {
  InputFiles files;
  std::filesystem::path plan;
  std::optional<std::string> op;
  std::optional<std::string> device;
  std::filesystem::path output;
  bool all = false;
  bool json = false;
};

/// A plan with its explanation: what every part of the output reads.
struct Explained {
  const Problem& problem;
  const Plan& plan;
  Schedule schedule;
  Explanation explanation;
  bool all;

  Explained(const PlannedProblem& planned, bool show_all)
      : problem(planned.problem),
        plan(planned.plan),
        schedule(to_schedule(problem, plan)),
        explanation(problem, schedule),
        all(show_all) {}

  [[nodiscard]] const std::string& name(DeviceId device) const { return problem.cluster().at(device).name; }
  [[nodiscard]] std::span<const DeviceId> devices(TaskId task) const {
    return problem.mode(task, schedule.tasks[task.index()].mode).devices;
  }
  [[nodiscard]] std::string names(TaskId task) const {
    std::string text;
    for (const DeviceId device : devices(task)) text += (text.empty() ? "" : "+") + name(device);
    return text;
  }
  [[nodiscard]] std::string transfer_name(std::size_t index) const {
    const Transfer& transfer = schedule.transfers[index];
    const std::string& tensor = problem.graph().at(problem.tensor_of(transfer.value)).name;
    return fmt::format("{}#{} {} to {}", tensor, problem.copy_of(transfer.value), name(transfer.source),
                       name(transfer.destination));
  }
  /// "head.F#1 on gpu0", "transfer h#1 gpu0 to gpu1", or "-".
  [[nodiscard]] std::string name(std::optional<TaskId> task, std::optional<std::size_t> transfer) const {
    if (task) return fmt::format("{} on {}", problem.task_name(*task), names(*task));
    if (transfer) return "transfer " + transfer_name(*transfer);
    return "-";
  }
  [[nodiscard]] std::string share(Duration time) const {
    const auto makespan = static_cast<double>(explanation.makespan().value());
    return percent(makespan > 0 ? static_cast<double>(time.value()) / makespan : 0);
  }
};

std::string path_by_kind(const Explained& it, const std::vector<PathStep>& path) {
  Rows rows = {{"spent on", "time", "share", "steps"}};
  for (const PathShare& share : path_shares(it.problem, path)) {
    rows.push_back({share.what, human(share.time), it.share(share.time), std::to_string(share.steps)});
  }
  return table(rows);
}

/// The path with neighbouring tasks of one device as one line.
std::string path_by_stretch(const Explained& it, const std::vector<PathStep>& path) {
  Rows rows;
  for (std::size_t i = 0; i < path.size();) {
    std::size_t last = i;
    const auto place = [&](const PathStep& step) {
      return step.task ? it.names(*step.task) : step.transfer ? it.transfer_name(*step.transfer) : "";
    };
    while (path[i].task && last + 1 < path.size() && path[last + 1].task && place(path[last + 1]) == place(path[i])) {
      ++last;
    }
    const PathStep& step = path[i];
    if (step.transfer && step.from == step.until) {
      ++i;  // takes no time: its consumer says that it came by transfer
      continue;
    }
    std::string what;
    if (step.transfer) {
      what = "transfer";
    } else if (!step.task) {
      what = spent_on(it.problem, step);
    } else if (last == i) {
      what = it.problem.task_name(*step.task);
    } else {
      what = fmt::format("{} operators, {} to {}", last - i + 1, it.problem.task_name(*step.task),
                         it.problem.task_name(*path[last].task));
    }
    rows.push_back({human(step.from), human(path[last].until - step.from), place(step), what,
                    std::string(to_string(step.binding))});
    i = last + 1;
  }
  Rows shown = {{"from", "time", "where", "what", "starts after"}};
  const bool cut = !it.all && rows.size() > kMostRows;
  const std::size_t head = cut ? kMostRows / 2 : rows.size();
  shown.insert(shown.end(), rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(head));
  if (!cut) return table(shown);
  shown.push_back({"...", "", "", fmt::format("{} more, see --all", rows.size() - kMostRows), ""});
  shown.insert(shown.end(), rows.end() - kMostRows / 2, rows.end());
  return table(shown);
}

/// A row per device and one for all; causes that never occur are left out.
std::string idle_table(const Explained& it) {
  const auto causes = it.explanation.idle_by_cause();
  IdleByCause total{};
  for (const IdleByCause& device : causes) {
    for (std::size_t c = 0; c < kIdleCauses; ++c) total[c] += device[c];
  }
  const auto sum = [](const IdleByCause& all) { return std::accumulate(all.begin(), all.end(), Duration()); };
  const auto row = [&](std::string name, const IdleByCause& device) {
    std::vector<std::string> cells = {std::move(name), human(sum(device))};
    for (std::size_t c = 0; c < kIdleCauses; ++c) {
      if (total[c] > Duration()) cells.push_back(human(device[c]));
    }
    return cells;
  };
  Rows rows = {{"device", "bubble"}};
  for (std::size_t c = 0; c < kIdleCauses; ++c) {
    if (total[c] > Duration()) rows.front().emplace_back(to_string(static_cast<IdleCause>(c)));
  }
  for (std::size_t d = 0; d < causes.size(); ++d) rows.push_back(row(it.name(DeviceId(d)), causes[d]));
  if (causes.size() > 1) rows.push_back(row("all", total));
  return table(rows);
}

std::string headline(const Explained& it) {
  std::string bound = "no bound";
  if (!it.plan.bounds.empty()) {
    bound = fmt::format("lower bound {} ({}{}{})", human(it.plan.lower_bound()), readable(it.plan.bounds.front().name),
                        it.plan.bounds.front().detail.empty() ? "" : ": ", readable(it.plan.bounds.front().detail));
  }
  return fmt::format("makespan {}, {}, gap {}\n", human(it.explanation.makespan()), bound, percent(it.plan.gap()));
}

std::string explain_plan(const Explained& it) {
  const auto path = it.explanation.critical_path();
  return fmt::format(
      "{}\nCritical path: {} steps, one after the other from 0 to the makespan\n{}\n{}\n"
      "Idle time of the compute streams by cause (its sum is the bubble)\n{}",
      headline(it), path.size(), path_by_kind(it, path), path_by_stretch(it, path), idle_table(it));
}

std::string explain_device(const Explained& it, DeviceId device) {
  auto spans = it.explanation.idle_spans();
  std::erase_if(spans, [&](const IdleSpan& span) { return span.device != device; });
  const DeviceStatistics figures = statistics(it.problem, it.schedule).devices[device.index()];
  std::string text = fmt::format("{}: busy {}, bubble {} ({})\n", readable(it.name(device)),
                                 human(figures.compute_busy), human(figures.bubble), it.share(figures.bubble));
  const auto curve = memory_curves(it.problem, it.schedule)[device.index()];
  const auto peak = std::ranges::max_element(curve, {}, &MemoryStep::bytes);
  const auto capacity = it.problem.capacity(device);
  text +=
      fmt::format("memory: peak {} at {}, {} of it parameters, {}\n", human(peak->bytes), human(peak->time),
                  human(figures.persistent_memory), capacity ? fmt::format("limit {}", human(*capacity)) : "no limit");
  const IdleByCause causes = it.explanation.idle_by_cause()[device.index()];
  Rows sums = {{"idle because of", "time", "share", "stretches"}};
  for (std::size_t c = 0; c < kIdleCauses; ++c) {
    if (causes[c] == Duration()) continue;
    const auto count = std::ranges::count(spans, static_cast<IdleCause>(c), &IdleSpan::cause);
    sums.push_back({std::string(to_string(static_cast<IdleCause>(c))), human(causes[c]), it.share(causes[c]),
                    std::to_string(count)});
  }
  text += "\n" + table(sums);
  std::ranges::stable_sort(spans,
                           [](const IdleSpan& a, const IdleSpan& b) { return a.until - a.from > b.until - b.from; });
  Rows longest = {{"longest", "from", "cause", "until the end of", "for"}};
  for (const IdleSpan& span : spans) {
    if (!it.all && longest.size() > kMostRows) break;
    longest.push_back({human(span.until - span.from), human(span.from), std::string(to_string(span.cause)),
                       it.name(span.waits_for, span.transfer), span.next ? it.problem.task_name(*span.next) : "-"});
  }
  return text + "\n" + table(longest);
}

std::string explain_alternatives(const Explained& it, OperatorId op) {
  std::string text;
  for (const Alternatives& found : alternatives(it.problem, it.schedule, op)) {
    text +=
        fmt::format("\nElsewhere than on {} ({}; the same order, simulated: {})\n", readable(it.name(found.from)),
                    found.moved_tasks == 1 ? "1 task moves" : fmt::format("{} tasks move together", found.moved_tasks),
                    human(found.stays));
    Rows rows = {{"device", "makespan", "cost", "memory"}};
    for (const Alternative& other : found.others) {
      if (!other.makespan) {
        rows.push_back({it.name(other.device), "-", "-", other.obstacle});
        continue;
      }
      const bool is_loss = *other.makespan >= found.stays;
      rows.push_back(
          {it.name(other.device), human(*other.makespan),
           (is_loss ? "+" : "-") + human(is_loss ? *other.makespan - found.stays : found.stays - *other.makespan),
           other.fits_memory ? "fits" : "exceeds a limit"});
    }
    text += table(rows);
  }
  if (text.empty()) text = "\nIt runs on several devices at once; other modes are a matter of planning.\n";
  return text;
}

std::string explain_operator(const Explained& it, OperatorId op) {
  const auto slack = it.explanation.slack();
  Rows rows = {{"task", "device", "start", "duration", "starts after", "which is", "held", "slack"}};
  std::size_t left_out = 0;
  for (std::size_t t = 0; t < it.problem.task_count(); ++t) {
    const TaskId task(t);
    if (it.problem.task(task).op != op) continue;
    if (!it.all && rows.size() > kMostRows) {
      ++left_out;
      continue;
    }
    const StartReason why = it.explanation.reason(task);
    const Duration start = it.schedule.tasks[t].start;
    rows.push_back({it.problem.task_name(task), it.names(task), human(start),
                    human(it.schedule.end(it.problem, task) - start), std::string(to_string(why.binding)),
                    it.name(why.task, why.transfer), human(start - why.since), human(slack[t])});
  }
  std::string text = table(rows);
  if (left_out > 0) text += fmt::format("... {} more, see --all\n", left_out);
  return text + explain_alternatives(it, op);
}

ExitCode run_explain(const ExplainOptions& options) {
  expect_files({{"--output", options.output}}, options.files.with({{"PLAN", options.plan}}));
  const PlannedProblem planned = load_valid_plan(options.files, options.plan, Modes::kTake);
  const Explained it(planned, options.all);
  if (options.json || !options.output.empty()) {
    deliver(options.output, explanation_to_json(planned.problem, planned.plan));
  } else if (options.device) {
    const auto device = it.problem.cluster().find_device(*options.device);
    if (!device) throw InputError(fmt::format("--device: the cluster has no device \"{}\"", *options.device));
    print(explain_device(it, *device));
  } else if (options.op) {
    const auto& operators = it.problem.graph().operators();
    const auto found = std::ranges::find(operators, *options.op, &Operator::name);
    if (found == operators.end()) {
      throw InputError(fmt::format("--operator: the graph has no operator \"{}\"", *options.op));
    }
    print(explain_operator(it, OperatorId(static_cast<std::size_t>(found - operators.begin()))));
  } else {
    print(explain_plan(it));
  }
  return ExitCode::kDone;
}

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* command = app.add_subcommand("explain", "why a plan takes as long as it does");
  command->footer(
      "Without --operator and --device: the critical path and the idle time of every device by cause.\n"
      "docs/explain.md defines every word of the output. A strategy alone (opweave.strategy) is explained by the "
      "parts\n"
      "of its step and memory, and by what other choices would cost.\n\n"
      "Examples:\n"
      "  opweave explain graph.json cluster.json plan.json\n"
      "  opweave explain graph.json cluster.json plan.json --device gpu3\n"
      "  opweave explain graph.json cluster.json plan.json --operator layer3.mlp.F\n"
      "  opweave explain strategy.json");
  options->files.add_with_strategy_to(*command);
  command->add_option("PLAN", options->plan, "plan (JSON)")->check(file_name());
  CLI::Option* op = command->add_option("--operator", options->op,
                                        "when and why it starts, its slack, what other devices would cost");
  command->add_option("--device", options->device, "its idle time, longest gaps and memory")->excludes(op);
  command->add_flag("--all", options->all, "every row of long tables");
  command->add_option("-o,--output", options->output, "write everything as JSON here")->check(file_name());
  command->add_flag("--json", options->json, "everything as JSON on standard output");
  command->callback([options, &action] {
    if (options->plan.empty() && options->files.cluster.empty() && is_strategy_file(options->files.graph)) {
      action = [options] { return explain_strategy_file(options->files.graph, {options->json, options->output}); };
      return;
    }
    expect_plan(options->files, options->plan);
    action = [options] { return run_explain(*options); };
  });
}

}  // namespace opweave::cli
