#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/strategy_insight.h"
#include "report/format.h"
#include "report/names.h"
#include "report/strategy_words.h"

namespace opweave::cli {
std::string recompute_text(const Strategy& s) {
  std::vector<std::string> parts;
  if (s.recompute == Recompute::kFull && !s.recomputed_per_stage.empty()) {
    const auto [least, most] = std::ranges::minmax(s.recomputed_per_stage);
    parts.push_back(fmt::format("{} to {} layers", least, most));
  } else if (s.recompute == Recompute::kFull) {
    parts.push_back(!s.recomputed_layers
                        ? "full"
                        : fmt::format("{} layer{}", *s.recomputed_layers, *s.recomputed_layers == 1 ? "" : "s"));
  }
  if (!s.modules_per_stage.empty()) {
    parts.emplace_back("modules by stage");
  } else if (!s.recomputed_modules.empty()) {
    parts.push_back(to_string(s.recomputed_modules, "+"));
  }
  return parts.empty() ? "none" : fmt::format("{}", fmt::join(parts, ", "));
}

std::string offload_text(const Strategy& s) {
  std::vector<std::string> parts;
  if (!s.offload_per_stage.empty()) {
    const auto [least, most] = std::ranges::minmax(s.offload_per_stage);
    parts.push_back(fmt::format("activations {:.0f} to {:.0f}%", 100 * least, 100 * most));
  } else if (s.activation_offload > 0) {
    parts.push_back(fmt::format("activations {:.0f}%", 100 * s.activation_offload));
  }
  if (s.optimizer_offload > 0) parts.push_back(fmt::format("optimizer {:.0f}%", 100 * s.optimizer_offload));
  return parts.empty() ? "-" : fmt::format("{}", fmt::join(parts, ", "));
}

std::string as_table(const std::vector<RankedStrategy>& ranked) {
  std::vector<std::vector<std::string>> rows = {{"tp", "cp", "ep", "pp", "dp", "microbatch", "schedule", "sharding",
                                                 "recompute", "on the host", "step", "tokens/s/device", "MFU", "memory",
                                                 "bubble", "communication", "made again"}};
  // A column of its own where some component has a mesh of its own.
  const auto with_mesh =
      std::ranges::find_if(ranked, [](const auto& one) { return one.strategy.component.has_value(); });
  const bool has_meshes = with_mesh != ranked.end();
  if (has_meshes) rows.front().insert(rows.front().begin(), readable(with_mesh->strategy.component->name));
  const auto has_alike = [](const RankedStrategy& one) { return one.alike > 0; };
  const bool tells_alike = std::ranges::any_of(ranked, has_alike);
  if (tells_alike) rows.front().emplace_back("equal ones");
  for (const RankedStrategy& one : ranked) {
    const Strategy& s = one.strategy;
    const StrategyValue& value = one.value;
    const StepTime& t = value.time;
    const std::string pipeline = s.chunks > 1 ? fmt::format("{}x{}", s.pipeline, s.chunks) : std::to_string(s.pipeline);
    rows.push_back({std::to_string(s.tensor), std::to_string(s.context), std::to_string(s.expert), pipeline,
                    std::to_string(s.data), std::to_string(s.micro_batch),
                    s.stages() > 1 ? std::string(to_string(s.schedule)) : "-", std::string(to_string(s.sharding)),
                    recompute_text(s), offload_text(s), human(t.step),
                    fmt::format("{:.0f}", value.tokens_per_second / static_cast<double>(s.devices())),
                    percent(value.mfu), human(value.memory.total()), percent(t.bubble, t.step),
                    percent(t.tensor + t.expert + t.data + t.hops + t.offload, t.step), percent(t.recompute, t.step)});
    if (tells_alike) rows.back().push_back(has_alike(one) ? fmt::format("{} more", one.alike) : "-");
    if (!has_meshes) continue;
    rows.back().insert(rows.back().begin(), s.component ? component_mesh_text(*s.component) : "as the others");
  }
  return table(rows);
}

}  // namespace opweave::cli
