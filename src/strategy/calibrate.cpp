#include <algorithm>
#include <cmath>
#include <map>

#include "opweave/calibration.h"

namespace opweave {
namespace {

/// Beyond this an error (as a logarithm) counts a twentieth.
constexpr double kOutlier = 0.35;
constexpr double kOutlierWeight = 0.05;
using Constant = double CalibrationProfile::*;
struct Range {
  Constant constant;
  double least;
  double most;
  double usual;  ///< where steps say nothing
  double pull;   ///< loss per squared logarithm of the distance from it
};
constexpr Range kRanges[] = {{&CalibrationProfile::matrix, 0.05, 1.0, 0.65, 0.02},
                             {&CalibrationProfile::traffic, 0.1, 8.0, 1.5, 0.02},
                             {&CalibrationProfile::communication, 0.05, 12.0, 1, 0.02}};

double log_ratio(Duration predicted, Duration measured) {
  return std::log(static_cast<double>(predicted.value()) / static_cast<double>(measured.value()));
}

StepTime time_of(const MeasuredStep& step, const CalibrationProfile& profile) {
  return evaluate(step.model, step.machines, step.run, step.strategy, profile).time;
}

double log_error(const MeasuredStep& step, const CalibrationProfile& profile) {
  return log_ratio(time_of(step, profile).step, *step.measured);
}

double robust(double log_error) {
  return std::min(std::abs(log_error), kOutlier) + kOutlierWeight * std::abs(log_error);
}

/// Of a step and its parts. A part counts by its share of the step: the error of a short one moves the step little, and
/// is mostly noise.
double loss_of(const MeasuredStep& step, const CalibrationProfile& profile) {
  const StepTime time = time_of(step, profile);
  const MeasuredParts predicted = parts_of(time);
  double sum = robust(log_ratio(time.step, *step.measured));
  for (const auto part :
       {&MeasuredParts::compute, &MeasuredParts::tensor, &MeasuredParts::expert, &MeasuredParts::data}) {
    // What is predicted to be hidden whole has no constant that could be fitted to it.
    if (!(step.parts.*part) || (predicted.*part)->value() == 0) continue;
    const Duration measured = *(step.parts.*part);
    const double share = static_cast<double>(measured.value()) / static_cast<double>(step.measured->value());
    sum += share * robust(log_ratio(*(predicted.*part), measured));
  }
  return sum;
}

double loss(std::span<const MeasuredStep* const> steps, const CalibrationProfile& profile) {
  double sum = 0;
  for (const Range& range : kRanges) {
    const double distance = std::log(profile.*range.constant / range.usual);
    sum += range.pull * distance * distance;
  }
  for (const MeasuredStep* step : steps) sum += loss_of(*step, profile);
  return sum;
}

/// What stated peaks of memory have beyond everything but the reserve: the median, or that of `kernels` without any.
void fit_reserve(std::span<const MeasuredStep* const> steps, CalibrationProfile& profile) {
  std::vector<std::int64_t> beyond;
  for (const MeasuredStep* step : steps) {
    if (!step->peak) continue;
    const StepMemory memory = evaluate(step->model, step->machines, step->run, step->strategy, profile).memory;
    beyond.push_back(step->peak->value() - memory.total().value() + profile.reserve.value());
  }
  profile.peaks = static_cast<std::int64_t>(beyond.size());
  if (beyond.empty()) return;
  std::ranges::sort(beyond);
  profile.reserve = Bytes(std::max<std::int64_t>(0, beyond[beyond.size() / 2]));
}

/// Constants for `kernels` from measured steps; the usual ones from none.
CalibrationProfile fit(std::span<const MeasuredStep* const> all, const CalibrationProfile& kernels,
                       const std::string& name) {
  std::vector<const MeasuredStep*> steps;
  std::ranges::copy_if(all, std::back_inserter(steps), [](const auto* step) { return step->measured.has_value(); });
  CalibrationProfile best = kernels;
  best.name = name;
  for (const Range& range : kRanges) best.*range.constant = range.usual;
  double least = loss(steps, best);
  // Coordinate descent on a logarithmic scale, by ever finer factors. The loss has kinks, so no derivative is asked.
  for (double factor = 1.6; factor > 1.004;) {
    bool has_improved = false;
    for (const Range& range : kRanges) {
      for (const double direction : {factor, 1 / factor}) {
        CalibrationProfile other = best;
        other.*range.constant = std::clamp(best.*range.constant * direction, range.least, range.most);
        const double value = loss(steps, other);
        if (value >= least - 1e-12) continue;
        least = value;
        best = other;
        has_improved = true;
      }
    }
    if (!has_improved) factor = std::sqrt(factor);
  }
  fit_reserve(all, best);
  return best;
}

void state_errors(std::span<const MeasuredStep* const> steps, CalibrationProfile& profile) {
  std::vector<double> errors;
  for (const MeasuredStep* step : steps) errors.push_back(std::abs(std::expm1(log_error(*step, profile))));
  if (errors.empty()) return;
  std::ranges::sort(errors);
  profile.steps = static_cast<std::int64_t>(errors.size());
  profile.median_error = errors[errors.size() / 2];
  profile.ninetieth_error = errors[errors.size() * 9 / 10];
}

const std::string& group_of(const MeasuredStep& step) { return step.group.empty() ? step.id : step.group; }

StepPrediction predict(const MeasuredStep& step, const CalibrationProfile& profile, const CalibrationProfile& without) {
  StepPrediction prediction;
  prediction.step = &step;
  prediction.value = evaluate(step.model, step.machines, step.run, step.strategy, profile);
  const StrategyValue value_left_out = evaluate(step.model, step.machines, step.run, step.strategy, without);
  prediction.left_out = value_left_out.time.step;
  prediction.peak_left_out = value_left_out.memory.total();
  if (!step.measured) return prediction;
  prediction.error = std::expm1(log_error(step, profile));
  prediction.error_left_out = std::expm1(log_error(step, without));
  return prediction;
}

}  // namespace

MeasuredParts parts_of(const StepTime& time) {
  return {time.matrix + time.attention + time.traffic + time.recompute, time.tensor, time.expert, time.data};
}

std::vector<StepPrediction> cross_validate(std::span<const MeasuredStep> steps,
                                           std::vector<CalibrationProfile>& profiles) {
  std::map<std::string, std::vector<const MeasuredStep*>> by_profile;
  for (const MeasuredStep& step : steps) by_profile[step.profile].push_back(&step);
  std::map<const MeasuredStep*, StepPrediction> predictions;
  profiles.clear();
  for (const auto& [name, members] : by_profile) {
    const CalibrationProfile& kernels = members.front()->kernels;
    std::vector<const MeasuredStep*> measured;
    std::ranges::copy_if(members, std::back_inserter(measured),
                         [](const auto* step) { return step->measured.has_value(); });
    CalibrationProfile profile = fit(members, kernels, name);
    state_errors(measured, profile);
    profiles.push_back(profile);
    std::map<std::string, std::vector<const MeasuredStep*>> groups;
    for (const MeasuredStep* step : members) groups[group_of(*step)].push_back(step);
    for (const auto& [group, left_out] : groups) {
      std::vector<const MeasuredStep*> others;
      std::ranges::copy_if(members, std::back_inserter(others),
                           [&, key = group](const auto* step) { return group_of(*step) != key; });
      const bool is_measured = std::ranges::any_of(others, [](const auto* step) { return step->measured.has_value(); });
      const CalibrationProfile without = is_measured ? fit(others, kernels, name) : profile;
      for (const MeasuredStep* step : left_out) predictions[step] = predict(*step, profile, without);
    }
  }
  std::vector<StepPrediction> result;
  for (const MeasuredStep& step : steps) result.push_back(predictions.at(&step));
  return result;
}

std::vector<StepPrediction> predict_steps(std::span<const MeasuredStep> steps, const FittedProfile& profile,
                                          const std::string& place) {
  std::vector<StepPrediction> result;
  for (const MeasuredStep& step : steps) {
    require_profile_for(profile, place, step.machines, step.run.precision);
    const CalibrationProfile constants = profile.constants_for(step.model);
    result.push_back(predict(step, constants, constants));
  }
  return result;
}

}  // namespace opweave
