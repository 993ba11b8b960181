// A strategy -> what starts it in a framework of others.
#include <fmt/format.h>

#include <memory>

#include "cli/convert_command.h"
#include "cli/inputs.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/training_options.h"
#include "io/message.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/pytorch_csv.h"
#include "opweave/strategy_files.h"
#include "opweave/strategy_record.h"

namespace opweave::cli {
namespace {

struct ConvertStrategyOptions {
  std::filesystem::path strategy;
  std::filesystem::path model;
  TrainingOptions training;
  bool is_training_given = false;  ///< else the strategy's file says it
  std::string format;
  std::string base;
  std::filesystem::path output;
};

/// The order of a zero-bubble schedule, whose name torchtitan knows for several stages per rank only.
std::string schedule_csv(const Strategy& s, const TrainingRun& run) {
  const auto count = static_cast<std::uint32_t>(run.global_batch / (std::int64_t{s.data} * s.micro_batch));
  const Expert expert = s.schedule == PipelineKind::kZeroBubble1 ? Expert::kZB1P : Expert::kZB2P;
  const ExpertSize size{.devices = s.pipeline, .microbatches = count, .group = {}};
  if (const auto reason = why_undefined(expert, size))
    throw InputError(fmt::format("{} {}", to_string(expert), *reason));
  const StageCosts costs{Duration(1), Duration(1), Duration(1), {}};
  const auto schedule = generate(expert, size, costs);
  if (!schedule) throw InputError(fmt::format("{} finds no order", to_string(expert)));
  return to_pytorch_csv(
      *schedule, CsvDialect::kComputeOnly,
      earliest_ends(*schedule, costs.forward, costs.input_gradient, costs.weight_gradient, costs.hop_latency));
}

TrainingRun training_of(const ConvertStrategyOptions& options, const std::string& content) {
  if (options.is_training_given) return options.training.run();
  try {
    return parse_strategy_record(content, options.strategy.string()).run;
  } catch (const InputError& error) {
    throw InputError(error.what(), "--global-batch and --sequence say what it is for");
  }
}

ExitCode run_convert_strategy(const ConvertStrategyOptions& options) {
  expect_files({{"--output", options.output}}, {{"STRATEGY", options.strategy}, {"MODEL", options.model}});
  const auto format = strategy_format_from_string(options.format);
  if (!format) {
    throw InputError(fmt::format("--to: value is {}, expected megatron, bridge, torchtitan or deepspeed",
                                 io::text_in_quotes(options.format)));
  }
  const std::string source = options.strategy.string();
  const std::string content = read_file(options.strategy);
  const Strategy strategy = parse_strategy(content, source);
  const ModelDescription model = load_model(options.model);
  const TrainingRun training = training_of(options, content);
  StrategyFileOptions file;
  file.base = options.base;
  const bool has_schedule = has_schedule_file(*format, strategy);
  std::filesystem::path csv = options.output;
  if (has_schedule) {
    if (options.output.empty()) {
      throw InputError(fmt::format("--output is missing, expected a place for the schedule {} beside the configuration",
                                   to_string(strategy.schedule)));
    }
    csv.replace_extension(".csv");
    file.schedule_csv = csv.filename().string();
  }
  const std::string text = naming(source, [&] {
    // That degrees fit the model and each other does not depend on the machines: the devices are those of the strategy.
    Machines machines;
    machines.devices_per_node = static_cast<std::uint32_t>(strategy.devices());
    if (std::string why = why_impossible(model, machines, training, strategy); !why.empty()) throw InputError(why);
    return strategy_file(*format, model, training, strategy, file);
  });
  if (has_schedule) deliver(csv, schedule_csv(strategy, training));
  deliver(options.output, text);
  return ExitCode::kDone;
}

}  // namespace

void add_convert_strategy(CLI::App& convert, Action& action) {
  auto options = std::make_shared<ConvertStrategyOptions>();
  CLI::App* command = convert.add_subcommand("strategy", "strategy -> arguments and configurations of frameworks");
  command->footer(
      "STRATEGY is what `opweave parallelize -o` writes. Targets, by the versions that the files are tested with:\n"
      "megatron (Megatron-Core 0.19.2: arguments, as a list of bash), bridge (Megatron-Bridge 0.6.2: a recipe),\n"
      "torchtitan (0.3.0: a configuration function), deepspeed (a configuration file). What a target has no word for\n"
      "is refused with the reason (docs/export.md).\n\n"
      "Examples:\n"
      "  opweave convert strategy best.json config.json --to megatron -o args.sh\n"
      "  opweave convert strategy best.json config.json --to torchtitan --base llama3.llama3_70b -o opweave_config.py");
  command->add_option("STRATEGY", options->strategy, "the strategy (opweave.strategy)")->required()->check(file_name());
  command->add_option("MODEL", options->model, "its model: config.json of transformers, or opweave.model")
      ->required()
      ->check(file_name());
  options->training.add_optional_to(*command);
  command->add_option("--to", options->format, "megatron, bridge, torchtitan or deepspeed")->required();
  command->add_option("--base", options->base,
                      "configuration function of the framework to start from, like llama3.llama3_70b (torchtitan) or "
                      "llama3_70b_pretrain_config (bridge)");
  command->add_option("-o,--output", options->output, "write the file here instead of standard output")
      ->check(file_name());
  command->callback([options, command, &action] {
    options->is_training_given = TrainingOptions::are_given(*command);
    action = [options] { return run_convert_strategy(*options); };
  });
}

}  // namespace opweave::cli
