#include <memory>
#include <optional>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "opweave/io.h"
#include "opweave/report.h"
#include "report/comparison.h"

namespace opweave::cli {
namespace {

struct ReportOptions {
  InputFiles files;
  std::filesystem::path plan;
  std::filesystem::path output;
  std::filesystem::path trace;
};

ExitCode run_report(const ReportOptions& options) {
  expect_files({{"--output", options.output}, {"--trace", options.trace}},
               options.files.with({{"PLAN", options.plan}}));
  const PlannedProblem planned = load_valid_plan(options.files, options.plan, Modes::kTake);
  // Published schedules know no movements.
  const auto rows =
      planned.movements ? std::vector<ComparisonRow>() : rows_of(compare_schedules(planned.problem, &planned.plan));
  deliver(options.output, report_html(planned.problem, planned.plan, rows, {std::nullopt, planned.times_from}));
  if (!options.trace.empty()) write_file(options.trace, perfetto_trace(planned.problem, planned.plan));
  return ExitCode::kDone;
}

}  // namespace

void add_report(CLI::App& app, Action& action) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command = app.add_subcommand("report", "pictures of a plan: one offline HTML page, and a trace");
  command->footer(
      "Example:\n"
      "  opweave report graph.json cluster.json plan.json -o report.html --trace trace.json");
  options->files.add_to(*command);
  command->add_option("PLAN", options->plan, "plan (JSON)")->required()->check(file_name());
  command->add_option("-o,--output", options->output, "write the page here instead of standard output")
      ->check(file_name());
  command->add_option("--trace", options->trace, "write a trace for Perfetto")->check(file_name());
  command->callback([options, &action] { action = [options] { return run_report(*options); }; });
}

}  // namespace opweave::cli
