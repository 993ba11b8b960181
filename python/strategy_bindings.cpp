#include "strategy_bindings.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "distribute/strategies_on.h"
#include "opweave/calibration.h"
#include "opweave/error.h"
#include "opweave/model.h"
#include "opweave/strategy_answer.h"
#include "opweave/strategy_record.h"
#include "opweave/strategy_targets.h"
#include "report/strategy_words.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace opweave::python {
namespace {

template <class Enumerator>
Enumerator word(const std::string& name, const std::string& text,
                std::optional<Enumerator> (*from_string)(std::string_view), const char* expected) {
  if (const auto value = from_string(text)) return *value;
  throw InputError(name + ": value is \"" + text + "\", expected " + expected);
}

HeldDecisions held_decisions(const nb::dict& fix) {
  HeldDecisions held;
  for (const auto& [key, value] : fix) {
    try {
      hold(held, nb::cast<std::string>(nb::str(key)), nb::cast<std::string>(nb::str(value)));
    } catch (const InputError& error) {
      throw InputError(std::string("fix: ") + error.what());
    }
  }
  return held;
}

/// A search that runs in one thread while another may stop it. Holds no Python object.
class StrategySearch {
 public:
  StrategySearch(const ModelDescription& model, const std::string& cluster, const std::optional<std::string>& source,
                 std::optional<std::uint32_t> nodes, std::int64_t global_batch, std::int64_t sequence,
                 const std::string& precision, const std::string& target, const nb::dict& fix, std::size_t top,
                 double time_limit, bool has_bf16_gradients, bool has_bf16_moments, bool has_fused_loss,
                 const std::optional<std::pair<std::string, std::string>>& profile, const distribute::Place* place,
                 std::size_t workers)
      : model_(model),
        machines_(source ? parse_machines(cluster, *source) : machines_named(cluster)),
        target_(word("target", target, target_from_string, "any, megatron or torchtitan")),
        held_(held_decisions(fix)),
        top_(top),
        time_limit_(time_limit),
        workers_(workers) {
    if (place != nullptr) place_ = *place;
    if (nodes) machines_.nodes = *nodes;
    if (machines_.nodes == 0) throw InputError("nodes: value is 0, expected at least 1");
    for (const auto& [name, value] : {std::pair("global_batch", global_batch), std::pair("sequence", sequence)}) {
      if (value < 1 || value > 100'000'000) {
        throw InputError(std::string(name) + ": value is " + std::to_string(value) +
                         ", expected a whole number from 1 to 100000000");
      }
    }
    run_ = {global_batch,       sequence,         word("precision", precision, precision_from_string, "bf16 or fp8"),
            has_bf16_gradients, has_bf16_moments, has_fused_loss};
    if (profile) use(parse_profile(profile->first, profile->second), profile->second + ": ");
    if (!fitted_) profile_ = profile_for(model_, machines_, run_.precision, target_);
  }

  void run() {
    Budget budget(time_limit_, std::nullopt);
    budget.watch(&stopped_);
    result_ = place_ ? distribute::search_strategies_on(*place_, workers_, model_, machines_, run_, profile_, target_,
                                                        held_, top_, budget, {})
                     : search_strategies(model_, machines_, run_, profile_, target_, held_, top_, budget);
  }
  void stop() { stopped_ = true; }

  /// The value of a strategy that the user has, in place of a search.
  void evaluate_one(const std::string& json, const std::string& source) {
    const Strategy strategy = parse_strategy(json, source);
    if (!fitted_) {
      if (const auto its_own = parse_profile_of_strategy(json, source)) use(*its_own, source + ": /for/profile");
    }
    const std::string why = why_untrainable(target_, model_, machines_, run_, strategy);
    if (!why.empty()) throw InputError(source + ": " + why);
    result_.ranked = {{strategy, evaluate(model_, machines_, run_, strategy, profile_)}};
  }

  [[nodiscard]] bool has_strategy() const { return !result_.ranked.empty(); }
  [[nodiscard]] std::optional<std::string> why_nothing_fits() const {
    if (!result_.least_memory) return std::nullopt;
    return why_none_fits(*result_.least_memory, machines_);
  }
  [[nodiscard]] std::string to_json() const { return strategies_to_json(profile_, result_); }
  [[nodiscard]] std::string report() const {
    return strategy_report_html({model_, machines_, run_, profile_, result_});
  }
  [[nodiscard]] std::string subject() const {
    return std::to_string(machines_.nodes) + " x " + std::to_string(machines_.devices_per_node) + " " +
           machines_.device.name;
  }
  /// The strategy's file with what it is for, by its place in the ranking.
  [[nodiscard]] std::string record(std::size_t index) const {
    return strategy_record_to_json({result_.ranked.at(index).strategy, model_, machines_, run_, target_, fitted_});
  }
  [[nodiscard]] std::uint64_t devices() const { return machines_.devices(); }

 private:
  /// In place of the built-in profile.
  void use(const FittedProfile& profile, const std::string& place) {
    require_profile_for(profile, place, machines_, run_.precision);
    fitted_ = profile;
    profile_ = profile.constants_for(model_);
  }

  ModelDescription model_;
  Machines machines_;
  Target target_;
  HeldDecisions held_;
  std::size_t top_;
  double time_limit_;
  TrainingRun run_;
  std::optional<FittedProfile> fitted_;
  CalibrationProfile profile_;
  std::optional<distribute::Place> place_;
  std::size_t workers_;
  StrategySearchResult result_;
  std::atomic<bool> stopped_ = false;
};

/// Profiles and predictions as JSON.
std::string calibrate(const std::string& json, const std::string& source) {
  const auto steps = parse_measured_steps(json, source);
  if (steps.empty()) throw InputError(source + ": /steps: no steps, expected at least 1");
  std::vector<CalibrationProfile> profiles;
  const auto predictions = cross_validate(steps, profiles);
  nlohmann::ordered_json result = {{"profiles", nlohmann::ordered_json::array()},
                                   {"files", nlohmann::ordered_json::array()},
                                   {"predictions", nlohmann::ordered_json::array()}};
  for (const CalibrationProfile& profile : profiles) {
    result["profiles"].push_back({{"name", profile.name},
                                  {"matrix", profile.matrix},
                                  {"traffic", profile.traffic},
                                  {"communication", profile.communication},
                                  {"steps", profile.steps},
                                  {"median_error", profile.median_error},
                                  {"ninetieth_error", profile.ninetieth_error}});
    // What cannot be one profile of one device type says why when it is asked for.
    try {
      result["files"].push_back({{"file", profile_to_json(fitted_profile(steps, profile))}});
    } catch (const InputError& error) {
      result["files"].push_back({{"why_not", error.what()}});
    }
  }
  for (const StepPrediction& prediction : predictions) {
    const auto& measured = prediction.step->measured;
    const MeasuredParts parts = parts_of(prediction.value.time);
    result["predictions"].push_back(
        {{"id", prediction.step->id},
         {"profile", prediction.step->profile},
         {"predicted_ns", prediction.value.time.step.value()},
         {"left_out_ns", prediction.left_out.value()},
         {"measured_ns", measured ? nlohmann::ordered_json(measured->value()) : nlohmann::ordered_json()},
         {"parts_ns",
          {{"compute", parts.compute->value()},
           {"tensor", parts.tensor->value()},
           {"expert", parts.expert->value()},
           {"data", parts.data->value()}}},
         {"fits", prediction.value.fits},
         {"memory_bytes", prediction.value.memory.total().value()}});
  }
  return result.dump();
}

}  // namespace

void bind_strategies(nb::module_& m) {
  const auto no_gil = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<ModelDescription>(m, "Model")
      .def_prop_ro("name", [](const ModelDescription& model) { return model.name; })
      .def_prop_ro("parameters", [](const ModelDescription& model) { return parameters(model); })
      .def("to_json", &model_to_json, no_gil)
      .def(
          "content_hash", [](const ModelDescription& model) { return content_hash(model); }, no_gil);
  m.def(
      "parse_model", [](const std::string& json, const std::string& source) { return parse_model(json, source); },
      no_gil);
  m.def(
      "parse_hf_config",
      [](const std::string& json, const std::string& source, bool with_prediction_modules) {
        return parse_hf_config(json, source, with_prediction_modules);
      },
      no_gil);
  m.def("known_hf_models", &known_hf_models);
  nb::class_<StrategySearch>(m, "StrategySearch")
      .def(nb::init<const ModelDescription&, const std::string&, const std::optional<std::string>&,
                    std::optional<std::uint32_t>, std::int64_t, std::int64_t, const std::string&, const std::string&,
                    const nb::dict&, std::size_t, double, bool, bool, bool,
                    const std::optional<std::pair<std::string, std::string>>&, const distribute::Place*, std::size_t>(),
           "model"_a, "cluster"_a, "source"_a.none(), "nodes"_a.none(), "global_batch"_a, "sequence"_a, "precision"_a,
           "target"_a, "fix"_a, "top"_a, "time_limit"_a, "bf16_gradients"_a, "bf16_moments"_a, "fused_loss"_a,
           "profile"_a.none(), "place"_a.none(), "workers"_a)
      .def("run", &StrategySearch::run, no_gil)
      .def("stop", &StrategySearch::stop)
      .def("evaluate", &StrategySearch::evaluate_one, no_gil)
      .def_prop_ro("has_strategy", &StrategySearch::has_strategy)
      .def_prop_ro("why_none_fits", &StrategySearch::why_nothing_fits)
      .def_prop_ro("subject", &StrategySearch::subject)
      .def_prop_ro("devices", &StrategySearch::devices)
      .def("record", &StrategySearch::record, no_gil)
      .def("to_json", &StrategySearch::to_json, no_gil)
      .def("report_html", &StrategySearch::report, no_gil);
  m.def("calibrate", &calibrate, no_gil);
}

}  // namespace opweave::python
