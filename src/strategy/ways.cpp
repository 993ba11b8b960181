#include "strategy/ways.h"

#include <algorithm>
#include <cmath>

namespace opweave::strategy {

bool is_valued_by_ways(const Strategy& strategy) {
  const bool sets_apart =
      strategy.schedule == PipelineKind::kZeroBubble1 || strategy.schedule == PipelineKind::kZeroBubble2;
  return strategy.component.has_value() && sets_apart;
}

PassSeconds operator+(const PassSeconds& a, const PassSeconds& b) {
  return {a.forward + b.forward, a.backward + b.backward, a.weight + b.weight};
}
PassSeconds operator-(const PassSeconds& a, const PassSeconds& b) {
  return {a.forward - b.forward, a.backward - b.backward, a.weight - b.weight};
}

PassSeconds passes_in(const LayerTime& time) {
  const double weight = weight_gradient_seconds({time, 0});
  return {time.forward.total(), time.backward.total() - weight, weight};
}

double longest_way(const PassSeconds& own, const PassesAround& around, double microbatches) {
  const auto& [before, behind] = around;
  // The stage has nothing to do before the first microbatch has come to it.
  const double all_work = before.forward + microbatches * (own.forward + own.backward + own.weight);
  // What the last one made goes back through the stages before.
  const double and_back = before.forward + before.backward + microbatches * (own.forward + own.backward);
  // Before the first backward pass has come from behind there are forward passes alone.
  const double came_back = before.forward + own.forward + behind.forward + behind.backward;
  const double from_behind = came_back + microbatches * (own.backward + own.weight);
  const double all_around = came_back + microbatches * own.backward + before.backward;
  return std::max({all_work, and_back, from_behind, all_around});
}

double longest_way(const std::vector<StageTime>& stages, double microbatches) {
  PassSeconds all;
  for (const StageTime& stage : stages) all = all + passes_in(stage.time);
  PassSeconds before;
  double longest = 0;
  for (const StageTime& stage : stages) {
    const PassSeconds work = passes_in(stage.time);
    PassSeconds own = work;
    own.backward += stage.recompute + stage.offload;
    longest = std::max(longest, longest_way(own, {before, all - before - work}, microbatches));
    before = before + work;
  }
  return longest;
}

double least_longest_way(double all, double forward_share, double before, double stages, double microbatches) {
  if (forward_share <= 0) return before + microbatches * all / stages;
  // A way of so many seconds allows stage i, behind forward passes of at least share x what the i stages before it
  // take, (way - before - share x these) / microbatches: together way / share x (1 - (1 - share /
  // microbatches)^stages).
  const double covered = 1 - std::pow(1 - forward_share / microbatches, stages);
  return before + forward_share * all / covered;
}

}  // namespace opweave::strategy
