#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "cli/strategy_insight.h"
#include "opweave/error.h"
#include "opweave/explain.h"
#include "opweave/io.h"
#include "opweave/plan_alone.h"
#include "opweave/what_if.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

using Rows = std::vector<std::vector<std::string>>;
constexpr std::size_t kMostRows = 12;

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

/// A task as both plans name it.
struct Key {
  std::string op;
  std::uint32_t copy = 0;
  auto operator<=>(const Key&) const = default;
};
struct Place {
  std::vector<std::string> devices;
  Duration start;
  Duration end;
};
using Places = std::map<Key, Place>;

Places places(const PlanAlone& file) {
  Places result;
  for (const PlannedTask& task : file.plan.tasks) {
    Place place{{}, task.start, task.end};
    for (const DeviceId device : task.devices) place.devices.push_back(file.cluster.at(device).name);
    result.emplace(Key{file.graph.at(task.op).name, task.copy}, std::move(place));
  }
  return result;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : "+") + name;
  return text;
}

std::string figures_table(const Plan& a, const Plan& b) {
  Bytes peak_a, peak_b;
  for (const DeviceStatistics& d : a.statistics.devices) peak_a = std::max(peak_a, d.peak_memory);
  for (const DeviceStatistics& d : b.statistics.devices) peak_b = std::max(peak_b, d.peak_memory);
  const Duration before = a.statistics.makespan;
  const Duration after = b.statistics.makespan;
  return table(
      {{"", "first", "second", "change"},
       {"makespan", human(before), human(after), signed_human(before, after) + change_percent(before, after)},
       {"lower bound", human(a.lower_bound()), human(b.lower_bound()), signed_human(a.lower_bound(), b.lower_bound())},
       {"gap", percent(a.gap()), percent(b.gap()), ""},
       {"bubble ratio", percent(a.statistics.bubble_ratio), percent(b.statistics.bubble_ratio), ""},
       {"peak memory", human(peak_a), human(peak_b), signed_human(peak_a, peak_b)},
       {"bytes moved", human(a.statistics.bytes_moved), human(b.statistics.bytes_moved),
        signed_human(a.statistics.bytes_moved, b.statistics.bytes_moved)},
       {"found by", a.provenance.method, b.provenance.method, ""}});
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

/// Pairs (i, j), i < j, with values[i] > values[j]. O(n log n).
std::uint64_t inversions(std::vector<std::size_t>& values) {
  if (values.size() < 2) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::vector<std::size_t> left(values.begin(), middle), right(middle, values.end());
  std::uint64_t count = inversions(left) + inversions(right);
  std::size_t l = 0, r = 0;
  for (std::size_t& value : values) {
    if (r == right.size() || (l < left.size() && left[l] <= right[r])) {
      value = left[l++];
    } else {
      value = right[r++];
      count += left.size() - l;
    }
  }
  return count;
}

/// What moved to other devices, most tasks first, and how much of each device's order changed.
std::string moves(const Places& a, const Places& b) {
  std::map<std::pair<std::string, std::string>, std::pair<std::size_t, std::set<std::string>>> moved;
  std::map<std::string, std::vector<std::pair<Duration, Duration>>> common;  // starts of tasks that stayed
  std::size_t only_a = 0, matched = 0;
  std::vector<std::pair<std::int64_t, const Key*>> shifts;
  for (const auto& [key, place] : a) {
    const auto other = b.find(key);
    if (other == b.end()) {
      ++only_a;
      continue;
    }
    ++matched;
    shifts.emplace_back((other->second.start - place.start).value(), &key);
    if (place.devices != other->second.devices) {
      auto& [count, operators] = moved[{joined(place.devices), joined(other->second.devices)}];
      ++count;
      operators.insert(key.op);
    } else {
      for (const std::string& device : place.devices) common[device].emplace_back(place.start, other->second.start);
    }
  }
  std::string text = fmt::format("{} tasks in both plans", matched);
  if (only_a > 0) text += fmt::format(", {} only in the first", only_a);
  if (b.size() > matched) text += fmt::format(", {} only in the second", b.size() - matched);
  text += '\n';
  if (moved.empty()) {
    text += "nothing moved to another device\n";
  } else {
    std::vector<std::pair<std::pair<std::string, std::string>, std::pair<std::size_t, std::set<std::string>>>> sorted(
        moved.begin(), moved.end());
    std::ranges::stable_sort(sorted, [](const auto& x, const auto& y) { return x.second.first > y.second.first; });
    Rows rows = {{"from", "to", "tasks", "operators"}};
    for (const auto& [way, what] : sorted) {
      if (rows.size() > kMostRows) break;
      const std::set<std::string>& names = what.second;
      rows.push_back({way.first, way.second, std::to_string(what.first),
                      *names.begin() + (names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "")});
    }
    text += table(rows);
    if (sorted.size() > kMostRows) text += fmt::format("... {} more ways\n", sorted.size() - kMostRows);
  }
  Rows rows = {{"device", "tasks that stayed", "pairs that swapped"}};
  for (auto& [device, starts] : common) {
    std::ranges::stable_sort(starts);
    std::vector<std::size_t> by_second(starts.size());
    for (std::size_t i = 0; i < by_second.size(); ++i) by_second[i] = i;
    std::ranges::stable_sort(by_second,
                             [&](std::size_t x, std::size_t y) { return starts[x].second < starts[y].second; });
    const auto pairs = static_cast<double>(starts.size()) * static_cast<double>(starts.size() - 1) / 2;
    const std::uint64_t swapped = inversions(by_second);
    rows.push_back({device, std::to_string(starts.size()),
                    fmt::format("{} ({})", swapped, percent(pairs > 0 ? static_cast<double>(swapped) / pairs : 0))});
  }
  text += "\n" + table(rows);
  std::ranges::stable_sort(shifts, [](const auto& x, const auto& y) { return std::abs(x.first) > std::abs(y.first); });
  Rows latest = {{"shifted most", "first", "second", "change"}};
  for (const auto& [shift, key] : shifts) {
    if (shift == 0 || latest.size() > 5) break;
    const Duration before = a.at(*key).start, after = b.at(*key).start;
    latest.push_back(
        {fmt::format("{}#{}", key->op, key->copy), human(before), human(after), signed_human(before, after)});
  }
  return latest.size() > 1 ? text + "\n" + table(latest) : text;
}

/// Idle time by cause of both, summed over the devices.
std::string idle_table(const Problem& problem, const Schedule& a, const Schedule& b) {
  IdleByCause before{}, after{};
  for (const IdleByCause& device : Explanation(problem, a).idle_by_cause()) {
    for (std::size_t c = 0; c < kIdleCauses; ++c) before[c] += device[c];
  }
  for (const IdleByCause& device : Explanation(problem, b).idle_by_cause()) {
    for (std::size_t c = 0; c < kIdleCauses; ++c) after[c] += device[c];
  }
  Rows rows = {{"idle because of", "first", "second", "change"}};
  for (std::size_t c = 0; c < kIdleCauses; ++c) {
    if (before[c] == Duration() && after[c] == Duration()) continue;
    rows.push_back({std::string(to_string(static_cast<IdleCause>(c))), human(before[c]), human(after[c]),
                    signed_human(before[c], after[c])});
  }
  return table(rows);
}

/// The change of the makespan in two parts that add up: the places of the second plan with the starting order of the
/// first, then the order of the second; and each moved group on its own.
std::string costs(const Problem& problem, const Schedule& a, const Schedule& b) {
  Schedule moved = a;
  Schedule one = a;
  std::vector<std::pair<Duration, std::string>> alone;
  const Duration first = replay(problem, a).makespan;
  // Every group on its own is a simulation of the whole: of large plans, only some can be looked at in moments.
  constexpr std::size_t kMostSimulatedTasks = 2'000'000;
  const std::size_t most = std::min<std::size_t>(1000, kMostSimulatedTasks / std::max<std::size_t>(1, a.tasks.size()));
  std::size_t differing = 0;
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    const auto tasks = problem.tasks_of(GroupId(g));
    bool differs = false;
    for (const TaskId task : tasks) {
      const ModeIndex mode = b.tasks[task.index()].mode;
      differs = differs || mode != a.tasks[task.index()].mode;
      moved.tasks[task.index()].mode = mode;
    }
    if (!differs || ++differing > most) continue;
    std::string name = problem.task_name(tasks.front());
    if (tasks.size() > 1) name += fmt::format(" and {} more", tasks.size() - 1);
    for (const TaskId task : tasks) one.tasks[task.index()].mode = b.tasks[task.index()].mode;
    alone.emplace_back(replay(problem, one).makespan - first, std::move(name));
    for (const TaskId task : tasks) one.tasks[task.index()].mode = a.tasks[task.index()].mode;
  }
  const Duration places = replay(problem, moved).makespan;
  const Duration second = replay(problem, b).makespan;
  Rows rows = {{"of the makespan, simulated", "value", "change"},
               {"first plan", human(first), ""},
               {"with the places of the second", human(places), signed_human(first, places)},
               {"and its order: second plan", human(second), signed_human(places, second)}};
  std::string text = table(rows);
  if (alone.empty()) return text;
  std::ranges::stable_sort(alone);
  Rows each = {{"moved alone, in the order of the first", "makespan"}};
  for (const auto& [change, name] : alone) {
    if (each.size() > kMostRows) break;
    each.push_back({name, signed_human(first, first + change)});
  }
  text += "\n" + table(each);
  if (differing > alone.size()) text += fmt::format("... of the first {} of {} that moved\n", alone.size(), differing);
  return text;
}

ExitCode run(const std::vector<std::string>& files) {
  std::vector<NamedFile> inputs;
  for (const std::string& file : files) inputs.push_back({"FILES", file});
  expect_files({}, inputs);
  if (files.size() != 2 && files.size() != 4) {
    throw InputError(fmt::format("diff: {} files given, expected A B or GRAPH CLUSTER A B", files.size()));
  }
  const std::size_t first = files.size() - 2;
  const PlanAlone a = parse_plan_alone(read_file(files[first]), files[first]);
  const PlanAlone b = parse_plan_alone(read_file(files[first + 1]), files[first + 1]);
  std::string text;
  if (a.plan.provenance.graph_hash != b.plan.provenance.graph_hash ||
      a.plan.provenance.cluster_hash != b.plan.provenance.cluster_hash) {
    text += "The plans are for different graphs or clusters; tasks are matched by name.\n";
  } else if (!(a.plan.settings == b.plan.settings)) {
    text += "The plans have different settings; tasks are matched by name.\n";
  }
  text += figures_table(a.plan, b.plan) + "\n" + device_table(a, b) + "\n" + moves(places(a), places(b));
  if (files.size() == 4) {
    const PlannedProblem before = load_valid_plan({files[0], files[1]}, files[2]);
    const PlannedProblem after = load_valid_plan({files[0], files[1]}, files[3]);
    if (!(before.plan.settings == after.plan.settings)) {
      throw InputError(fmt::format("{}: its settings differ from those of {}", files[3], files[2]),
                       "leave out GRAPH and CLUSTER to compare what the plans themselves say");
    }
    const Schedule one = to_schedule(before.problem, before.plan), two = to_schedule(before.problem, after.plan);
    text += "\n" + idle_table(before.problem, one, two) + "\n" + costs(before.problem, one, two);
  }
  print(text);
  return ExitCode::kDone;
}

}  // namespace

void add_diff(CLI::App& app, Action& action) {
  auto files = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand("diff", "what moved between two plans, and what it cost or saved");
  command->footer(
      "From the plans alone: figures, what moved to other devices, how far the orders differ. With GRAPH and CLUSTER\n"
      "also idle time by cause, and the change of the makespan split into places and order, by simulation.\n"
      "Of two strategies (opweave.strategy): what they decide differently, and the parts of step and memory.\n\n"
      "Examples:\n"
      "  opweave diff before.json after.json\n"
      "  opweave diff graph.json cluster.json before.json after.json\n"
      "  opweave diff mine.json best.json");
  command->add_option("FILES", *files, "A B, or GRAPH CLUSTER A B")->required()->expected(2, 4)->check(file_name());
  command->callback([files, &action] {
    action = [files] {
      const bool are_strategies = files->size() == 2 && std::ranges::all_of(*files, is_strategy_file);
      return are_strategies ? diff_strategies(files->front(), files->back()) : run(*files);
    };
  });
}

}  // namespace opweave::cli
