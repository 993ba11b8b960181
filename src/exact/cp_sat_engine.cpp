#include <fmt/format.h>

#include <cstdlib>
#include <limits>

#include "exact/cp_sat_messages.h"
#include "exact/engine.h"
#include "exact/shared_library.h"

namespace opweave::exact {
namespace {

constexpr const char* kVariable = "OPWEAVE_ORTOOLS_LIB";

std::vector<std::filesystem::path> places() {
  return package_file_places(OPWEAVE_ORTOOLS_LIBRARY, "ortools/.libs/libortools.so.9");
}

/// The plain C functions that OR-Tools' library exports (ortools/sat/c_api, 9.15).
struct CpSatApi {
  SharedLibrary library{kVariable, places()};
  void* (*new_environment)() = library.function<void*()>("SolveCpNewEnv");
  void (*destroy_environment)(void*) = library.function<void(void*)>("SolveCpDestroyEnv");
  void (*stop_search)(void*) = library.function<void(void*)>("SolveCpStopSearch");
  void (*solve)(void*, const void*, int, const void*, int, void**, int*) =
      library.function<void(void*, const void*, int, const void*, int, void**, int*)>("SolveCpInterruptible");
};

CpSatApi& cp_sat_api() {
  static CpSatApi loaded;
  return loaded;
}

class CpSatEngine final : public CpEngine {
 public:
  [[nodiscard]] std::string name() const override { return "CP-SAT"; }
  [[nodiscard]] std::string unavailable_because() const override {
    const std::string& reason = cp_sat_api().library.unavailable_because();
    return reason.empty() ? reason : "CP-SAT: " + reason;
  }

  // The C interface reports solutions at the end only, so nothing is reported to `run` on the way.
  [[nodiscard]] Claim<CpModel> solve(const CpModel& model, const EngineLimits& limits,
                                     EngineRun<CpModel>& run) const override {
    const std::string request = cp_sat_model(model);
    const std::string parameters = cp_sat_parameters(limits);
    Claim<CpModel> claim;
    if (request.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
      claim.status = EngineStatus::kInvalidModel;
      claim.message = fmt::format("CP-SAT: model of {} bytes, expected less than 2 GiB", request.size());
      return claim;
    }
    void* environment = cp_sat_api().new_environment();
    run.on_stop([environment] { cp_sat_api().stop_search(environment); });
    void* response = nullptr;
    int response_size = 0;
    cp_sat_api().solve(environment, request.data(), static_cast<int>(request.size()), parameters.data(),
                       static_cast<int>(parameters.size()), &response, &response_size);
    run.on_stop(nullptr);
    cp_sat_api().destroy_environment(environment);
    try {
      claim =
          read_cp_sat_response(model, {static_cast<const char*>(response), static_cast<std::size_t>(response_size)});
    } catch (...) {
      std::free(response);
      throw;
    }
    std::free(response);
    return claim;
  }
};

}  // namespace

std::string missing_solver() {
  const auto file = library_file(kVariable, places());
  std::error_code ignored;
  if (file && std::filesystem::exists(*file, ignored)) return {};
  return fmt::format(
      "CP-SAT's library is not there (set {} to its path, pip install ortools, or run scripts/setup): plans are "
      "searched for without a solver that improves and proves them",
      kVariable);
}

std::shared_ptr<const CpEngine> cp_sat_engine() {
  static const auto engine = std::make_shared<const CpSatEngine>();
  return engine;
}

}  // namespace opweave::exact
