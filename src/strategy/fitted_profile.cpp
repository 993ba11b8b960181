#include <fmt/format.h>

#include <algorithm>

#include "opweave/calibration.h"
#include "opweave/error.h"

namespace opweave {
namespace {

bool uses_experts(const ModelDescription& model) {
  return std::ranges::any_of(model.layers, [](const LayerRun& run) { return run.experts.has_value(); });
}

void make_uncalibrated(CalibrationProfile& profile, std::string_view what) {
  profile.name += fmt::format(", {} uncalibrated", what);
  profile.steps = profile.peaks = 0;
  profile.median_error = profile.ninetieth_error = 0;
}

}  // namespace

CalibrationProfile FittedProfile::constants_for(const ModelDescription& model) const {
  CalibrationProfile profile = constants;
  if (uses_experts(model) && !has_experts) make_uncalibrated(profile, "experts");
  if (model.has_recurrences() && !has_recurrences) make_uncalibrated(profile, "recurrences");
  return profile;
}

FittedProfile fitted_profile(std::span<const MeasuredStep> steps, const CalibrationProfile& profile) {
  if (profile.name.empty()) throw InputError("a profile without a name, expected \"profile\" in its steps");
  FittedProfile fitted;
  fitted.constants = profile;
  fitted.constants.is_own = true;
  const MeasuredStep* first = nullptr;
  for (const MeasuredStep& step : steps) {
    if (step.profile != profile.name || !step.measured) continue;
    if (first == nullptr) first = &step;
    const auto require_same = [&](std::string_view what, std::string_view one, std::string_view other) {
      if (one == other) return;
      throw InputError(
          fmt::format("profile \"{}\": step \"{}\" has {} {} and step \"{}\" {}, expected one in a profile",
                      profile.name, first->id, what, one, step.id, other),
          "give the steps of each a \"profile\" of its own");
    };
    require_same("device type", first->machines.device.name, step.machines.device.name);
    require_same("precision", to_string(first->run.precision), to_string(step.run.precision));
    if (!(first->kernels == step.kernels)) {
      throw InputError(fmt::format("profile \"{}\": steps \"{}\" and \"{}\" differ in their kernels, expected the same",
                                   profile.name, first->id, step.id),
                       "give the steps of each a \"profile\" of its own");
    }
    fitted.has_experts |= uses_experts(step.model);
    fitted.has_recurrences |= step.model.has_recurrences();
  }
  if (first == nullptr) {
    throw InputError(fmt::format("profile \"{}\": no step has measured_ns, expected at least 1", profile.name));
  }
  fitted.device = first->machines.device.name;
  fitted.precision = first->run.precision;
  return fitted;
}

void require_profile_for(const FittedProfile& profile, const std::string& place, const Machines& machines,
                         Precision precision) {
  const auto require = [&](std::string_view key, std::string_view is, std::string_view asked, std::string_view what) {
    if (is == asked) return;
    throw InputError(
        fmt::format("{}/{}: value is \"{}\", expected \"{}\", the {} of the question", place, key, is, asked, what),
        "a profile holds for what its steps were measured on");
  };
  require("device", profile.device, machines.device.name, "device type");
  require("precision", to_string(profile.precision), to_string(precision), "precision");
}

}  // namespace opweave
