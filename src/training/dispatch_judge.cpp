// What a cut makes possible: the iteration if every device always runs what is ready.
#include <algorithm>
#include <memory>
#include <queue>
#include <tuple>

#include "opweave/cut.h"

namespace opweave {
namespace {

/// More microbatches per device tell no more about a cut.
constexpr std::uint32_t kMicrobatchesPerDevice = 4;
/// A heap's worth of steps for each task.
constexpr std::int64_t kStepsPerTask = 15;

enum class Step : std::uint8_t { kInputGradient, kForward, kWeightGradient };  // in the order of their urgency

struct DispatchedTask {
  Step step;
  std::uint32_t stage;
  std::uint32_t microbatch;

  /// Among tasks of a kind the one furthest on its way goes first, then the oldest microbatch.
  [[nodiscard]] auto urgency() const { return std::tuple(step, step == Step::kForward ? ~stage : stage, microbatch); }
  bool operator<(const DispatchedTask& other) const {
    return urgency() > other.urgency();
  }  // for a heap with the first on top
};

class Dispatch {
 public:
  Dispatch(const LayerRow& layers, const StageRounds& rounds, std::uint32_t microbatches)
      : layers_(layers), rounds_(rounds), microbatches_(microbatches) {
    const std::int64_t all = rounds.runs + rounds.opposite_runs;
    opposite_from_ = static_cast<std::uint32_t>(microbatches * rounds.runs / all);
  }

  std::int64_t run(const std::vector<std::uint32_t>& layers_of_stage) {
    set_times(layers_of_stage);
    devices_.assign(rounds_.devices, {});
    for (std::uint32_t microbatch = 0; microbatch < microbatches_; ++microbatch) {
      arrive(0, {Step::kForward, 0, microbatch});
    }
    std::int64_t end = 0;
    while (!events_.empty()) {
      const std::int64_t now = events_.top().time;
      woken_.clear();
      for (; !events_.empty() && events_.top().time == now; events_.pop()) {
        const Event& event = events_.top();
        if (event.is_arrival) devices_[event.device].ready.push(event.task);
        woken_.push_back(event.device);
      }
      for (const std::uint32_t device : woken_) end = std::max(end, start_next(device, now));
    }
    return end;
  }

 private:
  struct Event {
    std::int64_t time;
    std::uint32_t device;
    bool is_arrival;
    DispatchedTask task;
    bool operator<(const Event& other) const { return time > other.time; }
  };
  struct Device {
    std::priority_queue<DispatchedTask> ready;
    std::int64_t free = 0;
  };

  void set_times(const std::vector<std::uint32_t>& layers_of_stage) {
    times_.assign(layers_.times.size(), std::vector<LayerTimes>(layers_of_stage.size()));
    hops_.assign(layers_of_stage.size(), 0);
    std::uint32_t layer = 0;
    for (std::size_t stage = 0; stage < layers_of_stage.size(); ++stage) {
      for (std::uint32_t i = 0; i < layers_of_stage[stage]; ++i, ++layer) {
        for (std::size_t kind = 0; kind < times_.size(); ++kind) times_[kind][stage] += layers_.times[kind][layer];
      }
      if (!layers_.hops.empty() && layer > 0) hops_[stage] = layers_.hops[layer - 1].value();
    }
  }

  [[nodiscard]] std::uint32_t device_of(const DispatchedTask& task) const {
    return rounds_.device_of(task.stage, task.microbatch >= opposite_from_);
  }

  void arrive(std::int64_t time, const DispatchedTask& task) { events_.push({time, device_of(task), true, task}); }

  /// End of the task that the device starts now; 0 if it starts none.
  std::int64_t start_next(std::uint32_t device, std::int64_t now) {
    Device& here = devices_[device];
    if (here.free > now || here.ready.empty()) return 0;
    const DispatchedTask task = here.ready.top();
    here.ready.pop();
    const LayerTimes& times = times_[rounds_.kind_of(device)][task.stage];
    const Duration duration = task.step == Step::kForward         ? times.forward
                              : task.step == Step::kInputGradient ? times.input_gradient
                                                                  : times.weight_gradient;
    const std::int64_t end = now + duration.value();
    here.free = end;
    events_.push({end, device, false, task});
    const auto hand_on = [&](const DispatchedTask& next, std::uint32_t hop) {
      arrive(end + (device_of(next) == device ? 0 : hops_[hop]), next);
    };
    if (task.step == Step::kForward && task.stage + 1 < hops_.size()) {
      hand_on({Step::kForward, task.stage + 1, task.microbatch}, task.stage);
    } else if (task.step == Step::kForward) {
      arrive(end, {Step::kInputGradient, task.stage, task.microbatch});
    } else if (task.step == Step::kInputGradient) {
      arrive(end, {Step::kWeightGradient, task.stage, task.microbatch});
      if (task.stage > 0) hand_on({Step::kInputGradient, task.stage - 1, task.microbatch}, task.stage - 1);
    }
    return end;
  }

  const LayerRow& layers_;
  const StageRounds& rounds_;
  std::uint32_t microbatches_;
  std::uint32_t opposite_from_;                 ///< first microbatch that runs the opposite way
  std::vector<std::vector<LayerTimes>> times_;  // by kind of device, by stage
  std::vector<std::int64_t> hops_;              // from each stage to the next
  std::vector<Device> devices_;
  std::priority_queue<Event> events_;
  std::vector<std::uint32_t> woken_;
};

}  // namespace

CutJudge dispatch_judge(const LayerRow& layers, const StageRounds& rounds, std::uint32_t microbatches) {
  const std::uint32_t some = std::min(microbatches, kMicrobatchesPerDevice * rounds.devices);
  auto dispatch = std::make_shared<Dispatch>(layers, rounds, some);
  CutJudge judge;
  judge.value = [dispatch](const std::vector<std::uint32_t>& cut) { return dispatch->run(cut); };
  judge.steps = kStepsPerTask * 3 * some * rounds.stages();
  return judge;
}

}  // namespace opweave
