#include <fmt/format.h>

#include <algorithm>

#include "cli/strategy_insight.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

std::string recompute_text(const Strategy& strategy) {
  if (strategy.recompute != Recompute::kFull) return std::string(to_string(strategy.recompute));
  if (!strategy.recomputed_per_stage.empty()) {
    const auto [least, most] = std::ranges::minmax(strategy.recomputed_per_stage);
    return fmt::format("{} to {} layers", least, most);
  }
  if (!strategy.recomputed_layers) return "full";
  return fmt::format("{} layer{}", *strategy.recomputed_layers, *strategy.recomputed_layers == 1 ? "" : "s");
}

std::string share(Duration part, Duration whole) {
  return percent(static_cast<double>(part.value()) / static_cast<double>(whole.value()));
}

}  // namespace

std::string as_table(const std::vector<RankedStrategy>& ranked) {
  std::vector<std::vector<std::string>> rows = {{"tp", "cp", "ep", "pp", "dp", "microbatch", "schedule", "sharding",
                                                 "recompute", "step", "tokens/s/device", "MFU", "memory", "bubble",
                                                 "communication", "made again"}};
  for (const auto& [s, value, mesh] : ranked) {
    const StepTime& t = value.time;
    const std::string pipeline = s.chunks > 1 ? fmt::format("{}x{}", s.pipeline, s.chunks) : std::to_string(s.pipeline);
    rows.push_back({std::to_string(s.tensor), std::to_string(s.context), std::to_string(s.expert), pipeline,
                    std::to_string(s.data), std::to_string(s.micro_batch),
                    s.pipeline > 1 ? std::string(to_string(s.schedule)) : "-", std::string(to_string(s.sharding)),
                    recompute_text(s), human(t.step),
                    fmt::format("{:.0f}", value.tokens_per_second / static_cast<double>(s.devices())),
                    percent(value.mfu), human(value.memory.total()), share(t.bubble, t.step),
                    share(t.tensor + t.expert + t.data + t.hops, t.step), share(t.recompute, t.step)});
  }
  return table(rows);
}

}  // namespace opweave::cli
