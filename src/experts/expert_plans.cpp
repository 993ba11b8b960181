#include <algorithm>
#include <iterator>

#include "experts/stage_layout.h"
#include "opweave/experts.h"
#include "opweave/plan.h"

namespace opweave {

namespace {

using detail::StageLayout;
using detail::Work;

/// Chunks per device that are tried on a loop where stages are free to be joined; 2 are what the name alone means.
constexpr std::uint32_t kFewestChunks = 2;
constexpr std::uint32_t kMostChunks = 4;

/// The microbatches of a two-way schedule are halves; those of the problem are bound to replicas in any way.
/// False where the replicas are not two of equal size.
bool bind_directions(const Training& training, PipelineSchedule& schedule) {
  std::vector<std::uint32_t> microbatches[2];
  for (std::uint32_t microbatch = 0; microbatch < training.microbatches; ++microbatch) {
    const std::uint32_t replica = training.replica_of(microbatch);
    if (replica > 1) return false;
    microbatches[replica].push_back(microbatch);
  }
  const std::size_t half = microbatches[0].size();
  if (half != microbatches[1].size()) return false;
  const auto bound = [&](std::uint32_t microbatch) {
    return microbatch < half ? microbatches[0][microbatch] : microbatches[1][microbatch - half];
  };
  for (auto& row : schedule.devices) {
    for (PipelineAction& action : row) {
      action.microbatch = bound(action.microbatch);
      if (action.kind == ActionKind::kPair) action.backward_microbatch = bound(action.backward_microbatch);
    }
  }
  return true;
}

bool has_pairs(const PipelineSchedule& schedule) {
  return std::any_of(schedule.devices.begin(), schedule.devices.end(), [](const auto& row) {
    return std::any_of(row.begin(), row.end(),
                       [](const PipelineAction& action) { return action.kind == ActionKind::kPair; });
  });
}

/// Makes the plans of the experts one by one.
class Planner {
 public:
  Planner(const Problem& problem, StageLayout layout, const Budget& budget)
      : problem_(problem), layout_(std::move(layout)), budget_(budget), devices_(detail::used_devices(problem)) {
    hop_ = detail::hop_latency(problem, layout_, devices_);
    times_ = {layout_.total_time(Work::kForward), layout_.total_time(Work::kInputGradient),
              layout_.total_time(Work::kWeightGradient), hop_};
    placed_ = cut_of_placement();
  }

  /// With the number of chunks that the name alone means, and, of the others that a loop may have, with the one whose
  /// plan is the shortest that fits, if that is shorter.
  void add(Expert expert, std::vector<ExpertPlan>& result) const {
    std::vector<ExpertPlan> first;
    std::vector<ExpertPlan> best;
    std::optional<std::pair<bool, Duration>> least;
    const std::vector<std::uint32_t> choices = chunks_of(expert);
    for (const std::uint32_t chunks : choices) {
      std::vector<ExpertPlan> plans = plans_of(expert, chunks);
      if (plans.empty()) continue;
      const auto value = rank(plans.front().schedule, choices.size() > 1);
      if (least && *least <= value) continue;
      (least ? best : first) = std::move(plans);
      least = value;
    }
    std::ranges::move(first, std::back_inserter(result));
    std::ranges::move(best, std::back_inserter(result));
  }

 private:
  /// What fits comes first, then what is short; whether it fits is asked only where there is a choice.
  [[nodiscard]] std::pair<bool, Duration> rank(const Schedule& schedule, bool is_choice) const {
    return {is_choice && !fits(schedule), schedule.makespan(problem_)};
  }

  [[nodiscard]] bool fits(const Schedule& schedule) const {
    const PlanStatistics figures = statistics(problem_, schedule);
    for (std::size_t device = 0; device < figures.devices.size(); ++device) {
      const auto capacity = problem_.capacity(DeviceId(device));
      if (capacity && figures.devices[device].peak_memory > *capacity) return false;
    }
    return true;
  }

  [[nodiscard]] std::optional<StageCut> cut_of_placement() const {
    StageCut cut;
    std::optional<DeviceId> last;
    for (std::uint32_t stage = 0; stage < layout_.stages(); ++stage) {
      std::optional<DeviceId> here;
      for (const Work work : {Work::kForward, Work::kBackward}) {
        for (const OperatorId op : layout_.operators(stage, work)) {
          const auto devices = problem_.devices_of(problem_.group_of(problem_.task_of(op, 0)));
          if (devices.size() != 1 || (here && *here != devices.front())) return std::nullopt;
          here = devices.front();
        }
      }
      if (!last || (here && here != last)) cut.layers_of_stage.push_back(0);
      ++cut.layers_of_stage.back();
      if (here) last = here;
    }
    return cut;
  }

  [[nodiscard]] std::vector<std::uint32_t> chunks_of(Expert expert) const {
    if (devices_.empty()) return {};
    const auto devices = static_cast<std::uint32_t>(devices_.size());
    const std::uint32_t stages = layout_.problem_stages();
    if (shape_of(expert) != PipelineShape::kLoop) return {shape_of(expert) == PipelineShape::kV ? 2U : 1U};
    if (placed_) {
      const auto runs = static_cast<std::uint32_t>(placed_->layers_of_stage.size());
      std::vector<std::uint32_t> result = {(stages + devices - 1) / devices};
      if (runs / devices != result.front()) result.push_back(runs / devices);
      std::erase_if(result, [](std::uint32_t chunks) { return chunks < kFewestChunks; });
      return result;
    }
    std::vector<std::uint32_t> result = {kFewestChunks};
    for (std::uint32_t chunks = kFewestChunks + 1; chunks <= std::min(kMostChunks, stages / devices); ++chunks) {
      result.push_back(chunks);
    }
    return result;
  }

  [[nodiscard]] std::vector<ExpertPlan> plans_of(Expert expert, std::uint32_t chunks) const {
    const Training& training = problem_.settings().training;
    auto rows = static_cast<std::uint32_t>(devices_.size());
    if (!placed_) rows = std::min(rows, layout_.problem_stages() / chunks);
    const ExpertSize size{rows, training.microbatches, chunks, {}};
    if (rows == 0 || budget_.expired()) return {};
    const std::int64_t stages = stages_of(expert, size);
    const auto mean = [&](Duration total) { return Duration(total.value() / stages); };
    auto schedule =
        generate(expert, size, {mean(times_.forward), mean(times_.input_gradient), mean(times_.weight_gradient), hop_});
    if (!schedule) return {};
    if (schedule->shape == PipelineShape::kTwoWay && !bind_directions(training, *schedule)) return {};
    std::string name(to_string(expert));
    if (schedule->shape == PipelineShape::kLoop && chunks != kFewestChunks) {
      name += " (" + std::to_string(chunks) + (chunks == 1 ? " chunk)" : " chunks)");
    }
    std::vector<ExpertPlan> best;
    std::optional<std::pair<bool, Duration>> least;
    const std::vector<StageLayout> choices = layouts_for(*schedule);
    for (const StageLayout& layout : choices) {
      std::vector<ExpertPlan> plans = simulated(expert, name, *schedule, layout);
      if (plans.empty()) continue;
      const auto value = rank(plans.front().schedule, choices.size() > 1);
      if (least && *least <= value) continue;
      best = std::move(plans);
      least = value;
    }
    return best;
  }

  /// Where the placement leaves it open, joined as is best under the schedule alone, and evenly: what the judge of a
  /// cut cannot know, memory and branches, may favour the one or the other.
  [[nodiscard]] std::vector<StageLayout> layouts_for(const PipelineSchedule& schedule) const {
    std::vector<StageLayout> result = {layout_};
    StageLayout& layout = result.front();
    if (schedule.stages == layout.problem_stages()) return result;
    if (placed_ && schedule.stages > layout.problem_stages()) {
      if (schedule.stages - layout.problem_stages() >= schedule.devices.size()) return {};
      layout.add_empty(schedule.stages);
    } else if (placed_ && schedule.stages == placed_->layers_of_stage.size()) {
      layout.join(*placed_);
    } else if (schedule.stages < layout.problem_stages()) {
      const StageCut best = detail::cut_for(problem_, layout_, schedule, devices_, hop_);
      const StageCut even = detail::even_cut(layout_, schedule, devices_);
      layout.join(best);
      if (best.layers_of_stage == even.layers_of_stage) return result;
      result.push_back(layout_);
      result.back().join(even);
    } else {
      return {};
    }
    return result;
  }

  [[nodiscard]] std::vector<ExpertPlan> simulated(Expert expert, const std::string& name,
                                                  const PipelineSchedule& schedule, const StageLayout& layout) const {
    std::vector<ExpertPlan> result;
    for (const PairMode pairs : {PairMode::kAtomic, PairMode::kSplit}) {
      if (pairs == PairMode::kSplit && !has_pairs(schedule)) continue;
      if (budget_.expired()) return result;
      std::string reason;  // an expert that does not fit is no error here
      const auto order = detail::order_of(problem_, layout, schedule, pairs, reason);
      if (!order) break;
      SimulationOptions options;
      options.contention = problem_.settings().contention;
      SimulationResult of_order = simulate(problem_, *order, options);
      if (!of_order.deadlocked.empty()) continue;
      const std::string suffix = pairs == PairMode::kSplit ? " (split)" : "";
      result.push_back({expert, name + suffix, schedule, std::move(of_order.schedule)});
    }
    return result;
  }

  const Problem& problem_;
  StageLayout layout_;
  const Budget& budget_;
  std::vector<DeviceId> devices_;
  Duration hop_;
  StageCosts times_;                ///< of all stages together
  std::optional<StageCut> placed_;  ///< where every stage has one device: consecutive ones with the same device
};

}  // namespace

std::vector<ExpertPlan> expert_plans(const Problem& problem, const Budget& budget) {
  std::vector<ExpertPlan> result;
  auto layout = StageLayout::of(problem);
  if (!layout) return result;
  const Planner planner(problem, std::move(*layout), budget);
  // Schedules on loops come in several sizes: last, where time is short.
  for (const bool on_loops : {false, true}) {
    for (const Expert expert : kAllExperts) {
      if (budget.expired()) break;
      if ((shape_of(expert) == PipelineShape::kLoop) == on_loops) planner.add(expert, result);
    }
  }
  const auto place = [](const ExpertPlan& plan) { return std::ranges::find(kAllExperts, plan.expert); };
  std::ranges::stable_sort(result, {}, place);
  return result;
}

}  // namespace opweave
