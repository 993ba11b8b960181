#include "support/pipeline_optimum.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>
#include <vector>

namespace opweave::testing {
namespace {

class PipelineSearch {
 public:
  PipelineSearch(const LinearPipeline& pipeline, std::int64_t limit)
      : p_(pipeline),
        cost_{pipeline.forward, pipeline.input_gradient, pipeline.weight_gradient},
        best_(limit),
        stages_(static_cast<std::size_t>(pipeline.devices)) {}

  std::optional<std::int64_t> run() {
    const std::int64_t limit = best_;
    choose(0, 0);
    return best_ < limit ? std::optional(best_) : std::nullopt;
  }

 private:
  enum Kind : std::size_t { kForward, kInputGradient, kWeightGradient, kKinds };
  struct Stage {
    std::array<int, kKinds> started{};
    std::array<int, kKinds> ended{};
    std::optional<Kind> running;
    std::int64_t end = 0;
  };

  [[nodiscard]] bool can_start(std::size_t d, Kind kind) const {
    const Stage& stage = stages_[d];
    const int next = stage.started[kind];
    if (next == p_.microbatches) return false;
    switch (kind) {
      case kForward:
        return next - stage.ended[kWeightGradient] < p_.activations &&
               (d == 0 || stages_[d - 1].ended[kForward] > next);
      case kInputGradient:
        return d + 1 == stages_.size() ? stage.ended[kForward] > next : stages_[d + 1].ended[kInputGradient] > next;
      default:
        return stage.ended[kInputGradient] > next;
    }
  }

  /// Decides for devices from `d` on what they start at `now`.
  void choose(std::int64_t now, std::size_t d) {
    while (d < stages_.size() && stages_[d].running) ++d;
    if (d == stages_.size()) {
      go_on(now);
      return;
    }
    for (const Kind kind : {kInputGradient, kForward, kWeightGradient}) {
      if (!can_start(d, kind)) continue;
      Stage& stage = stages_[d];
      stage.running = kind;
      stage.end = now + cost_[kind];
      ++stage.started[kind];
      choose(now, d + 1);
      --stages_[d].started[kind];
      stages_[d].running.reset();
    }
    choose(now, d + 1);  // it waits
  }

  /// No plan from here ends earlier.
  [[nodiscard]] std::int64_t lower_bound(std::int64_t next) const {
    std::int64_t bound = 0;
    const auto devices = static_cast<std::int64_t>(stages_.size());
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      const Stage& stage = stages_[i];
      const auto d = static_cast<std::int64_t>(i);
      const std::int64_t free = stage.running ? stage.end : next;
      std::int64_t work = 0;
      for (std::size_t k = 0; k < kKinds; ++k) work += (p_.microbatches - stage.started[k]) * cost_[k];
      bound = std::max(bound, free + work);
      const int forwards = p_.microbatches - stage.started[kForward];
      const int gradients = p_.microbatches - stage.started[kInputGradient];
      const std::int64_t back = cost_[kWeightGradient];
      if (forwards > 0) {
        bound = std::max(bound, free + forwards * cost_[kForward] + (devices - 1 - d) * cost_[kForward] +
                                    devices * cost_[kInputGradient] + back);
      }
      if (gradients > 0) bound = std::max(bound, free + (gradients + d) * cost_[kInputGradient] + back);
    }
    return bound;
  }

  void go_on(std::int64_t now) {
    std::int64_t next = -1;
    bool done = true;
    for (const Stage& stage : stages_) {
      if (stage.running && (next < 0 || stage.end < next)) next = stage.end;
      done = done && stage.ended[kWeightGradient] == p_.microbatches;
    }
    if (done) {
      best_ = std::min(best_, now);
      return;
    }
    if (next < 0 || lower_bound(next) >= best_) return;
    std::string state;
    for (const Stage& stage : stages_) {
      for (std::size_t k = 0; k < kKinds; ++k) state.push_back(static_cast<char>(stage.started[k]));
      state.push_back(stage.running ? static_cast<char>('1' + *stage.running) : '0');
      const std::int64_t left = stage.running ? stage.end - now : 0;
      state.append(reinterpret_cast<const char*>(&left), 3);
    }
    const auto [entry, is_new] = seen_.try_emplace(std::move(state), now);
    if (!is_new) {
      if (entry->second <= now) return;
      entry->second = now;
    }
    std::vector<std::size_t> ended;
    for (std::size_t d = 0; d < stages_.size(); ++d) {
      if (!stages_[d].running || stages_[d].end != next) continue;
      ++stages_[d].ended[*stages_[d].running];
      ended.push_back(d);
    }
    std::vector<Kind> kinds;
    for (const std::size_t d : ended) {
      kinds.push_back(*stages_[d].running);
      stages_[d].running.reset();
    }
    choose(next, 0);
    for (std::size_t i = 0; i < ended.size(); ++i) {
      Stage& stage = stages_[ended[i]];
      --stage.ended[kinds[i]];
      stage.running = kinds[i];
      stage.end = next;
    }
  }

  const LinearPipeline p_;
  const std::array<std::int64_t, kKinds> cost_;
  std::int64_t best_;
  std::vector<Stage> stages_;
  std::unordered_map<std::string, std::int64_t> seen_;
};

}  // namespace

std::optional<std::int64_t> pipeline_optimum(const LinearPipeline& pipeline, std::int64_t limit) {
  return PipelineSearch(pipeline, limit).run();
}

}  // namespace opweave::testing
