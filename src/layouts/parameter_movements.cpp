#include "layouts/parameter_movements.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cost/movement.h"
#include "opweave/error.h"

namespace opweave {
namespace {

/// Who reads a parameter, by what it is to them.
struct Readers {
  std::vector<OperatorId> forward;    ///< phase F, or none
  std::vector<OperatorId> backward;   ///< I, W and B
  std::vector<OperatorId> updates;    ///< W and B: they add to its gradient
  std::vector<OperatorId> optimizer;  ///< O
};

class Movements {
 public:
  Movements(const LayoutProblem& problem, const LayoutSelection& selection)
      : problem_(problem), selection_(selection), graph_(problem.graph().graph), readers_(graph_.parameters().size()) {
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) {
      const Operator& op = graph_.operators()[i];
      for (const ParameterId parameter : op.parameters) add(readers_[parameter.index()], OperatorId(i), op.phase);
    }
  }

  std::vector<ParameterMovement> all() {
    for (std::size_t p = 0; p < readers_.size(); ++p) move(ParameterId(p));
    return std::move(result_);
  }

 private:
  static void add(Readers& readers, OperatorId op, Phase phase) {
    if (phase == Phase::kForward || phase == Phase::kNone) readers.forward.push_back(op);
    if (phase == Phase::kInputGradient) readers.backward.push_back(op);
    if (phase == Phase::kWeightGradient || phase == Phase::kBackward) {
      readers.backward.push_back(op);
      readers.updates.push_back(op);
    }
    if (phase == Phase::kOptimizer) readers.optimizer.push_back(op);
  }

  void move(ParameterId id) {
    const Readers& readers = readers_[id.index()];
    if (readers.forward.empty() && readers.backward.empty()) return;
    const OperatorId any = readers.forward.empty() ? readers.backward.front() : readers.forward.front();
    const std::vector<DeviceId>& devices = problem_.option(any, selection_).devices;
    const ParameterParts parts = problem_.parts(id, selection_);
    const auto copies = static_cast<std::int64_t>(devices.size() / parts.split);
    if (copies <= 1) return;
    rate_ = rate_of(id, devices, parts.split);

    const std::int64_t weights = graph_.at(id).weights.value();
    const Bytes part((weights + parts.split - 1) / parts.split);
    const Bytes gradient((gradient_bytes(weights) + parts.split - 1) / parts.split);
    const Duration gather = gather_time(rate_, copies).of(part);
    const auto make = [&](Moved moved, LayoutMovementKind kind, Duration duration, Phase phase) {
      ParameterMovement movement{{{}, kind, devices, {}, {}}, duration, phase, {}, {}, {}};
      movement.movement.key.moved = moved;
      movement.movement.key.parameter = id;
      return movement;
    };
    constexpr auto kGather = LayoutMovementKind::kAllGather;
    if (parts.weights > parts.split) {
      for (const bool is_forward : {true, false}) {
        const std::vector<OperatorId>& those = is_forward ? readers.forward : readers.backward;
        if (those.empty()) continue;
        const Phase phase = is_forward ? graph_.at(those.front()).phase : Phase::kInputGradient;
        const Moved moved = is_forward ? Moved::kForwardWeights : Moved::kBackwardWeights;
        ParameterMovement& movement = result_.emplace_back(make(moved, kGather, gather, phase));
        movement.value = part;
        movement.others = those;
      }
    }
    if (parts.gradients > parts.split) {
      // Only a part is kept, so each operator's gradient is reduced at once.
      for (const OperatorId op : readers.updates) {
        ParameterMovement& movement =
            result_.emplace_back(make(Moved::kGradient, LayoutMovementKind::kReduceScatter,
                                      gather_time(rate_, copies).of(gradient), Phase::kWeightGradient));
        movement.movement.key.op = op;
        movement.value = gradient;
        movement.others = {op};
      }
    } else if (!readers.updates.empty()) {
      const bool is_whole = parts.optimizer == parts.split;
      const Duration duration =
          is_whole ? all_reduce_time(rate_, copies).of(gradient) : gather_time(rate_, copies).of(gradient);
      const auto kind = is_whole ? LayoutMovementKind::kAllReduce : LayoutMovementKind::kReduceScatter;
      result_.emplace_back(make(Moved::kGradient, kind, duration, Phase::kOptimizer)).others = readers.optimizer;
    }
    if (parts.optimizer > parts.weights && !readers.optimizer.empty()) {
      result_.emplace_back(make(Moved::kUpdate, kGather, gather, Phase::kOptimizer)).after = readers.optimizer;
    }
  }

  /// Devices with the same part form rings, which work at the same time.
  [[nodiscard]] Rate rate_of(ParameterId id, const std::vector<DeviceId>& devices, std::uint32_t split) const {
    std::vector<std::pair<DeviceId, DeviceId>> pairs;
    for (std::uint32_t first = 0; first < split; ++first) {
      std::vector<DeviceId> ring;
      for (std::size_t i = first; i < devices.size(); i += split) ring.push_back(devices[i]);
      const auto own = ring_pairs(ring);
      pairs.insert(pairs.end(), own.begin(), own.end());
    }
    if (const std::optional<Rate> rate = slowest_rate(problem_.cluster(), pairs)) return *rate;
    throw InputError(fmt::format("parameter \"{}\" has copies on devices that no route joins", graph_.at(id).name));
  }

  [[nodiscard]] std::int64_t gradient_bytes(std::int64_t weights) const {
    const double factor = problem_.settings().training.gradient_bytes_per_weight_byte;
    return static_cast<std::int64_t>(std::ceil(static_cast<double>(weights) * factor));
  }

  const LayoutProblem& problem_;
  const LayoutSelection& selection_;
  const ComputationGraph& graph_;
  std::vector<Readers> readers_;  // by parameter
  Rate rate_;
  std::vector<ParameterMovement> result_;
};

}  // namespace

std::vector<ParameterMovement> parameter_movements(const LayoutProblem& problem, const LayoutSelection& selection) {
  return Movements(problem, selection).all();
}

}  // namespace opweave
