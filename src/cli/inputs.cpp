#include "cli/inputs.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/layout_inputs.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/reading_took_all.h"
#include "core/in_time.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave::cli {
namespace {

/// A latency that was forgotten on one link makes it the way for everything: routes have the least latency.
void warn_of_instant_links(const Cluster& cluster, const std::string& source) {
  std::vector<const Link*> links;
  for (const Link& link : cluster.links()) links.push_back(&link);
  const std::optional<Link>& rest = cluster.parts().default_link;
  if (rest) links.push_back(&*rest);
  const auto is_instant = [](const Link* link) { return link->latency == Duration(); };
  const auto count = std::ranges::count_if(links, is_instant);
  if (count == 0 || count == std::ssize(links)) return;
  const Link* first = *std::ranges::find_if(links, is_instant);
  const std::string name = rest && first == &*rest ? "the default link" : fmt::format("link \"{}\"", first->name);
  complain("warning", fmt::format("{}: {} has no latency, but other links have one: routes prefer it{}", source, name,
                                  count > 1 ? fmt::format(" ({} more like it)", count - 1) : ""));
}

/// What to say where durations are none: nothing reaches the peak rates that time operators without a duration, and an
/// estimate is none.
std::vector<std::string> notes_on_durations(const EstimatedGraph& read, const Cluster& cluster) {
  const auto& operators = read.graph.operators();
  std::vector<std::string> notes;
  if (read.estimated > 0) {
    notes.push_back(
        fmt::format("{} of {} operators have no duration: estimated from flops and bytes, as "
                    "opweave.costs.analytic does (docs/costs.md)",
                    read.estimated, operators.size()));
    for (const DeviceType& type : cluster.types()) {
      const std::string slow = analytic::slow_dtype(read.graph, type);
      if (!slow.empty()) notes.push_back(slow + " (dtype=\"bf16\" of opweave.capture)");
    }
    return notes;
  }
  const auto count = std::ranges::count_if(
      operators, [](const Operator& op) { return analytic::is_untimed(op) && op.flops.value_or(0) > 0; });
  if (count == 0) return notes;
  notes.push_back(
      fmt::format("{} of {} operators have no duration: the peak rates of devices time them, which is too "
                  "fast (opweave.costs.analytic of Python estimates them)",
                  count, operators.size()));
  return notes;
}

}  // namespace

void InputFiles::add_to(CLI::App& command) {
  command.add_option("GRAPH", graph, "computational graph (JSON)")->required()->check(file_name());
  command.add_option("CLUSTER", cluster, "devices and links (JSON)")->required()->check(file_name());
}

void InputFiles::add_with_strategy_to(CLI::App& command) {
  add_to(command);
  command.get_option("GRAPH")->description("computational graph, or a strategy alone (JSON)");
  command.get_option("CLUSTER")->required(false);
}

void expect_plan(const InputFiles& files, const std::filesystem::path& plan) {
  if (files.cluster.empty()) throw CLI::RequiredError("CLUSTER");
  if (plan.empty()) throw CLI::RequiredError("PLAN");
}

void SettingOptions::add_to(CLI::App& command) {
  command.add_option("--contention", contention, "how transfers share links: none, endpoint or link");
  command.add_option("--microbatches", microbatches, "microbatches of one iteration")->check(whole<std::uint32_t>(1));
  command.add_option("--replicas", replicas, "copies of every parameter that may exist")
      ->check(whole<std::uint32_t>(1));
  command.add_option("--memory-limit", memory_limit, "capacity of every device, e.g. 80GiB");
}

void SettingOptions::add_blocks_to(CLI::App& command) {
  command.add_option("--blocks", blocks,
                     "stage or layer: F, I and W of each run as one piece per microbatch, as exports need it");
}

void SettingOptions::add_memory_modes_to(CLI::App& command) {
  command.add_option("--memory-modes", memory_modes,
                     "what values of the forward pass may do beside staying, where their tensor does not say: drop "
                     "(and be made again), host (be copied there and back), joined by commas (docs/memory-modes.md)");
}

ProblemSettings SettingOptions::apply(ProblemSettings settings) const {
  SettingsOverride by{microbatches, replicas, {}, {}, {}, {}};
  if (contention) by.contention = parse_contention(*contention);
  if (memory_limit) by.memory_limit = naming("--memory-limit", [this] { return parse_bytes(*memory_limit); });
  if (blocks) by.blocks = parse_blocks(*blocks);
  if (memory_modes) by.memory_modes = parse_memory_modes(*memory_modes);
  return overridden(std::move(settings), by);
}

ModelDescription load_model(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  // Whoever wrote a config.json of transformers calls its kind "model_type"; ours says "format".
  const bool is_ours = text.find("\"opweave.model\"") != std::string::npos;
  return is_ours ? parse_model(text, path.string()) : parse_hf_config(text, path.string());
}

Machines load_machines(const std::string& cluster) {
  if (cluster.ends_with(".json")) return parse_machines(read_file(cluster), cluster);
  return naming("--cluster", [&] { return machines_named(cluster); });
}

Cluster load_cluster(const std::filesystem::path& path) {
  Cluster cluster = parse_cluster(read_file(path), path.string());
  warn_of_instant_links(cluster, path.string());
  return cluster;
}

std::string times_from(const EstimatedGraph& graph) {
  if (graph.estimated == 0) return {};
  const std::size_t count = graph.graph.operators().size();
  const std::string words = "analytic, from flops and bytes";
  return graph.estimated == count ? words : fmt::format("{} of {} operators {}", graph.estimated, count, words);
}

Inputs load_inputs(const std::string& graph, const InputFiles& files) {
  Cluster cluster = load_cluster(files.cluster);
  EstimatedGraph read = parse_graph(graph, files.graph.string(), cluster);
  return {std::move(read), std::move(cluster)};
}

Contention parse_contention(const std::string& text) {
  if (const auto contention = contention_from_string(text)) return *contention;
  throw InputError(fmt::format("--contention: value is \"{}\", expected none, endpoint or link", text));
}

ChannelModel parse_channels(const std::string& text) {
  if (const auto model = channel_model_from_string(text)) return *model;
  throw InputError(fmt::format(
      "--channels: value is \"{}\", expected free, in-order, or rendezvous- or buffered- with rank, pair or direction",
      text));
}

MemoryModes parse_memory_modes(const std::string& text) {
  MemoryModes modes;
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t comma = std::min(text.find(',', from), text.size());
    const auto mode = memory_mode_from_string(text.substr(from, comma - from));
    if (!mode) {
      throw InputError(fmt::format("--memory-modes: value is \"{}\", expected keep, drop, host or drop,host", text));
    }
    modes.drop = modes.drop || *mode == MemoryMode::kDrop;
    modes.host = modes.host || *mode == MemoryMode::kHost;
    from = comma + 1;
  }
  return modes;
}

Blocks parse_blocks(const std::string& text) {
  const auto blocks = blocks_from_string(text);
  if (blocks && *blocks != Blocks::kNone) return *blocks;
  throw InputError(fmt::format("--blocks: value is \"{}\", expected stage or layer", text));
}

Method parse_method(const std::string& text) {
  if (const auto method = method_from_string(text)) return *method;
  throw InputError(
      fmt::format("--method: value is \"{}\", expected auto, heuristic, mip, mip-time-indexed or cp", text));
}

unsigned used_threads(unsigned wanted) {
  if (wanted <= kMostThreads) return wanted;
  complain("warning", fmt::format("--threads: value is {}, {} are used", wanted, kMostThreads));
  return kMostThreads;
}

Schedule load_warm_start(const std::filesystem::path& path, const Problem& problem) {
  const Plan plan = parse_plan(read_file(path), path.string(), problem.graph(), problem.cluster());
  return naming(path.string(), [&] { return to_schedule(problem, plan); });
}

std::string made_for_another(const Plan& plan, const ComputationGraph& graph, const Cluster& cluster) {
  std::string text;
  const auto compare = [&](std::string_view what, const std::string& stated, const std::string& hash) {
    if (stated.empty() || stated == hash) return;
    text += fmt::format("{}made for another {}: its hash is {}, that of the file {}", text.empty() ? "" : ", and ",
                        what, stated, hash);
  };
  compare("graph", plan.provenance.graph_hash, content_hash(graph));
  compare("cluster", plan.provenance.cluster_hash, content_hash(cluster));
  return text;
}

void require_valid(const std::filesystem::path& path, const Problem& problem, const Schedule& schedule) {
  const auto violations = check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}), 1);
  if (violations.empty()) return;
  throw InputError(fmt::format("{}: not valid here: {}: {}", path.string(), to_string(violations.front().rule),
                               violations.front().message),
                   "--warm-start takes a plan for the same graph, cluster and settings");
}

Problem load_problem(const InputFiles& files, const SettingOptions& options, Modes modes) {
  return load_problem(read_file(files.graph), files, options, modes);
}

Problem load_problem(const std::string& text, const InputFiles& files, const SettingOptions& options, Modes modes,
                     std::string* times) {
  auto [read, cluster] = load_inputs(text, files);
  const std::vector<std::string> notes = notes_on_durations(read, cluster);
  if (times != nullptr) *times = times_from(read);
  ComputationGraph& graph = read.graph;
  ProblemSettings settings = options.apply(default_settings(graph, cluster));
  Problem problem = Problem::create(std::move(graph), std::move(cluster), std::move(settings));
  if (modes == Modes::kRefuse && has_movements(problem)) {
    throw InputError(files.graph.string() + (may_choose_modes(problem)
                                                 ? ": tensors have memory modes, which this command does not know"
                                                 : ": gradients are reduced, which this command does not know"),
                     "opweave plan, check, simulate, explain, report, show and what-if know them");
  }
  for (const std::string& note : notes) complain("note", note);  // an error says why alone
  return problem;
}

std::optional<Problem> load_in_time(const Budget& budget, const InputFiles& files, std::function<Problem()> load) {
  std::optional<Problem> problem = in_time(budget, std::move(load));
  if (!problem) say_that_reading_took_all(budget, files);
  return problem;
}

PlannedProblem load_planned_problem(const InputFiles& files, const std::filesystem::path& plan_path, Modes modes) {
  auto [read, cluster] = load_inputs(read_file(files.graph), files);
  ComputationGraph& graph = read.graph;
  std::string times = times_from(read);
  Plan plan = parse_plan(read_file(plan_path), plan_path.string(), graph, cluster);
  Problem problem = Problem::create(std::move(graph), std::move(cluster), plan.settings);
  const bool has_modes = !plan.modes.empty() || !plan.movements.empty();
  if (modes == Modes::kRefuse && (has_modes || has_movements(problem))) {
    throw InputError(plan_path.string() + (problem.settings().training.reduces_gradients()
                                               ? ": gradients are reduced, which this command does not know"
                                               : ": values may have memory modes, which this command does not know"),
                     "opweave plan, check, simulate, explain, report, show and what-if know them");
  }
  if (!has_modes) return {std::move(problem), std::move(plan), std::nullopt, std::move(times)};
  return naming(plan_path.string(), [&]() -> PlannedProblem {
    OrdinaryPlan ordinary = with_movements(problem, plan);
    return {ordinary.movements.problem(), std::move(ordinary.plan), std::move(ordinary.movements), std::move(times)};
  });
}

PlannedProblem load_valid_plan(const InputFiles& files, const std::filesystem::path& plan_path, Modes modes) {
  const auto require_no = [&](const std::vector<Violation>& violations) {
    if (violations.empty()) return;
    throw InputError(
        fmt::format("{}: {}: {}", plan_path.string(), to_string(violations.front().rule), violations.front().message),
        "see all violations with `opweave check`");
  };
  if (modes == Modes::kTake) {
    // The rules speak of the plan as it is written, not of the operators that show its movements.
    const std::string text = read_file(files.graph);
    if (has_layout_options(text)) return load_layout_plan(text, files, plan_path);
    const Cluster cluster = parse_cluster(read_file(files.cluster), files.cluster.string());
    const ComputationGraph graph = parse_graph(text, files.graph.string(), cluster).graph;
    const Plan plan = parse_plan(read_file(plan_path), plan_path.string(), graph, cluster);
    if (!plan.modes.empty() || !plan.movements.empty()) {
      require_no(check(graph, cluster, plan, 1));
      return load_planned_problem(files, plan_path, modes);
    }
  }
  PlannedProblem loaded = load_planned_problem(files, plan_path, modes);
  const auto violations = check(loaded.problem.graph(), loaded.problem.cluster(), loaded.plan, 1);
  const std::string reason = made_for_another(loaded.plan, loaded.problem.graph(), loaded.problem.cluster());
  if (!violations.empty() && !reason.empty()) {
    throw InputError(fmt::format("{}: {}", plan_path.string(), reason), "take the files that it was made for");
  }
  require_no(violations);
  return loaded;
}

}  // namespace opweave::cli
