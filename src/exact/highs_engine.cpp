#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "exact/engine.h"
#include "exact/shared_library.h"

// The part of HiGHS's C interface (interfaces/highs_c_api.h, 1.15) that is used here. HighsInt is int in
// the packaged library (checked at load by Highs_getSizeofHighsInt).
extern "C" {
struct HighsCallbackDataOut;
struct HighsCallbackDataIn {
  int user_interrupt;  // the documented first field; the rest is not touched
};
using HighsCCallbackType = void (*)(int, const char*, const HighsCallbackDataOut*, HighsCallbackDataIn*, void*);
}

namespace opweave::exact {
namespace {

using HighsInt = int;
constexpr HighsInt kStatusError = -1;
constexpr HighsInt kMatrixRowwise = 2;
constexpr HighsInt kMinimise = 1;
constexpr HighsInt kCallbackSimplexInterrupt = 1;
constexpr HighsInt kCallbackIpmInterrupt = 2;
constexpr HighsInt kCallbackMipImprovingSolution = 4;
constexpr HighsInt kCallbackMipInterrupt = 6;
constexpr HighsInt kSolutionStatusFeasible = 2;

enum ModelStatus : HighsInt {
  kModelStatusModelEmpty = 6,
  kModelStatusOptimal = 7,
  kModelStatusInfeasible = 8,
  kModelStatusUnboundedOrInfeasible = 9,
  kModelStatusUnbounded = 10,
  kModelStatusObjectiveBound = 11,
  kModelStatusObjectiveTarget = 12,
  kModelStatusTimeLimit = 13,
  kModelStatusIterationLimit = 14,
  kModelStatusUnknown = 15,
  kModelStatusSolutionLimit = 16,
  kModelStatusInterrupt = 17,
};

struct HighsApi {
  SharedLibrary library{"OPWEAVE_HIGHS_LIB",
                        package_file_places(OPWEAVE_HIGHS_LIBRARY, "highsbox/highs_dist/lib/libhighs.so")};
  void* (*create)() = library.function<void*()>("Highs_create");
  void (*destroy)(void*) = library.function<void(void*)>("Highs_destroy");
  const char* (*version)() = library.function<const char*()>("Highs_version");
  HighsInt (*run)(void*) = library.function<HighsInt(void*)>("Highs_run");
  HighsInt (*pass_mip)(void*, HighsInt, HighsInt, HighsInt, HighsInt, HighsInt, double, const double*, const double*,
                       const double*, const double*, const double*, const HighsInt*, const HighsInt*, const double*,
                       const HighsInt*) =
      library.function<HighsInt(void*, HighsInt, HighsInt, HighsInt, HighsInt, HighsInt, double, const double*,
                                const double*, const double*, const double*, const double*, const HighsInt*,
                                const HighsInt*, const double*, const HighsInt*)>("Highs_passMip");
  HighsInt (*pass_column_name)(const void*, HighsInt, const char*) =
      library.function<HighsInt(const void*, HighsInt, const char*)>("Highs_passColName");
  HighsInt (*set_bool)(void*, const char*,
                       HighsInt) = library.function<HighsInt(void*, const char*, HighsInt)>("Highs_setBoolOptionValue");
  HighsInt (*set_int)(void*, const char*,
                      HighsInt) = library.function<HighsInt(void*, const char*, HighsInt)>("Highs_setIntOptionValue");
  HighsInt (*set_double)(void*, const char*,
                         double) = library.function<HighsInt(void*, const char*, double)>("Highs_setDoubleOptionValue");
  HighsInt (*set_string)(void*, const char*, const char*) =
      library.function<HighsInt(void*, const char*, const char*)>("Highs_setStringOptionValue");
  HighsInt (*set_callback)(void*, HighsCCallbackType,
                           void*) = library.function<HighsInt(void*, HighsCCallbackType, void*)>("Highs_setCallback");
  HighsInt (*start_callback)(void*, HighsInt) = library.function<HighsInt(void*, HighsInt)>("Highs_startCallback");
  const void* (*callback_item)(const HighsCallbackDataOut*, const char*) =
      library.function<const void*(const HighsCallbackDataOut*, const char*)>("Highs_getCallbackDataOutItem");
  HighsInt (*set_solution)(void*, const double*, const double*, const double*, const double*) =
      library.function<HighsInt(void*, const double*, const double*, const double*, const double*)>(
          "Highs_setSolution");
  HighsInt (*model_status)(const void*) = library.function<HighsInt(const void*)>("Highs_getModelStatus");
  HighsInt (*get_solution)(const void*, double*, double*, double*, double*) =
      library.function<HighsInt(const void*, double*, double*, double*, double*)>("Highs_getSolution");
  HighsInt (*get_int_info)(const void*, const char*, HighsInt*) =
      library.function<HighsInt(const void*, const char*, HighsInt*)>("Highs_getIntInfoValue");
  HighsInt (*get_double_info)(const void*, const char*, double*) =
      library.function<HighsInt(const void*, const char*, double*)>("Highs_getDoubleInfoValue");
  double (*infinity)(const void*) = library.function<double(const void*)>("Highs_getInfinity");
  HighsInt (*size_of_int)(const void*) = library.function<HighsInt(const void*)>("Highs_getSizeofHighsInt");
  HighsInt (*write_model)(void*, const char*) = library.function<HighsInt(void*, const char*)>("Highs_writeModel");

  /// Empty if the library can be used.
  std::string unavailable_because;
  HighsApi() {
    if (!library.unavailable_because().empty()) {
      unavailable_because = "HiGHS: " + library.unavailable_because();
      return;
    }
    void* highs = create();
    if (size_of_int(highs) != sizeof(HighsInt)) unavailable_because = "HiGHS: library has integers of another size";
    destroy(highs);
  }
};

HighsApi& highs_api() {
  static HighsApi loaded;
  return loaded;
}

/// One instance of the solver.
class Instance {
 public:
  Instance() : highs_(highs_api().create()) {
    // Otherwise the solver prints, and leaves Highs.log in the working folder.
    highs_api().set_bool(highs_, "output_flag", 0);
    highs_api().set_string(highs_, "log_file", "");
  }
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;
  ~Instance() { highs_api().destroy(highs_); }
  [[nodiscard]] void* get() const { return highs_; }

 private:
  void* highs_;
};

/// False if the solver refuses the model.
bool pass(const Instance& highs, const MipModel& model) {
  const double infinity = highs_api().infinity(highs.get());
  const auto finite = [&](std::vector<double> values) {
    for (double& value : values) value = std::clamp(value, -infinity, infinity);
    return values;
  };
  const std::vector<HighsInt> starts(model.row_starts().begin(), model.row_starts().end());
  const std::vector<HighsInt> columns(model.columns().begin(), model.columns().end());
  std::vector<HighsInt> integrality(model.column_count());
  for (std::size_t c = 0; c < integrality.size(); ++c) {
    integrality[c] = model.is_integer(static_cast<MipModel::Column>(c)) ? 1 : 0;
  }
  const HighsInt status = highs_api().pass_mip(
      highs.get(), static_cast<HighsInt>(model.column_count()), static_cast<HighsInt>(model.row_count()),
      static_cast<HighsInt>(model.nonzero_count()), kMatrixRowwise, kMinimise, 0.0, model.costs().data(),
      finite(model.lower()).data(), finite(model.upper()).data(), finite(model.row_lower()).data(),
      finite(model.row_upper()).data(), starts.data(), columns.data(), model.coefficients().data(), integrality.data());
  return status != kStatusError;
}

struct CallbackData {
  EngineRun<MipModel>* run;
  std::size_t column_count;
};

void on_callback(int type, const char*, const HighsCallbackDataOut* out, HighsCallbackDataIn* in, void* user_data) {
  const auto& data = *static_cast<const CallbackData*>(user_data);
  if (type == kCallbackMipImprovingSolution) {
    const auto* values = static_cast<const double*>(highs_api().callback_item(out, "mip_solution"));
    if (values != nullptr) data.run->improved({values, values + data.column_count});
    return;
  }
  if (type == kCallbackMipInterrupt) {
    const auto* bound = static_cast<const double*>(highs_api().callback_item(out, "mip_dual_bound"));
    if (bound != nullptr && std::abs(*bound) < 1e100) data.run->bounded(*bound);
  }
  if (in != nullptr && data.run->stop_requested()) in->user_interrupt = 1;
}

EngineStatus status_of(HighsInt status, bool has_solution) {
  switch (status) {
    case kModelStatusModelEmpty:
    case kModelStatusOptimal:
      return EngineStatus::kOptimal;
    case kModelStatusInfeasible:
      return EngineStatus::kInfeasible;
    case kModelStatusUnbounded:
      return EngineStatus::kUnbounded;
    case kModelStatusObjectiveBound:
    case kModelStatusObjectiveTarget:
    case kModelStatusTimeLimit:
    case kModelStatusIterationLimit:
    case kModelStatusUnknown:
    case kModelStatusSolutionLimit:
    case kModelStatusInterrupt:
      return has_solution ? EngineStatus::kFeasible : EngineStatus::kUnknown;
    default:
      return EngineStatus::kFailed;
  }
}

class HighsEngine final : public MipEngine {
 public:
  [[nodiscard]] std::string name() const override {
    return unavailable_because().empty() ? fmt::format("HiGHS {}", highs_api().version()) : "HiGHS";
  }
  [[nodiscard]] std::string unavailable_because() const override { return highs_api().unavailable_because; }

  [[nodiscard]] Claim<MipModel> solve(const MipModel& model, const EngineLimits& limits,
                                      EngineRun<MipModel>& run) const override {
    Claim<MipModel> claim;
    if (model.column_count() == 0) {  // which HiGHS calls optimal whatever the rows say
      claim.status = model.violation({}).empty() ? EngineStatus::kOptimal : EngineStatus::kInfeasible;
      return claim;
    }
    const Instance highs;
    set_options(highs, limits);
    if (!pass(highs, model)) {
      claim.status = EngineStatus::kInvalidModel;
      claim.message = "HiGHS refuses the model";
      return claim;
    }
    CallbackData data{&run, model.column_count()};
    highs_api().set_callback(highs.get(), on_callback, &data);
    for (const HighsInt type :
         {kCallbackSimplexInterrupt, kCallbackIpmInterrupt, kCallbackMipImprovingSolution, kCallbackMipInterrupt}) {
      highs_api().start_callback(highs.get(), type);
    }
    if (!model.start().empty()) {
      highs_api().set_solution(highs.get(), model.start().data(), nullptr, nullptr, nullptr);
    }
    highs_api().run(highs.get());
    HighsInt status = highs_api().model_status(highs.get());
    if (status == kModelStatusUnboundedOrInfeasible) status = tell_apart(model, limits, run);
    return read_claim(highs, model, status);
  }

 private:
  static void set_options(const Instance& highs, const EngineLimits& limits) {
    void* h = highs.get();
    highs_api().set_int(h, "threads", static_cast<HighsInt>(std::max(1U, limits.threads)));
    highs_api().set_string(h, "parallel", limits.threads > 1 ? "on" : "off");
    highs_api().set_int(h, "random_seed", static_cast<HighsInt>(limits.seed % 2147483647U));
    // An answer within the default gap of 1e-4 is not proven best.
    highs_api().set_double(h, "mip_rel_gap", 0);
    highs_api().set_double(h, "mip_abs_gap", 1e-6);
    if (limits.seconds) highs_api().set_double(h, "time_limit", std::max(0.0, *limits.seconds));
    if (limits.work) {
      highs_api().set_int(h, "mip_max_nodes", static_cast<HighsInt>(std::min(2e9, std::max(0.0, 1000 * *limits.work))));
    }
  }

  /// Presolve saw that the model has no best solution, but not whether it has one at all: without an
  /// objective it cannot be unbounded.
  static HighsInt tell_apart(const MipModel& model, const EngineLimits& limits, EngineRun<MipModel>& run) {
    MipModel feasibility = model;
    for (std::size_t c = 0; c < model.column_count(); ++c) feasibility.set_cost(static_cast<MipModel::Column>(c), 0);
    const Instance highs;
    set_options(highs, limits);
    CallbackData data{&run, model.column_count()};
    if (!pass(highs, feasibility)) return kModelStatusUnboundedOrInfeasible;
    highs_api().set_callback(highs.get(), on_callback, &data);
    for (const HighsInt type : {kCallbackSimplexInterrupt, kCallbackMipInterrupt}) {
      highs_api().start_callback(highs.get(), type);
    }
    highs_api().run(highs.get());
    const HighsInt status = highs_api().model_status(highs.get());
    return status == kModelStatusOptimal ? static_cast<HighsInt>(kModelStatusUnbounded) : status;
  }

  static Claim<MipModel> read_claim(const Instance& highs, const MipModel& model, HighsInt status) {
    Claim<MipModel> claim;
    HighsInt solution_status = 0;
    highs_api().get_int_info(highs.get(), "primal_solution_status", &solution_status);
    const bool has_solution = solution_status == kSolutionStatusFeasible;
    claim.status = status_of(status, has_solution);
    if (claim.status == EngineStatus::kFailed) claim.message = fmt::format("HiGHS ends with model status {}", status);
    if (claim.status == EngineStatus::kOptimal || claim.status == EngineStatus::kFeasible) {
      claim.values.resize(model.column_count());
      highs_api().get_solution(highs.get(), claim.values.data(), nullptr, nullptr, nullptr);
      claim.objective = model.objective(claim.values);
    }
    double bound = 0;
    bool has_integers = false;  // else there is no tree, and the item means nothing
    for (std::size_t c = 0; c < model.column_count() && !has_integers; ++c) {
      has_integers = model.is_integer(static_cast<MipModel::Column>(c));
    }
    if (has_integers && highs_api().get_double_info(highs.get(), "mip_dual_bound", &bound) != kStatusError &&
        std::abs(bound) < 1e100) {
      claim.bound = bound;
    }
    return claim;
  }
};

}  // namespace

std::shared_ptr<const MipEngine> highs_engine() {
  static const auto engine = std::make_shared<const HighsEngine>();
  return engine;
}

std::string write_model(const MipModel& model, const std::string& path) {
  if (std::string reason = highs_engine()->unavailable_because(); !reason.empty()) return reason;
  if (std::string defect = model.defect(); !defect.empty()) return defect;
  const Instance highs;
  if (!pass(highs, model)) return "HiGHS refuses the model";
  for (std::size_t c = 0; c < model.names().size(); ++c) {
    highs_api().pass_column_name(highs.get(), static_cast<HighsInt>(c), model.names()[c].c_str());
  }
  if (highs_api().write_model(highs.get(), path.c_str()) == kStatusError) return fmt::format("cannot write {}", path);
  return {};
}

}  // namespace opweave::exact
