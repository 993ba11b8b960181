#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "opweave/bounds.h"
#include "opweave/memory_modes.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

struct BoundsOptions {
  InputFiles files;
  SettingOptions settings;
  std::filesystem::path output;
  bool json = false;
};

ExitCode run_bounds(const BoundsOptions& options) {
  expect_files({{"--output", options.output}}, options.files.with({}));
  const Problem problem = load_problem(options.files, options.settings, Modes::kTake);
  const bool has_modes = has_movements(problem);
  if (const auto proofs = has_modes ? infeasibility_proofs_with_modes(problem) : infeasibility_proofs(problem);
      !proofs.empty()) {
    complain("error", "no plan exists: " + proofs.front());
    return ExitCode::kNoPlan;
  }

  const auto bounds = has_modes ? lower_bounds_with_modes(problem) : lower_bounds(problem);
  if (options.json || !options.output.empty()) {
    auto list = nlohmann::ordered_json::array();
    for (const LowerBound& bound : bounds) {
      list.push_back({{"name", bound.name}, {"value_ns", bound.value.value()}, {"detail", bound.detail}});
    }
    deliver(options.output, nlohmann::ordered_json{{"bounds", list}}.dump(2) + "\n");
    return ExitCode::kDone;
  }
  std::vector<std::vector<std::string>> rows = {{"lower bound", "value", "where it binds"}};
  for (const LowerBound& bound : bounds) rows.push_back({bound.name, human(bound.value), bound.detail});
  print(table(rows));
  return ExitCode::kDone;
}

}  // namespace

void add_bounds(CLI::App& app, Action& action) {
  auto options = std::make_shared<BoundsOptions>();
  CLI::App* command = app.add_subcommand("bounds", "proven lower bounds on the makespan, best first");
  command->footer(
      "Exit code 3: it is proven that no plan exists.\n\n"
      "Examples:\n"
      "  opweave bounds graph.json cluster.json\n"
      "  opweave bounds graph.json cluster.json --memory-limit 40GiB --json\n"
      "  opweave bounds graph.json cluster.json --memory-modes drop,host");
  options->files.add_to(*command);
  options->settings.add_to(*command);
  options->settings.add_memory_modes_to(*command);
  command->add_option("-o,--output", options->output, "write JSON here")->check(file_name());
  command->add_flag("--json", options->json, "JSON on standard output");
  command->callback([options, &action] { action = [options] { return run_bounds(*options); }; });
}

}  // namespace opweave::cli
