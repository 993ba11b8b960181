#include "memory_modes/reductions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cost/movement.h"
#include "opweave/error.h"

namespace opweave {
namespace {

class Reductions {
 public:
  explicit Reductions(const Problem& problem)
      : problem_(problem), training_(problem.settings().training), found_(problem.graph().parameters().size()) {}

  std::vector<Reduction> all() {
    if (problem_.settings().contention != Contention::kNone) {
      throw InputError(
          fmt::format("reduction_stream \"{}\" is planned where transfers do not share links, expected "
                      "contention none",
                      training_.reduction_stream));
    }
    find_homes();
    find_tasks();
    std::vector<Reduction> result;
    for (std::size_t p = 0; p < found_.size(); ++p) {
      Reduction& one = found_[p];
      if (one.devices.size() < 2 || one.updates.empty()) continue;
      one.parameter = ParameterId(p);
      require_stream(one);
      one.duration = duration_of(one);
      result.push_back(std::move(one));
    }
    return result;
  }

 private:
  void find_homes() {
    for (std::size_t g = 0; g < problem_.group_count(); ++g) {
      const auto parameters = problem_.parameters_of(GroupId(g));
      if (parameters.empty()) continue;
      const auto& options = problem_.options(GroupId(g));
      if (options.size() != 1) {
        throw InputError(fmt::format(
            "reduction_stream \"{}\": parameter \"{}\" may live on {} sets of devices, expected one per replica",
            training_.reduction_stream, problem_.graph().at(parameters.front()).name, options.size()));
      }
      for (const ParameterId parameter : parameters) {
        std::vector<DeviceId>& devices = found_[parameter.index()].devices;
        devices.insert(devices.end(), options.front().devices.begin(), options.front().devices.end());
      }
    }
    for (Reduction& one : found_) {
      std::ranges::sort(one.devices);
      one.devices.erase(std::ranges::unique(one.devices).begin(), one.devices.end());
    }
  }

  void find_tasks() {
    std::vector<TaskId> of_all;  // optimizer operators without a parameter
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      const Operator& op = problem_.graph().at(problem_.task(TaskId(t)).op);
      const bool is_update = op.phase == Phase::kWeightGradient || op.phase == Phase::kBackward;
      const bool is_optimizer = op.phase == Phase::kOptimizer;
      if (is_optimizer && op.parameters.empty()) of_all.emplace_back(t);
      if (!is_update && !is_optimizer) continue;
      for (const ParameterId parameter : op.parameters) {
        Reduction& one = found_[parameter.index()];
        (is_update ? one.updates : one.optimizers).emplace_back(t);
      }
    }
    for (Reduction& one : found_) one.optimizers.insert(one.optimizers.end(), of_all.begin(), of_all.end());
  }

  void require_stream(const Reduction& one) const {
    for (const DeviceId device : one.devices) {
      const std::vector<std::string>& streams = problem_.cluster().at(device).streams;
      if (std::ranges::find(streams, training_.reduction_stream) != streams.end()) continue;
      throw InputError(fmt::format("device \"{}\" has no stream \"{}\", which the gradients of parameter \"{}\" need",
                                   problem_.cluster().at(device).name, training_.reduction_stream,
                                   problem_.graph().at(one.parameter).name));
    }
  }

  /// On a ring, over its slowest route, as the reductions of docs/layouts.md.
  [[nodiscard]] Duration duration_of(const Reduction& one) const {
    const std::optional<Rate> rate = slowest_rate(problem_.cluster(), ring_pairs(one.devices));
    if (!rate) {
      throw InputError(fmt::format("gradients of parameter \"{}\" cannot be reduced: no route joins its {} devices",
                                   problem_.graph().at(one.parameter).name, one.devices.size()));
    }
    const auto weights = static_cast<double>(problem_.graph().at(one.parameter).weights.value());
    const auto bytes = static_cast<std::int64_t>(std::ceil(weights * training_.gradient_bytes_per_weight_byte));
    return all_reduce_time(*rate, static_cast<std::int64_t>(one.devices.size())).of(Bytes(bytes));
  }

  const Problem& problem_;
  const Training& training_;
  std::vector<Reduction> found_;  // by parameter
};

}  // namespace

std::vector<Reduction> reductions_of(const Problem& problem) {
  if (!problem.settings().training.reduces_gradients()) return {};
  return Reductions(problem).all();
}

Problem without_reductions(const Problem& problem) {
  if (!problem.settings().training.reduces_gradients()) return problem;
  ProblemSettings settings = problem.settings();
  settings.training.reduction_stream.clear();
  return Problem::create(problem.graph(), problem.cluster(), std::move(settings));
}

}  // namespace opweave
