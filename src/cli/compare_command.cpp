#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "report/comparison.h"

namespace opweave::cli {
namespace {

struct CompareOptions {
  std::vector<std::string> first;
  std::vector<std::vector<std::string>> others;
  SettingOptions settings;
  std::filesystem::path output;
  bool all_experts = false;
  bool json = false;
};

/// Compares GRAPH CLUSTER [PLAN], and with all experts the same work with its placement open.
void compare_files(const std::vector<std::string>& files, const CompareOptions& options,
                   std::vector<Comparison>& result) {
  if (files.size() < 2 || files.size() > 3) {
    throw InputError(fmt::format("compare: {} files given, expected GRAPH CLUSTER [PLAN]", files.size()));
  }
  const InputFiles inputs{files[0], files[1]};
  const auto add = [&](const Problem& problem, const Plan* plan) {
    result.push_back(compare_schedules(problem, plan));
    if (!options.all_experts) return;
    Comparison open = compare_schedules(with_open_placement(problem), nullptr);
    const auto is_known = [known = result.back().schedules](const ComparedSchedule& schedule) {
      return std::ranges::any_of(known, [&](const ComparedSchedule& other) {
        return other.row.name == schedule.row.name && other.row.makespan == schedule.row.makespan;
      });
    };
    std::erase_if(open.schedules, is_known);
    std::erase_if(open.left_out, [known = result.back().left_out](const std::string& reason) {
      return std::ranges::find(known, reason) != known.end();
    });
    result.push_back(std::move(open));
  };
  if (files.size() == 2) {
    add(load_problem(inputs, options.settings), nullptr);
  } else {
    const PlannedProblem planned = load_valid_plan(inputs, files[2]);
    add(planned.problem, &planned.plan);
  }
}

nlohmann::ordered_json to_json(const Comparison& comparison) {
  auto schedules = nlohmann::ordered_json::array();
  for (const auto& [row, activations] : comparison.schedules) {
    nlohmann::ordered_json entry = {{"name", row.name},
                                    {"makespan_ns", row.makespan.value()},
                                    {"gap", nullptr},
                                    {"bubble_ratio", row.bubble_ratio},
                                    {"peak_memory_bytes", row.peak_memory.value()},
                                    {"peak_activations", nullptr},
                                    {"fits_memory", row.fits_memory},
                                    {"parameter_copies", row.parameter_copies}};
    if (row.gap) entry["gap"] = *row.gap;
    if (activations) entry["peak_activations"] = *activations;
    schedules.push_back(std::move(entry));
  }
  return {{"problem", comparison.problem},
          {"lower_bound_ns", comparison.bound.value.value()},
          {"lower_bound_name", comparison.bound.name},
          {"schedules", schedules},
          {"left_out", comparison.left_out}};
}

ExitCode run_compare(const CompareOptions& options) {
  std::vector<NamedFile> inputs;
  const auto add = [&](const std::string& prefix, const std::vector<std::string>& files) {
    static constexpr std::array kWords = {"GRAPH", "CLUSTER", "PLAN"};
    for (std::size_t i = 0; i < files.size() && i < kWords.size(); ++i)
      inputs.push_back({prefix + kWords[i], files[i]});
  };
  add("", options.first);
  for (const auto& files : options.others) add("--with ", files);
  expect_files({{"--output", options.output}}, inputs);
  std::vector<Comparison> comparisons;
  compare_files(options.first, options, comparisons);
  for (const auto& files : options.others) compare_files(files, options, comparisons);
  if (options.json || !options.output.empty()) {
    auto list = nlohmann::ordered_json::array();
    for (const Comparison& comparison : comparisons) list.push_back(to_json(comparison));
    deliver(options.output, nlohmann::ordered_json{{"comparisons", list}}.dump(2) + "\n");
  } else {
    print(comparison_table(comparisons));
  }
  return ExitCode::kDone;
}

}  // namespace

void add_compare(CLI::App& app, Action& action) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command = app.add_subcommand("compare", "a plan beside the published schedules that apply");
  command->footer(
      "Which schedules apply follows from the graph's stages, their devices and the replicas (docs/experts.md).\n"
      "Their memory is reported, not enforced: \"fits\" says whether they keep to the capacity; those that do not have "
      "no\n"
      "gap, since the bound is one for plans that fit.\n"
      "With --experts the table also has every other published schedule on the same devices with the same memory:\n"
      "the placement is left open, every layer is a stage, and there may be two copies of the parameters.\n"
      "Options that replace settings hold where no plan is given; a plan carries its own.\n\n"
      "Examples:\n"
      "  opweave compare graph.json cluster.json\n"
      "  opweave compare graph.json cluster.json plan.json\n"
      "  opweave compare --experts graph.json cluster.json plan.json\n"
      "  opweave compare v.graph.json v.cluster.json v.plan.json --with loop.graph.json loop.cluster.json");
  command->add_option("FILES", options->first, "GRAPH CLUSTER [PLAN]")->required()->expected(2, 3)->check(file_name());
  command->add_option("--with", options->others, "GRAPH CLUSTER [PLAN] to add to the table; may be repeated")
      ->expected(2, 3)
      ->check(file_name());
  command->add_flag("--experts", options->all_experts, "also the published schedules that need another placement");
  options->settings.add_to(*command);
  command->add_option("-o,--output", options->output, "write JSON here")->check(file_name());
  command->add_flag("--json", options->json, "JSON on standard output");
  command->callback([options, &action] { action = [options] { return run_compare(*options); }; });
}

}  // namespace opweave::cli
