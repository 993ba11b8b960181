#include "cli/strategy_insight.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/interrupt.h"
#include "cli/output.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/strategy_insight.h"
#include "report/format.h"
#include "report/names.h"
#include "report/strategy_words.h"

namespace opweave::cli {
namespace {

using Rows = std::vector<std::vector<std::string>>;

struct TimePart {
  std::string_view name;
  Duration StepTime::*part;
};
constexpr TimePart kTimes[] = {
    {"matrix products", &StepTime::matrix},     {"attention", &StepTime::attention},
    {"memory traffic", &StepTime::traffic},     {"made again", &StepTime::recompute},
    {"copies to the host", &StepTime::offload}, {"tensor and context axes", &StepTime::tensor},
    {"expert axis", &StepTime::expert},         {"data axis", &StepTime::data},
    {"hops between stages", &StepTime::hops},   {"waiting (bubble)", &StepTime::bubble},
    {"optimizer", &StepTime::optimizer},        {"step", &StepTime::step}};
struct MemoryPart {
  std::string_view name;
  Bytes StepMemory::*part;
};
constexpr MemoryPart kMemories[] = {{"weights", &StepMemory::weights},     {"gradients", &StepMemory::gradients},
                                    {"optimizer", &StepMemory::optimizer}, {"activations", &StepMemory::activations},
                                    {"buffers", &StepMemory::buffers},     {"reserve", &StepMemory::reserve}};

StrategyRecord load(const std::filesystem::path& path) { return parse_strategy_record(read_file(path), path.string()); }

std::string share(double part, double whole) { return percent(whole > 0 ? part / whole : 0); }
double as_double(Duration duration) { return static_cast<double>(duration.value()); }
double as_double(Bytes bytes) { return static_cast<double>(bytes.value()); }

std::string change(double before, double after) {
  if (before == after) return "-";
  if (before == 0) return "new";
  return fmt::format("{:+.1f}%", 100 * (after / before - 1));
}

std::string in_words(const StrategyRecord& record) {
  return fmt::format("{} x {} {}, batch {} x {} tokens, target {}", record.machines.nodes,
                     record.machines.devices_per_node, record.machines.device.name, record.run.global_batch,
                     record.run.sequence, to_string(record.target));
}

std::string why_not(const BestStrategy& found) {
  if (!found.least_memory) return found.why_not;
  const Bytes host = found.least_host_memory.value_or(Bytes());
  const std::string on_host = host > Bytes(0) ? fmt::format(" and {} of the host", human(host)) : "";
  return fmt::format("{}: {}{} at least", found.why_not, human(*found.least_memory), on_host);
}

/// The line of a profile that the file holds; the built-in one follows from the rest.
std::string own_profile_text(const StrategyRecord& record) {
  return record.fitted ? profile_text(record.profile(), record.model, record.machines) + "\n" : "";
}

}  // namespace

std::string profile_text(const CalibrationProfile& profile, const ModelDescription& model, const Machines& machines) {
  const std::string name = readable(profile.name);
  if (profile.steps > 0) {
    return fmt::format("profile: {} (median error {} on {} {} steps, 90th percentile {})", name,
                       percent(profile.median_error), profile.steps, profile.is_own ? "measured" : "published",
                       percent(profile.ninetieth_error));
  }
  if (profile.is_own) return fmt::format("profile: {}, none of its steps is of such a model", name);
  const bool has_experts =
      std::ranges::any_of(model.layers, [](const LayerRun& run) { return run.experts.has_value(); });
  return fmt::format(
      "profile: {}, no published step of a {} model on {} in this precision and for this target is known", name,
      model.has_recurrences() ? "recurrent"
      : has_experts           ? "mixture-of-experts"
                              : "dense",
      readable(machines.device.name));
}

std::string host_text(const StrategyValue& value) {
  if (value.host == Bytes(0)) return {};
  return "what is copied to the host or stepped there is uncalibrated: no known step has it, the stated error does not "
         "speak of it\n";
}

void warn_of_memory(const StrategyValue& value, const Machines& machines) {
  if (value.fits) return;
  complain("warning", "the strategy does not fit in memory: it needs " + memory_against(value, machines));
}

bool is_strategy_file(const std::filesystem::path& path) {
  std::error_code unknown;
  if (std::filesystem::is_directory(path, unknown)) {
    const bool has_strategy = std::filesystem::exists(path / "strategy.json", unknown);
    throw InputError(fmt::format("{}: is a folder, expected a file", path.string()),
                     has_strategy ? fmt::format("its strategy is {}", (path / "strategy.json").string()) : "");
  }
  try {
    return read_file(path).find("\"opweave.strategy\"") != std::string::npos;
  } catch (const InputError&) {
    return false;  // whoever reads it next says why
  }
}

ExitCode explain_strategy_file(const std::filesystem::path& path, const JsonOutput& output) {
  const StrategyRecord record = load(path);
  const std::atomic<bool>& interrupted = catch_interrupts();
  const StrategyExplanation explanation = explain_strategy(record, &interrupted);
  if (output.is_wanted()) {
    deliver(output.file, explanation_to_json(record, explanation));
    return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
  }
  const StrategyValue& value = explanation.value;
  Rows times = {{"time", "", "share"}};
  for (const TimePart& part : kTimes) {
    const Duration time = value.time.*part.part;
    times.push_back({std::string(part.name), human(time), share(as_double(time), as_double(value.time.step))});
  }
  Rows memories = {{fmt::format("memory of stage {}", value.stage), "", "share"}};
  for (const MemoryPart& part : kMemories) {
    const Bytes bytes = value.memory.*part.part;
    memories.push_back(
        {std::string(part.name), human(bytes), share(as_double(bytes), as_double(value.memory.total()))});
  }
  memories.push_back({"all", human(value.memory.total()), "100.0%"});
  if (value.memory.host > Bytes(0)) memories.push_back({"on the host", human(value.memory.host), ""});
  memories.push_back({"a device has", human(record.machines.device.memory), ""});
  Rows others = {{"other choice", "step", "change", "recompute then, or why there is none", "on the host then"}};
  for (const auto& [choice, found] : explanation.others) {
    if (!found.best) {
      others.push_back({choice, "-", "-", why_not(found), ""});
      continue;
    }
    const Duration step = found.best->value.time.step;
    const Strategy& then = found.best->strategy;
    others.push_back({choice, human(step), change(as_double(value.time.step), as_double(step)), recompute_text(then),
                      offload_text(then)});
  }
  print(in_words(record) + "\n" + own_profile_text(record) + host_text(value) + "\n" +
        as_table({{record.strategy, value}}) + "\n" + table(times) + "\n" + table(memories) + "\n" + table(others));
  warn_of_memory(value, record.machines);
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

ExitCode diff_strategies(const std::filesystem::path& before, const std::filesystem::path& after,
                         const JsonOutput& output) {
  const StrategyRecord a = load(before);
  const StrategyRecord b = load(after);
  if (output.is_wanted()) {
    deliver(output.file, diff_to_json(a, b));
    return ExitCode::kDone;
  }
  const StrategyValue value_a = a.value();
  const StrategyValue value_b = b.value();
  std::string text =
      "A: " + in_words(a) + "\n" + own_profile_text(a) + "B: " + in_words(b) + "\n" + own_profile_text(b);
  if (!(a.model == b.model)) text += "the models differ\n";
  Rows rows = {{"decision", "A", "B"}};
  for (const DecisionChange& decision : changed_decisions(a.strategy, b.strategy)) {
    rows.push_back({decision.decision, decision.first, decision.second});
  }
  text += "\n" + (rows.size() > 1 ? table(rows) : "the same decisions\n");
  Rows parts = {{"part", "A", "B", "change"}};
  for (const TimePart& part : kTimes) {
    const Duration left = value_a.time.*part.part;
    const Duration right = value_b.time.*part.part;
    parts.push_back({std::string(part.name), human(left), human(right), change(as_double(left), as_double(right))});
  }
  for (const MemoryPart& part : kMemories) {
    const Bytes left = value_a.memory.*part.part;
    const Bytes right = value_b.memory.*part.part;
    parts.push_back({std::string(part.name), human(left), human(right), change(as_double(left), as_double(right))});
  }
  const Bytes all_a = value_a.memory.total();
  const Bytes all_b = value_b.memory.total();
  parts.push_back({"memory", human(all_a), human(all_b), change(as_double(all_a), as_double(all_b))});
  print(text + "\n" + table(parts));
  return ExitCode::kDone;
}

ExitCode what_if_strategy_file(const std::filesystem::path& path, double seconds_per_change, const JsonOutput& output) {
  const StrategyRecord today = load(path);
  const std::atomic<bool>& interrupted = catch_interrupts();
  const auto changes = what_if_strategy(today, seconds_per_change, &interrupted);
  if (output.is_wanted()) {
    deliver(output.file, what_if_to_json(today, changes));
    return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
  }
  Rows rows = {
      {"change", "this strategy", "best", "tokens/s/device", "tp", "cp", "ep", "pp", "dp", "microbatch", "schedule"}};
  std::string reasons;
  for (const auto& [what, value, why_impossible, found] : changes) {
    const std::string own = !value ? "impossible" : value->fits ? human(value->time.step) : "does not fit";
    if (!value) reasons += fmt::format("{}: this strategy is impossible: {}\n", what, why_impossible);
    Rows::value_type row = {std::string(what), own, found.best ? human(found.best->value.time.step) : "-"};
    if (found.best) {
      const Strategy& s = found.best->strategy;
      row.push_back(fmt::format("{:.0f}", found.best->value.tokens_per_second / static_cast<double>(s.devices())));
      for (const std::uint32_t degree : {s.tensor, s.context, s.expert, s.pipeline, s.data, s.micro_batch}) {
        row.push_back(std::to_string(degree));
      }
      row.push_back(s.stages() > 1 ? std::string(to_string(s.schedule)) : "-");
      if (s.component)
        row.back() += fmt::format(" ({}: {})", readable(s.component->name), component_mesh_text(*s.component));
    } else {
      row.push_back(why_not(found));
    }
    row.resize(rows.front().size());
    rows.push_back(std::move(row));
  }
  print(in_words(today) + "\n" + own_profile_text(today) + "\n" + table(rows) +
        (reasons.empty() ? "" : "\n" + reasons));
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

}  // namespace opweave::cli
