#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "cli/strategy_insight.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/plan_diff.h"
#include "report/format.h"
#include "report/names.h"

namespace opweave::cli {
namespace {

using Rows = std::vector<std::vector<std::string>>;
constexpr std::size_t kMostShifts = 5;

struct DiffOptions {
  std::vector<std::string> files;
  bool json = false;
};

/// "+3.00 ms", "-12 ns", "0 ns"; likewise for bytes.
template <class Amount>
std::string signed_human(Amount a, Amount b) {
  if (a == b) return human(Amount());
  return b > a ? "+" + human(b - a) : "-" + human(a - b);
}

std::string change_percent(Duration a, Duration b) {
  if (a == Duration()) return "";
  return fmt::format(" ({:+.1f}%)", 100 * (static_cast<double>(b.value()) / static_cast<double>(a.value()) - 1));
}

std::string figures_table(const Plan& a, const Plan& b) {
  Bytes peak_a, peak_b;
  for (const DeviceStatistics& d : a.statistics.devices) peak_a = std::max(peak_a, d.peak_memory);
  for (const DeviceStatistics& d : b.statistics.devices) peak_b = std::max(peak_b, d.peak_memory);
  const Duration before = a.statistics.makespan;
  const Duration after = b.statistics.makespan;
  Rows rows = {
      {"", "first", "second", "change"},
      {"makespan", human(before), human(after), signed_human(before, after) + change_percent(before, after)},
      {"lower bound", human(a.lower_bound()), human(b.lower_bound()), signed_human(a.lower_bound(), b.lower_bound())},
      {"gap", percent(a.gap()), percent(b.gap()), ""},
      {"bubble ratio", percent(a.statistics.bubble_ratio), percent(b.statistics.bubble_ratio), ""},
      {"peak memory", human(peak_a), human(peak_b), signed_human(peak_a, peak_b)},
      {"bytes moved", human(a.statistics.bytes_moved), human(b.statistics.bytes_moved),
       signed_human(a.statistics.bytes_moved, b.statistics.bytes_moved)},
      {"found by", a.provenance.method, b.provenance.method, ""}};
  if (a.movements.empty() && b.movements.empty()) return table(rows);
  const auto count = [](std::size_t number) { return std::to_string(number); };
  const auto reduced = [](const Plan& plan) {
    return static_cast<std::size_t>(
        std::ranges::count(plan.movements, MovementKind::kAllReduce, &PlannedMovement::kind));
  };
  rows.push_back({"values that do not stay", count(a.modes.size()), count(b.modes.size()), ""});
  rows.push_back({"run again", human(a.statistics.recomputed), human(b.statistics.recomputed),
                  signed_human(a.statistics.recomputed, b.statistics.recomputed)});
  rows.push_back({"copied to hosts", human(a.statistics.bytes_copied_out), human(b.statistics.bytes_copied_out),
                  signed_human(a.statistics.bytes_copied_out, b.statistics.bytes_copied_out)});
  rows.push_back({"gradients reduced", count(reduced(a)), count(reduced(b)), ""});
  return table(rows);
}

std::string device_table(const PlanAlone& a, const PlanAlone& b) {
  Rows rows = {{"device", "busy", "change", "bubble", "change", "peak memory", "change"}};
  for (std::size_t d = 0; d < a.plan.statistics.devices.size(); ++d) {
    const std::string& name = a.cluster.at(DeviceId(d)).name;
    const auto other = b.cluster.find_device(name);
    if (!other) continue;
    const DeviceStatistics& before = a.plan.statistics.devices[d];
    const DeviceStatistics& after = b.plan.statistics.devices[other->index()];
    rows.push_back({name, human(after.compute_busy), signed_human(before.compute_busy, after.compute_busy),
                    human(after.bubble), signed_human(before.bubble, after.bubble), human(after.peak_memory),
                    signed_human(before.peak_memory, after.peak_memory)});
  }
  return table(rows);
}

/// What moved to other devices, how much of each device's order changed, which tasks start at other times.
std::string moves(const PlanDiff& diff) {
  std::string text = fmt::format("{} task{} in both plans", diff.in_both, diff.in_both == 1 ? "" : "s");
  if (diff.only_first > 0) text += fmt::format(", {} only in the first", diff.only_first);
  if (diff.only_second > 0) text += fmt::format(", {} only in the second", diff.only_second);
  text += '\n';
  if (diff.moved.empty()) {
    text += "nothing moved to another device\n";
  } else {
    Rows rows = {{"from", "to", "tasks", "operators"}};
    for (const MovedTasks& move : diff.moved) {
      if (rows.size() > kMostRows) break;
      const std::size_t more = move.operators.size() - 1;
      rows.push_back({move.from, move.to, std::to_string(move.tasks),
                      move.operators.front() + (more > 0 ? fmt::format(" and {} more", more) : "")});
    }
    text += table(rows);
    if (diff.moved.size() > kMostRows) text += fmt::format("... {} more ways\n", diff.moved.size() - kMostRows);
  }
  Rows orders = {{"device", "tasks that stayed", "pairs that swapped"}};
  for (const OrderChange& order : diff.orders) {
    orders.push_back(
        {order.device, std::to_string(order.stayed), fmt::format("{} ({})", order.swapped, percent(order.share))});
  }
  text += "\n" + table(orders);
  Rows shifted = {{"shifted most", "first", "second", "change"}};
  for (const ShiftedTask& task : diff.shifted) {
    if (shifted.size() > kMostShifts) break;
    shifted.push_back({task.task, human(task.first), human(task.second), signed_human(task.first, task.second)});
  }
  return shifted.size() > 1 ? text + "\n" + table(shifted) : text;
}

std::string idle_table(const DiffCosts& costs) {
  Rows rows = {{"idle because of", "first", "second", "change"}};
  for (std::size_t c = 0; c < kIdleCauses; ++c) {
    const Duration before = costs.idle_first[c], after = costs.idle_second[c];
    if (before == Duration() && after == Duration()) continue;
    rows.push_back(
        {std::string(to_string(static_cast<IdleCause>(c))), human(before), human(after), signed_human(before, after)});
  }
  return table(rows);
}

std::string costs_table(const DiffCosts& costs) {
  std::string text =
      table({{"of the makespan, simulated", "value", "change"},
             {"first plan", human(costs.first), ""},
             {"with the places of the second", human(costs.with_places), signed_human(costs.first, costs.with_places)},
             {"and its order: second plan", human(costs.second), signed_human(costs.with_places, costs.second)}});
  if (costs.alone.empty()) return text;
  Rows each = {{"moved alone, in the order of the first", "makespan"}};
  for (const DiffCosts::Move& move : costs.alone) {
    if (each.size() > kMostRows) break;
    each.push_back({move.group, signed_human(costs.first, move.makespan)});
  }
  text += "\n" + table(each);
  if (costs.moved_groups > costs.alone.size()) {
    text += fmt::format("... of the first {} of {} that moved\n", costs.alone.size(), costs.moved_groups);
  }
  return text;
}

/// "1f2e... (8 operators)"
std::string with_hash(const std::string& hash, const std::string& name, std::size_t count, std::string_view what) {
  return fmt::format("{} \"{}\", {} {}", hash.empty() ? "no hash," : hash, readable(name), count, what);
}

/// Which of graph and cluster differ, and by what they can be told apart.
std::string different_problems(const PlanAlone& a, const PlanAlone& b) {
  const Provenance& first = a.plan.provenance;
  const Provenance& second = b.plan.provenance;
  std::string text;
  if (first.graph_hash != second.graph_hash) {
    text += fmt::format("The graphs differ: {}, and {}.\n",
                        with_hash(first.graph_hash, a.plan.graph_name, a.graph.operators().size(), "operators"),
                        with_hash(second.graph_hash, b.plan.graph_name, b.graph.operators().size(), "operators"));
  }
  if (first.cluster_hash != second.cluster_hash) {
    text += fmt::format("The clusters differ: {}, and {}.\n",
                        with_hash(first.cluster_hash, a.plan.cluster_name, a.cluster.device_count(), "devices"),
                        with_hash(second.cluster_hash, b.plan.cluster_name, b.cluster.device_count(), "devices"));
  }
  return text;
}

/// What the move of places and orders costs, where graph and cluster are given.
DiffCosts costs_of(const std::vector<std::string>& files) {
  const PlannedProblem before = load_valid_plan({files[0], files[1]}, files[2]);
  const PlannedProblem after = load_valid_plan({files[0], files[1]}, files[3]);
  if (!(before.plan.settings == after.plan.settings)) {
    throw InputError(fmt::format("{}: its settings differ from those of {}", files[3], files[2]),
                     "leave out GRAPH and CLUSTER to compare what the plans themselves say");
  }
  return diff_costs(before.problem, to_schedule(before.problem, before.plan), to_schedule(before.problem, after.plan));
}

ExitCode run_diff(const DiffOptions& options) {
  const std::vector<std::string>& files = options.files;
  std::vector<NamedFile> inputs;
  for (const std::string& file : files) inputs.push_back({"FILES", file});
  expect_files({}, inputs);
  if (files.size() != 2 && files.size() != 4) {
    throw InputError(fmt::format("diff: {} files given, expected A B or GRAPH CLUSTER A B", files.size()));
  }
  const std::size_t first = files.size() - 2;
  const PlanAlone a = parse_plan_alone(read_file(files[first]), files[first], MovementsAlone::kTake);
  const PlanAlone b = parse_plan_alone(read_file(files[first + 1]), files[first + 1], MovementsAlone::kTake);
  const PlanDiff diff = diff_plans(a, b);
  const std::optional<DiffCosts> costs = files.size() == 4 ? std::optional(costs_of(files)) : std::nullopt;
  if (options.json) {
    print(diff_to_json(a, b, diff, costs));
    return ExitCode::kDone;
  }
  std::string text;
  if (!diff.is_same_problem) {
    text += different_problems(a, b) + "Tasks are matched by name.\n";
  } else if (!diff.is_same_settings) {
    text += "The plans have different settings; tasks are matched by name.\n";
  }
  text += figures_table(a.plan, b.plan) + "\n" + device_table(a, b) + "\n" + moves(diff);
  if (costs) text += "\n" + idle_table(*costs) + "\n" + costs_table(*costs);
  print(text);
  return ExitCode::kDone;
}

}  // namespace

void add_diff(CLI::App& app, Action& action) {
  auto options = std::make_shared<DiffOptions>();
  CLI::App* command = app.add_subcommand("diff", "what moved between two plans, and what it cost or saved");
  command->footer(
      "From the plans alone: figures, what moved to other devices, how far the orders differ. With GRAPH and CLUSTER\n"
      "also idle time by cause, and the change of the makespan split into places and order, by simulation.\n"
      "Of two strategies (opweave.strategy): what they decide differently, and the parts of step and memory.\n\n"
      "Examples:\n"
      "  opweave diff before.json after.json\n"
      "  opweave diff graph.json cluster.json before.json after.json\n"
      "  opweave diff mine.json best.json");
  command->add_option("FILES", options->files, "A B, or GRAPH CLUSTER A B")
      ->required()
      ->expected(2, 4)
      ->check(file_name());
  command->add_flag("--json", options->json, "JSON on standard output");
  command->callback([options, &action] {
    action = [options] {
      const std::vector<std::string>& files = options->files;
      const bool are_strategies = files.size() == 2 && std::ranges::all_of(files, is_strategy_file);
      return are_strategies ? diff_strategies(files.front(), files.back(), {options->json, {}}) : run_diff(*options);
    };
  });
}

}  // namespace opweave::cli
