#include "experts/schedule_judge.h"

#include <algorithm>
#include <memory>

namespace opweave::detail {
namespace {

/// Steps of a cut's search that one action takes.
constexpr std::int64_t kStepsPerAction = 3;
constexpr std::int64_t kNotYet = -1;

class Timing {
 public:
  Timing(const LayerRow& layers, const StageRounds& rounds, const PipelineSchedule& schedule)
      : layers_(layers), rounds_(rounds), schedule_(schedule) {}

  std::int64_t makespan(const std::vector<std::uint32_t>& layers_of_stage) {
    set_times(layers_of_stage);
    const std::size_t moments = std::size_t{2} * schedule_.stages * schedule_.microbatches;
    done_.assign(moments, {kNotYet, 0});
    waiting_.assign(moments, kNobody);
    next_.assign(schedule_.devices.size(), 0);
    now_.assign(schedule_.devices.size(), 0);
    for (std::uint32_t row = 0; row < schedule_.devices.size(); ++row) active_.push_back(row);
    while (!active_.empty()) {
      const std::uint32_t row = active_.back();
      active_.pop_back();
      run(row);
    }
    return *std::max_element(now_.begin(), now_.end());
  }

 private:
  static constexpr std::uint32_t kNobody = ~0U;
  struct Done {
    std::int64_t end;
    std::uint32_t row;
  };

  void set_times(const std::vector<std::uint32_t>& layers_of_stage) {
    times_.assign(layers_.times.size(), std::vector<LayerTimes>(schedule_.stages));
    hops_.assign(schedule_.stages, 0);
    std::size_t layer = 0;
    for (std::size_t stage = 0; stage < layers_of_stage.size(); ++stage) {
      for (std::uint32_t i = 0; i < layers_of_stage[stage]; ++i, ++layer) {
        for (std::size_t kind = 0; kind < times_.size(); ++kind) times_[kind][stage] += layers_.times[kind][layer];
      }
      if (!layers_.hops.empty() && layer > 0) hops_[stage] = layers_.hops[layer - 1].value();
    }
  }

  [[nodiscard]] std::size_t forward(std::uint32_t stage, std::uint32_t microbatch) const {
    return std::size_t{stage} * schedule_.microbatches + microbatch;
  }
  [[nodiscard]] std::size_t backward(std::uint32_t stage, std::uint32_t microbatch) const {
    return forward(schedule_.stages + stage, microbatch);
  }

  /// Moves `start` to when a result is on the row; false, and the row waits for it, while it is not there.
  bool arrives(std::size_t result, std::int64_t hop, std::uint32_t row, std::int64_t& start) {
    const Done& done = done_[result];
    if (done.end == kNotYet) {
      waiting_[result] = row;
      return false;
    }
    start = std::max(start, done.end + (done.row == row ? 0 : hop));
    return true;
  }
  bool forward_arrives(std::uint32_t stage, std::uint32_t microbatch, std::uint32_t row, std::int64_t& start) {
    return stage == 0 || arrives(forward(stage - 1, microbatch), hops_[stage - 1], row, start);
  }
  bool backward_arrives(std::uint32_t stage, std::uint32_t microbatch, std::uint32_t row, std::int64_t& start) {
    if (!arrives(forward(stage, microbatch), 0, row, start)) return false;
    return stage + 1 == schedule_.stages || arrives(backward(stage + 1, microbatch), hops_[stage], row, start);
  }

  void finish(std::size_t result, std::uint32_t row, std::int64_t end) {
    done_[result] = {end, row};
    if (waiting_[result] != kNobody) active_.push_back(waiting_[result]);
  }

  /// The actions of a row until one must wait.
  void run(std::uint32_t row) {
    const auto& actions = schedule_.devices[row];
    const auto& times = times_[rounds_.kind_of(row)];
    for (; next_[row] < actions.size(); ++next_[row]) {
      const PipelineAction& action = actions[next_[row]];
      const LayerTimes& here = times[action.stage];
      std::int64_t start = now_[row];
      switch (action.kind) {
        case ActionKind::kForward:
          if (!forward_arrives(action.stage, action.microbatch, row, start)) return;
          now_[row] = start + here.forward.value();
          finish(forward(action.stage, action.microbatch), row, now_[row]);
          break;
        case ActionKind::kInputGradient:
        case ActionKind::kBackward: {
          if (!backward_arrives(action.stage, action.microbatch, row, start)) return;
          const bool both = action.kind == ActionKind::kBackward;
          now_[row] = start + here.input_gradient.value() + (both ? here.weight_gradient.value() : 0);
          finish(backward(action.stage, action.microbatch), row, now_[row]);
          break;
        }
        case ActionKind::kWeightGradient:
          now_[row] = start + here.weight_gradient.value();  // after its I, which the row ran before
          break;
        case ActionKind::kPair: {
          if (!forward_arrives(action.stage, action.microbatch, row, start)) return;
          if (!backward_arrives(action.backward_stage, action.backward_microbatch, row, start)) return;
          const LayerTimes& back = times[action.backward_stage];
          now_[row] = start + (here.forward + back.input_gradient + back.weight_gradient).value();
          finish(forward(action.stage, action.microbatch), row, now_[row]);
          finish(backward(action.backward_stage, action.backward_microbatch), row, now_[row]);
          break;
        }
      }
    }
  }

  LayerRow layers_;
  StageRounds rounds_;
  PipelineSchedule schedule_;
  std::vector<std::vector<LayerTimes>> times_;  // by kind of device, by stage
  std::vector<std::int64_t> hops_;              // from each stage to the next
  std::vector<Done> done_;                      // by result
  std::vector<std::uint32_t> waiting_;          // row that waits for a result
  std::vector<std::size_t> next_;               // action of each row
  std::vector<std::int64_t> now_;
  std::vector<std::uint32_t> active_;
};

}  // namespace

CutJudge schedule_judge(const LayerRow& layers, const StageRounds& rounds, const PipelineSchedule& schedule) {
  std::int64_t actions = 0;
  for (const auto& row : schedule.devices) actions += static_cast<std::int64_t>(row.size());
  auto timing = std::make_shared<Timing>(layers, rounds, schedule);
  CutJudge judge;
  judge.value = [timing](const std::vector<std::uint32_t>& cut) { return timing->makespan(cut); };
  judge.steps = kStepsPerAction * std::max<std::int64_t>(1, actions);
  return judge;
}

}  // namespace opweave::detail
