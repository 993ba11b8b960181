#include "cli/strategy_insight.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "cli/interrupt.h"
#include "cli/output.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/strategy_record.h"
#include "report/format.h"

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
double number(Duration duration) { return static_cast<double>(duration.value()); }
double number(Bytes bytes) { return static_cast<double>(bytes.value()); }

std::string change(double before, double after) {
  if (before == after) return "-";
  if (before == 0) return "new";
  return fmt::format("{:+.1f}%", 100 * (after / before - 1));
}

/// All decisions of a mesh as they are; layers and what is kept of them are found anew.
HeldDecisions held_by(const Strategy& s) {
  HeldDecisions held;
  held.tensor = s.tensor;
  held.context = s.context;
  held.data = s.data;
  held.pipeline = s.pipeline;
  held.chunks = s.chunks;
  held.expert = s.expert;
  held.micro_batch = s.micro_batch;
  held.sharding = s.sharding;
  held.schedule = s.schedule;
  return held;
}

/// The best layout of a mesh, or why there is none.
struct Choice {
  std::optional<RankedStrategy> best;
  std::string why_not;
};
Choice best_with(const StrategyRecord& record, const HeldDecisions& held, const Budget& budget = {}) {
  Choice choice;
  try {
    const auto result =
        search_strategies(record.model, record.machines, record.run, record.profile(), record.target, held, 1, budget);
    if (!result.ranked.empty()) {
      choice.best = result.ranked.front();
    } else if (result.least_memory) {
      choice.why_not = fmt::format("does not fit: {} at least", human(result.least_memory->value.memory.total()));
    } else {
      choice.why_not = "not found in time";
    }
  } catch (const InputError& error) {
    const std::string text = error.what();
    const std::size_t reason = text.find("for example: ");
    choice.why_not = reason == std::string::npos ? text : text.substr(reason + 13);
  }
  return choice;
}

/// Each other choice of one decision, or of two axes that trade ranks.
std::vector<std::pair<std::string, HeldDecisions>> other_choices(const Strategy& s, Target target) {
  std::vector<std::pair<std::string, HeldDecisions>> result;
  const HeldDecisions held = held_by(s);
  using Degree = std::optional<std::uint32_t> HeldDecisions::*;
  const std::pair<std::string_view, Degree> axes[] = {{"tensor", &HeldDecisions::tensor},
                                                      {"context", &HeldDecisions::context},
                                                      {"pipeline", &HeldDecisions::pipeline},
                                                      {"data", &HeldDecisions::data}};
  for (const auto& [more, up] : axes) {
    for (const auto& [less, down] : axes) {
      if (up == down || *(held.*down) % 2 != 0) continue;
      HeldDecisions other = held;
      other.*up = 2 * *(held.*up);
      other.*down = *(held.*down) / 2;
      // A pipeline of one has one schedule; any other takes the one that suits it.
      if (up == &HeldDecisions::pipeline || down == &HeldDecisions::pipeline) {
        other.chunks.reset();
        other.schedule.reset();
      }
      other.sharding.reset();
      other.expert.reset();
      result.emplace_back(fmt::format("{} {}, {} {}", more, *(other.*up), less, *(other.*down)), other);
    }
  }
  for (const std::uint32_t micro_batch : {s.micro_batch * 2, s.micro_batch / 2}) {
    if (micro_batch == 0) continue;
    HeldDecisions other = held;
    other.micro_batch = micro_batch;
    result.emplace_back(fmt::format("microbatch {}", micro_batch), other);
  }
  for (const PipelineKind kind :
       {PipelineKind::k1F1B, PipelineKind::kInterleaved, PipelineKind::kZeroBubble1, PipelineKind::kZeroBubble2}) {
    const bool is_zero_bubble = kind == PipelineKind::kZeroBubble1 || kind == PipelineKind::kZeroBubble2;
    if (kind == s.schedule || s.pipeline == 1 || (is_zero_bubble && target == Target::kMegatron)) continue;
    HeldDecisions other = held;
    other.schedule = kind;
    other.chunks.reset();
    result.emplace_back(fmt::format("schedule {}", to_string(kind)), other);
  }
  if (target != Target::kAny) return result;  // each of them has one way to share out states
  for (const Sharding sharding : {Sharding::kOptimizer, Sharding::kWeights}) {
    if (sharding == s.sharding || s.data * s.context == 1) continue;
    HeldDecisions other = held;
    other.sharding = sharding;
    result.emplace_back(fmt::format("sharding {}", to_string(sharding)), other);
  }
  return result;
}

/// Decisions by their names in the file.
nlohmann::ordered_json decisions(const Strategy& strategy) {
  auto json = nlohmann::ordered_json::parse(strategy_to_json(strategy));
  json.erase("format");
  json.erase("version");
  return json;
}

std::string in_words(const StrategyRecord& record) {
  return fmt::format("{} x {} {}, batch {} x {} tokens, target {}", record.machines.nodes,
                     record.machines.devices_per_node, record.machines.device.name, record.run.global_batch,
                     record.run.sequence, to_string(record.target));
}

}  // namespace

bool is_strategy_file(const std::filesystem::path& path) {
  try {
    return read_file(path).find("\"opweave.strategy\"") != std::string::npos;
  } catch (const InputError&) {
    return false;  // whoever reads it next says why
  }
}

ExitCode explain_strategy(const std::filesystem::path& path) {
  const StrategyRecord record = load(path);
  const StrategyValue value = record.value();
  Rows times = {{"time", "", "share"}};
  for (const TimePart& part : kTimes) {
    const Duration time = value.time.*part.part;
    times.push_back({std::string(part.name), human(time), share(number(time), number(value.time.step))});
  }
  Rows memories = {{fmt::format("memory of stage {}", value.stage), "", "share"}};
  for (const MemoryPart& part : kMemories) {
    const Bytes bytes = value.memory.*part.part;
    memories.push_back({std::string(part.name), human(bytes), share(number(bytes), number(value.memory.total()))});
  }
  memories.push_back({"all", human(value.memory.total()), "100.0%"});
  if (value.memory.host > Bytes(0)) memories.push_back({"on the host", human(value.memory.host), ""});
  memories.push_back({"a device has", human(record.machines.device.memory), ""});
  Rows others = {{"other choice", "step", "change"}};
  for (const auto& [name, held] : other_choices(record.strategy, record.target)) {
    const Choice choice = best_with(record, held);
    if (!choice.best) {
      others.push_back({name, "-", choice.why_not});
      continue;
    }
    const Duration step = choice.best->value.time.step;
    others.push_back({name, human(step), change(number(value.time.step), number(step))});
  }
  print(in_words(record) + "\n\n" + as_table({{record.strategy, value}}) + "\n" + table(times) + "\n" +
        table(memories) + "\n" + table(others));
  if (!value.fits) complain("warning", "the strategy does not fit in memory");
  return ExitCode::kDone;
}

ExitCode diff_strategies(const std::filesystem::path& before, const std::filesystem::path& after) {
  const StrategyRecord a = load(before);
  const StrategyRecord b = load(after);
  const StrategyValue value_a = a.value();
  const StrategyValue value_b = b.value();
  std::string text = "A: " + in_words(a) + "\nB: " + in_words(b) + "\n";
  if (!(a.model == b.model)) text += "the models differ\n";
  Rows rows = {{"decision", "A", "B"}};
  const auto decisions_a = decisions(a.strategy);
  const auto decisions_b = decisions(b.strategy);
  const auto add = [&](const nlohmann::ordered_json& all) {
    for (const auto& [key, unused] : all.items()) {
      const std::string left = decisions_a.contains(key) ? decisions_a[key].dump() : "-";
      const std::string right = decisions_b.contains(key) ? decisions_b[key].dump() : "-";
      const auto is_there = [&](const auto& row) { return row.front() == key; };
      if (left != right && std::ranges::none_of(rows, is_there)) rows.push_back({key, left, right});
    }
  };
  add(decisions_a);
  add(decisions_b);
  text += "\n" + (rows.size() > 1 ? table(rows) : "the same decisions\n");
  Rows parts = {{"part", "A", "B", "change"}};
  for (const TimePart& part : kTimes) {
    const Duration left = value_a.time.*part.part;
    const Duration right = value_b.time.*part.part;
    parts.push_back({std::string(part.name), human(left), human(right), change(number(left), number(right))});
  }
  for (const MemoryPart& part : kMemories) {
    const Bytes left = value_a.memory.*part.part;
    const Bytes right = value_b.memory.*part.part;
    parts.push_back({std::string(part.name), human(left), human(right), change(number(left), number(right))});
  }
  const Bytes all_a = value_a.memory.total();
  const Bytes all_b = value_b.memory.total();
  parts.push_back({"memory", human(all_a), human(all_b), change(number(all_a), number(all_b))});
  print(text + "\n" + table(parts));
  return ExitCode::kDone;
}

ExitCode what_if_strategy(const std::filesystem::path& path, double seconds_per_change) {
  const StrategyRecord today = load(path);
  const std::atomic<bool>& interrupted = catch_interrupts();
  using Change = std::function<void(StrategyRecord&)>;
  const std::pair<std::string_view, Change> changes[] = {
      {"as it is", [](StrategyRecord&) {}},
      {"twice the nodes", [](StrategyRecord& r) { r.machines.nodes *= 2; }},
      {"half the nodes", [](StrategyRecord& r) { r.machines.nodes = std::max(1U, r.machines.nodes / 2); }},
      {"fabric twice as fast", [](StrategyRecord& r) { r.machines.fabric_bandwidth *= 2; }},
      {"1.25 times the memory",
       [](StrategyRecord& r) { r.machines.device.memory = Bytes(r.machines.device.memory.value() / 4 * 5); }},
      {"sequences twice as long", [](StrategyRecord& r) { r.run.sequence *= 2; }},
      {"twice the batch", [](StrategyRecord& r) { r.run.global_batch *= 2; }},
  };
  Rows rows = {
      {"change", "this strategy", "best", "tokens/s/device", "tp", "cp", "ep", "pp", "dp", "microbatch", "schedule"}};
  for (const auto& [name, apply] : changes) {
    StrategyRecord then = today;
    apply(then);
    if (then == today && name != changes[0].first) continue;
    // More or fewer nodes hold more or fewer copies.
    StrategyRecord same = then;
    const std::uint64_t others = same.strategy.devices() / same.strategy.data;
    same.strategy.data = static_cast<std::uint32_t>(std::max<std::uint64_t>(1, then.machines.devices() / others));
    const bool is_possible = why_impossible(same.model, same.machines, same.run, same.strategy).empty();
    std::string own = "impossible";
    if (is_possible) {
      const StrategyValue value = same.value();
      own = value.fits ? human(value.time.step) : "does not fit";
    }
    Budget budget(seconds_per_change, std::nullopt);
    budget.watch(&interrupted);
    const Choice choice = best_with(then, {}, budget);
    std::vector<std::string> row = {std::string(name), own, choice.best ? human(choice.best->value.time.step) : "-"};
    if (choice.best) {
      const Strategy& s = choice.best->strategy;
      row.push_back(fmt::format("{:.0f}", choice.best->value.tokens_per_second / static_cast<double>(s.devices())));
      for (const std::uint32_t degree : {s.tensor, s.context, s.expert, s.pipeline, s.data, s.micro_batch}) {
        row.push_back(std::to_string(degree));
      }
      row.push_back(s.pipeline > 1 ? std::string(to_string(s.schedule)) : "-");
    } else {
      row.push_back(choice.why_not);
    }
    row.resize(rows.front().size());
    rows.push_back(std::move(row));
    if (interrupted) break;
  }
  print(in_words(today) + "\n\n" + table(rows));
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

}  // namespace opweave::cli
