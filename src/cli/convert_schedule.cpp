// Pipeline schedules as text (PyTorch's CSV): to a plan, and from a published schedule's definition.
#include <fmt/format.h>

#include <memory>

#include "cli/command_text.h"
#include "cli/convert_command.h"
#include "cli/inputs.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/pytorch_csv.h"
#include "opweave/simulate.h"

namespace opweave::cli {
namespace {

struct CsvOptions {
  std::filesystem::path schedule;
  InputFiles files;
  std::string pairs = "split";
  std::string channels = "in-order";
  std::filesystem::path output;
  std::string command;  ///< as the plan states it
};

PairMode parse_pairs(const std::string& text) {
  if (text == "atomic") return PairMode::kAtomic;
  if (text == "split") return PairMode::kSplit;
  throw InputError(fmt::format("--pairs: value is \"{}\", expected atomic or split", text));
}

ExitCode csv_to_plan(const CsvOptions& options) {
  expect_files({{"--output", options.output}}, options.files.with({{"SCHEDULE", options.schedule}}));
  const std::string source = options.schedule.string();
  const CsvReading reading = read_pytorch_csv(read_file(options.schedule), source, parse_channels(options.channels));
  for (const std::string& remark : reading.remarks) complain("hint", source + ": " + remark);
  const PipelineSchedule& schedule = reading.schedule;
  const Problem problem = load_problem(options.files);
  SimulationOptions how;
  how.contention = problem.settings().contention;
  const SimulationResult result = simulate(problem, to_order(problem, schedule, parse_pairs(options.pairs)), how);
  if (!result.deadlock.empty()) {
    throw InputError(fmt::format("{}: the order cannot run: {}", options.schedule.string(), result.deadlock));
  }
  Provenance provenance;
  provenance.version = OPWEAVE_VERSION;
  provenance.method = kReadSchedule;
  provenance.limit = "none";
  provenance.command = options.command;
  provenance.graph_hash = content_hash(problem.graph());
  provenance.cluster_hash = content_hash(problem.cluster());
  const Plan plan = make_plan(problem, result.schedule, lower_bounds(problem), provenance);
  deliver(options.output, plan_to_json(plan, problem.graph(), problem.cluster()));
  for (const Violation& violation : check(problem.graph(), problem.cluster(), plan, 1)) {
    complain("warning", fmt::format("{}: the plan is not valid here: {}: {}", options.schedule.string(),
                                    to_string(violation.rule), violation.message));
  }
  return ExitCode::kDone;
}

struct ExpertOptions {
  std::string expert;
  std::uint32_t devices = 0;
  std::uint32_t microbatches = 0;
  std::optional<std::uint32_t> chunks;
  std::optional<std::uint32_t> group;
  std::vector<std::int64_t> costs = {1, 1, 1};
  std::string dialect = "compute_only";
  std::filesystem::path output;
};

ExitCode expert_to_csv(const ExpertOptions& options) {
  expect_files({{"--output", options.output}}, {});
  const Expert expert = expert_named(options.expert);
  const bool is_loop = shape_of(expert) == PipelineShape::kLoop;
  for (const auto& [given, name] :
       {std::pair(options.chunks.has_value(), "--chunks"), std::pair(options.group.has_value(), "--group")}) {
    if (given && !is_loop) {
      throw InputError(fmt::format("{}: only for schedules on loops, {} has shape {}", name, to_string(expert),
                                   to_string(shape_of(expert))));
    }
  }
  ExpertSize size{options.devices, options.microbatches, options.chunks.value_or(2), options.group};
  if (const auto reason = why_undefined(expert, size)) {
    throw InputError(fmt::format("{} {}", to_string(expert), *reason));
  }
  const StageCosts costs{Duration(options.costs[0]), Duration(options.costs[1]), Duration(options.costs[2]), {}};
  const auto schedule = generate(expert, size, costs);
  if (!schedule) throw InputError(fmt::format("{} finds no order for these costs", to_string(expert)));
  if (options.dialect != "compute_only" && options.dialect != "compute_comms") {
    throw InputError(
        fmt::format("--dialect: value is \"{}\", expected compute_only or compute_comms", options.dialect));
  }
  const CsvDialect dialect = options.dialect == "compute_only" ? CsvDialect::kComputeOnly : CsvDialect::kComputeComms;
  const ActionEnds ends =
      earliest_ends(*schedule, costs.forward, costs.input_gradient, costs.weight_gradient, costs.hop_latency);
  deliver(options.output, to_pytorch_csv(*schedule, dialect, ends));
  return ExitCode::kDone;
}

}  // namespace

void add_convert_csv(CLI::App& convert, Action& action) {
  auto options = std::make_shared<CsvOptions>();
  CLI::App* command = convert.add_subcommand("csv", "PyTorch pipeline schedule -> plan for a graph with stages");
  command->footer(
      "The schedule's order is kept and everything starts as early as it can. A plan that breaks a rule here,\n"
      "say the memory of a device, is written with a warning.\n\n"
      "Example:\n"
      "  opweave convert csv schedule.csv graph.json cluster.json -o plan.json");
  command->add_option("SCHEDULE", options->schedule, "schedule (CSV, compute_only or compute_comms)")
      ->required()
      ->check(file_name());
  options->files.add_to(*command);
  command->add_option("--pairs", options->pairs, "how OVERLAP_F_B runs: atomic or split")->capture_default_str();
  command
      ->add_option("--channels", options->channels,
                   "how messages take turns where they have places in SCHEDULE: in-order, rendezvous- or "
                   "buffered- with rank, pair or direction, or free (docs/messages.md)")
      ->capture_default_str();
  command->add_option("-o,--output", options->output, "write the plan here instead of standard output")
      ->check(file_name());
  command->callback([options, command, &action] {
    options->command = command_text(*command, {"--output"});
    action = [options] { return csv_to_plan(*options); };
  });
}

void add_convert_expert(CLI::App& convert, Action& action) {
  auto options = std::make_shared<ExpertOptions>();
  CLI::App* command = convert.add_subcommand("expert", "published schedule -> PyTorch CSV");
  command->footer("Example:\n  opweave convert expert ZB-V --devices 4 --microbatches 8 -o schedule.csv");
  command->add_option("SCHEDULE", options->expert, "1F1B, ZB1P, ZB-V, ... (docs/experts.md)")->required();
  command->add_option("--devices", options->devices, "number of devices")->required()->check(whole<std::uint32_t>(1));
  command->add_option("--microbatches", options->microbatches, "microbatches")
      ->required()
      ->check(whole<std::uint32_t>(1));
  command->add_option("--chunks", options->chunks, "stages per device, for schedules on loops [2]")
      ->check(whole<std::uint32_t>(1));
  command
      ->add_option("--group", options->group,
                   "microbatches that go through a chunk before the next one, for interleaved schedules [about the "
                   "number of devices]")
      ->check(whole<std::uint32_t>(1));
  command->add_option("--costs", options->costs, "times of F, I and W of a stage, in any unit")
      ->expected(3)
      ->check(whole<std::int64_t>())
      ->capture_default_str();
  command->add_option("--dialect", options->dialect, "compute_only or compute_comms")->capture_default_str();
  command->add_option("-o,--output", options->output, "write the CSV here instead of standard output")
      ->check(file_name());
  command->callback([options, &action] { action = [options] { return expert_to_csv(*options); }; });
}

}  // namespace opweave::cli
