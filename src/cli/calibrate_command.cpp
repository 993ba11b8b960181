#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "io/message.h"
#include "opweave/calibration.h"
#include "opweave/io.h"
#include "report/format.h"
#include "report/names.h"

namespace opweave::cli {
namespace {

struct CalibrateOptions {
  std::filesystem::path steps;
  std::filesystem::path output;
  std::string profile;         ///< that is written; empty: the only one
  std::filesystem::path with;  ///< a profile that predicts the steps; empty: one is fitted to them
  bool json_lines = false;
};

double seconds(Duration duration) { return static_cast<double>(duration.value()) * 1e-9; }

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

std::string calibration_table(const std::vector<CalibrationProfile>& profiles,
                              const std::vector<StepPrediction>& predictions) {
  std::vector<std::vector<std::string>> rows = {
      {"profile", "steps", "matrix", "traffic", "communication", "median error", "90th", "left-out groups", "reserve"}};
  for (const CalibrationProfile& profile : profiles) {
    std::vector<double> left_out;
    for (const StepPrediction& prediction : predictions) {
      if (prediction.step->profile == profile.name && prediction.step->measured)
        left_out.push_back(std::abs(prediction.error_left_out));
    }
    rows.push_back({readable(profile.name), std::to_string(profile.steps), fmt::format("{:.3f}", profile.matrix),
                    fmt::format("{:.2f}", profile.traffic), fmt::format("{:.2f}", profile.communication),
                    percent(profile.median_error), percent(profile.ninetieth_error),
                    left_out.empty() ? "-" : percent(median(left_out)),
                    profile.peaks == 0 ? "-" : human(profile.reserve)});
  }
  return table(rows);
}

std::string as_json_lines(const std::vector<StepPrediction>& predictions) {
  std::string text;
  for (const StepPrediction& prediction : predictions) {
    const auto& measured = prediction.step->measured;
    const nlohmann::ordered_json line = {
        {"id", prediction.step->id},
        {"predicted_s", seconds(prediction.value.time.step)},
        {"left_out_s", seconds(prediction.left_out)},
        {"measured_s", measured ? nlohmann::ordered_json(seconds(*measured)) : nlohmann::ordered_json()},
        {"fits", prediction.value.fits},
        {"peak_gib", static_cast<double>(prediction.value.memory.total().value()) / kGiB},
        {"left_out_peak_gib", static_cast<double>(prediction.peak_left_out.value()) / kGiB},
        {"profile", prediction.step->profile}};
    text += line.dump() + "\n";
  }
  return text;
}

/// The profile that is to be written.
const CalibrationProfile& chosen(const std::vector<CalibrationProfile>& profiles, const CalibrateOptions& options) {
  if (options.profile.empty() && profiles.size() == 1) return profiles.front();
  const auto found = std::ranges::find(profiles, options.profile, &CalibrationProfile::name);
  if (!options.profile.empty() && found != profiles.end()) return *found;
  std::vector<std::string> names;
  for (const CalibrationProfile& profile : profiles) names.push_back(io::text_in_quotes(profile.name));
  throw InputError(fmt::format("--profile: {}, expected {}{}",
                               options.profile.empty() ? "missing" : "value is " + io::text_in_quotes(options.profile),
                               names.size() > 1 ? "one of " : "", fmt::join(names, ", ")));
}

/// Writes a profile and says so.
void write_profile(const std::vector<MeasuredStep>& steps, const std::vector<CalibrationProfile>& profiles,
                   const CalibrateOptions& options) {
  FittedProfile fitted;
  try {
    fitted = fitted_profile(steps, chosen(profiles, options));
  } catch (const InputError& error) {
    throw InputError(options.steps.string() + ": " + error.what(), error.hint());
  }
  deliver(options.output, profile_to_json(fitted));
  complain("note", fmt::format("profile {} ({}, {}) is in {}: opweave parallelize --profile {}",
                               io::text_in_quotes(fitted.constants.name), fitted.device, to_string(fitted.precision),
                               options.output.string(), options.output.string()));
}

/// How well a profile predicts steps that it was not fitted on.
std::string errors_of(const std::vector<StepPrediction>& predictions) {
  std::vector<double> errors;
  for (const StepPrediction& prediction : predictions) {
    if (prediction.step->measured) errors.push_back(std::abs(prediction.error));
  }
  if (errors.empty()) return fmt::format("{} steps, none of them measured\n", predictions.size());
  std::ranges::sort(errors);
  return fmt::format("{} measured steps: error median {}, 90th percentile {}, worst {}\n", errors.size(),
                     percent(errors[errors.size() / 2]), percent(errors[errors.size() * 9 / 10]),
                     percent(errors.back()));
}

ExitCode predict_with_profile(const CalibrateOptions& options, const std::vector<MeasuredStep>& steps) {
  if (!options.output.empty()) {
    throw InputError("--with: nothing is fitted that --output could write, expected one of the two");
  }
  const FittedProfile profile = parse_profile(read_file(options.with), options.with.string());
  const auto predictions = predict_steps(steps, profile, options.with.string() + ": ");
  print(options.json_lines ? as_json_lines(predictions) : errors_of(predictions));
  return ExitCode::kDone;
}

ExitCode run_calibrate(const CalibrateOptions& options) {
  expect_files({{"--output", options.output}}, {{"STEPS", options.steps}, {"--with", options.with}});
  if (options.output.empty() && !options.profile.empty()) {
    throw InputError("--profile: chooses what --output writes, expected --output beside it");
  }
  const auto steps = parse_measured_steps(read_file(options.steps), options.steps.string());
  if (steps.empty()) throw InputError(options.steps.string() + ": /steps: no steps, expected at least 1");
  if (!options.with.empty()) return predict_with_profile(options, steps);
  std::vector<CalibrationProfile> profiles;
  const auto predictions = cross_validate(steps, profiles);
  if (!options.output.empty()) write_profile(steps, profiles, options);
  print(options.json_lines ? as_json_lines(predictions) : calibration_table(profiles, predictions));
  return ExitCode::kDone;
}

}  // namespace

void add_calibrate(CLI::App& app, Action& action) {
  auto options = std::make_shared<CalibrateOptions>();
  CLI::App* command = app.add_subcommand("calibrate", "constants of a software stack from measured training steps");
  command->footer(
      "At most three constants per profile; how well they predict the steps they were fitted on, and those of groups\n"
      "that were left out (docs/strategies.md).\n\n"
      "Examples:\n"
      "  opweave calibrate steps.json\n"
      "  opweave calibrate steps.json --json-lines\n"
      "  opweave calibrate steps.json -o profile.json\n"
      "  opweave calibrate later.json --with profile.json");
  command->add_option("STEPS", options->steps, "measured steps (opweave.measured-steps)")
      ->required()
      ->check(file_name());
  command->add_flag("--json-lines", options->json_lines, "a JSON object per step: prediction, memory, error");
  command
      ->add_option("-o,--output", options->output,
                   "write a profile here (opweave.profile): parallelize and sweep take it with --profile")
      ->check(file_name());
  command
      ->add_option("--with", options->with, "fit nothing: how well this profile (opweave.profile) predicts the steps")
      ->check(file_name());
  command->add_option("--profile", options->profile, "name of the profile that is written [the only one]");
  command->callback([options, &action] { action = [options] { return run_calibrate(*options); }; });
}

}  // namespace opweave::cli
