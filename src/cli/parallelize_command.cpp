#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/parallelize_hints.h"
#include "cli/parallelize_schedule.h"
#include "cli/place_options.h"
#include "cli/progress.h"
#include "cli/strategy_insight.h"
#include "cli/training_options.h"
#include "distribute/strategies_on.h"
#include "io/message.h"
#include "opweave/io.h"
#include "opweave/strategy_answer.h"
#include "opweave/strategy_record.h"
#include "opweave/strategy_targets.h"
#include "report/format.h"
#include "report/names.h"
#include "report/strategy_words.h"

namespace opweave::cli {
namespace {

struct ParallelizeOptions {
  std::filesystem::path model;
  std::string cluster;
  std::optional<std::uint32_t> nodes;
  TrainingOptions training;
  TrainingRun run;  ///< of `training`
  std::string target = "any";
  std::string fix;
  std::filesystem::path profile;        ///< empty: the built-in one
  std::optional<FittedProfile> fitted;  ///< that of `profile`, or else of the strategy to value
  std::filesystem::path evaluated;
  std::size_t top = 10;
  double time_limit = 60;
  PlaceOptions place;
  std::filesystem::path output;
  ScheduleRequest schedule;  ///< without a folder: none
  std::filesystem::path report;
  bool json = false;
};

/// "tp=8,pp=4": short names as people use them.
HeldDecisions parse_held(const std::string& text) {
  HeldDecisions held;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    const std::size_t equal = part.find('=');
    try {
      hold(held, part.substr(0, equal), equal == std::string_view::npos ? "" : part.substr(equal + 1));
    } catch (const InputError& error) {
      throw InputError(fmt::format("--fix: {}", error.what()));
    }
  }
  return held;
}

/// What is known of the whole space.
std::string space_text(const StrategySearchResult& result) {
  std::string text =
      fmt::format("{} meshes, {} looked into, {}\n", result.meshes, result.valued,
                  result.is_complete ? "the others excluded by their bounds" : "the others not all excluded");
  if (result.bound > Duration(0) && !result.ranked.empty()) {
    const Duration best = result.ranked.front().value.time.step;
    text += fmt::format("no strategy of the space takes less than {}: gap {}\n", human(result.bound),
                        percent(best - result.bound, best));
  }
  return text;
}

std::string heading(const ModelDescription& model, const Machines& machines, const ParallelizeOptions& options,
                    const CalibrationProfile& profile, const HeldDecisions& held, const StrategySearchResult& result) {
  std::string text = fmt::format("{}: {:.2f} billion parameters on {} x {} {}, batch {} x {} tokens\n",
                                 readable(options.model.string()), static_cast<double>(parameters(model)) * 1e-9,
                                 machines.nodes, machines.devices_per_node, readable(machines.device.name),
                                 options.run.global_batch, options.run.sequence);
  const Strategy& best = result.ranked.front().strategy;
  for (const ModelComponent& component : model.components) {
    const bool has_mesh = best.component && best.component->name == component.name;
    text += fmt::format("{}: width {}, {} tokens per sequence, its layers before the others on {}\n",
                        readable(component.name), component.hidden, component.tokens.value_or(options.run.sequence),
                        has_mesh ? fmt::format("{} devices of its own", best.component->devices()) : "the same mesh");
  }
  text += profile_text(profile, model, machines) + "\n";
  text += host_text(result.ranked.front().value);
  const std::vector<std::string> beyond = held_beyond_space(held, machines, options.run);
  if (!beyond.empty()) text += fmt::format("held beyond the space of the search: {}\n", fmt::join(beyond, "; "));
  if (result.meshes > 0) text += space_text(result);
  return text + "\n";
}

/// Where no number of nodes helps.
std::string what_would_help(const StrategyValue& least, const Machines& machines) {
  const bool fits_device = least.memory.total() <= machines.device.memory;
  return fmt::format("fewer tokens per sequence, or {} with more memory", fits_device ? "hosts" : "devices");
}

ExitCode report(const ModelDescription& model, const Machines& machines, const ParallelizeOptions& options,
                const CalibrationProfile& profile, const HeldDecisions& held, const StrategySearchResult& result,
                const Budget& budget) {
  const auto is_interrupted = [&] { return budget.stopped(); };
  if (result.ranked.empty()) {
    if (!result.least_memory) {
      complain("error", "no strategy was valued within the time limit");
      return is_interrupted() ? ExitCode::kInterrupted : ExitCode::kNoPlan;
    }
    const RankedStrategy& least = *result.least_memory;
    complain("error", why_none_fits(least, machines));
    const StrategyQuestion question{model, machines, options.run, profile, *target_from_string(options.target), held};
    std::string hint = decision_that_would_fit(question, budget);
    if (hint.empty()) hint = nodes_that_would_work(question, budget);
    complain("hint", hint.empty() ? what_would_help(least.value, machines) : hint);
    return is_interrupted() ? ExitCode::kInterrupted : ExitCode::kNoPlan;
  }
  const Strategy& best = result.ranked.front().strategy;
  std::optional<PlannedSchedule> planned;
  if (!options.schedule.folder.empty()) {
    planned = plan_schedule(model, machines, options.run, best, profile, options.schedule, budget);
  }
  if (options.json) {
    std::string text = strategies_to_json(profile, result);
    if (planned) {
      auto answer = nlohmann::ordered_json::parse(text);
      answer["planned"] = planned->json;
      text = answer.dump(2) + "\n";
    }
    print(text);
  } else {
    const std::string text = heading(model, machines, options, profile, held, result) + as_table(result.ranked);
    print(text + (planned ? planned->text : ""));
  }
  if (!options.output.empty()) {
    const Target target = *target_from_string(options.target);
    deliver(options.output, strategy_record_to_json({best, model, machines, options.run, target, options.fitted}));
  }
  if (!options.report.empty()) {
    deliver(options.report, strategy_report_html({model, machines, options.run, profile, result}));
  }
  return is_interrupted() ? ExitCode::kInterrupted : ExitCode::kDone;
}

StrategySearchResult search(const StrategyQuestion& q, std::size_t most, const PlaceOptions& where,
                            const Budget& budget) {
  const std::optional<distribute::Place> place = where.place();
  ProgressLine line;
  const auto tell = [&](const StrategyProgress& state) {
    Progress progress;
    progress.seconds = state.seconds;
    progress.makespan = state.best;
    progress.lower_bound = state.bound;
    if (state.meshes > 0) progress.method = fmt::format("mesh {} of {}", state.looked_into, state.meshes);
    line.show(progress);
  };
  try {
    if (place) {
      return distribute::search_strategies_on(*place, where.workers, q.model, q.machines, q.run, q.profile, q.target,
                                              q.held, most, budget, tell);
    }
    return search_strategies(q.model, q.machines, q.run, q.profile, q.target, q.held, most, budget, tell);
  } catch (const InputError& error) {
    throw InputError(error.what(), decision_that_would_work(q, budget));
  }
}

/// The user's profile: that of --profile, else the one that the strategy to value was found with.
std::optional<FittedProfile> own_profile(const ParallelizeOptions& options, const Machines& machines) {
  std::optional<FittedProfile> fitted;
  std::string place;
  if (!options.profile.empty()) {
    place = options.profile.string() + ": ";
    fitted = parse_profile(read_file(options.profile), options.profile.string());
  } else if (!options.evaluated.empty()) {
    place = options.evaluated.string() + ": /for/profile";
    fitted = parse_profile_of_strategy(read_file(options.evaluated), options.evaluated.string());
  }
  if (fitted) require_profile_for(*fitted, place, machines, options.run.precision);
  return fitted;
}

/// Before the search: folders are made, and what will be written can be. Files get their names in a folder.
void prepare_outputs(ParallelizeOptions& options) {
  if (names_folder(options.output)) {
    make_folder(options.output);
    if (options.report.empty()) options.report = options.output / "report.html";
    options.output /= "strategy.json";
  }
  std::vector<NamedFile> outputs = {{"--output", options.output}, {"--report", options.report}};
  if (!options.schedule.folder.empty()) {
    make_folder(options.schedule.folder);
    for (const char* name : kScheduleFiles) outputs.push_back({"--schedule", options.schedule.folder / name});
  }
  const bool is_file = options.cluster.ends_with(".json");
  expect_files(outputs, {{"MODEL", options.model},
                         {"--cluster", is_file ? options.cluster : ""},
                         {"--evaluate", options.evaluated},
                         {"--profile", options.profile}});
}

ExitCode run_parallelize(ParallelizeOptions options) {
  Budget budget(options.time_limit, std::nullopt);
  const ModelDescription model = load_model(options.model);
  Machines machines = load_machines(options.cluster);
  if (options.nodes) machines.nodes = *options.nodes;
  options.run = options.training.run();
  const auto target = target_from_string(options.target);
  if (!target) {
    throw InputError(
        fmt::format("--target: value is {}, expected any, megatron or torchtitan", io::text_in_quotes(options.target)));
  }
  options.fitted = own_profile(options, machines);
  const CalibrationProfile profile = options.fitted ? options.fitted->constants_for(model)
                                                    : profile_for(model, machines, options.run.precision, *target);
  const HeldDecisions held = parse_held(options.fix);
  prepare_outputs(options);
  const std::atomic<bool>& interrupted = catch_interrupts();
  budget.watch(&interrupted);
  StrategySearchResult result;
  if (options.evaluated.empty()) {
    result = search({model, machines, options.run, profile, *target, held}, options.top, options.place, budget);
  } else {
    const Strategy strategy = parse_strategy(read_file(options.evaluated), options.evaluated.string());
    const std::string why = why_untrainable(*target, model, machines, options.run, strategy);
    if (!why.empty()) {
      const StrategyQuestion question{model, machines, options.run, profile, *target, held};
      throw InputError(options.evaluated.string() + ": " + why, strategy_that_would_work(question, strategy, budget));
    }
    result.ranked = {{strategy, evaluate(model, machines, options.run, strategy, profile)}};
    warn_of_memory(result.ranked.front().value, machines);
  }
  return report(model, machines, options, profile, held, result, budget);
}

}  // namespace

void add_parallelize(CLI::App& app, Action& action) {
  auto options = std::make_shared<ParallelizeOptions>();
  CLI::App* command =
      app.add_subcommand("parallelize", "degrees of parallelism, microbatch, recomputation and schedule for a model");
  command->footer(
      "MODEL is a config.json of Hugging Face transformers or a model of ours (opweave.model). Times are predictions\n"
      "with the stated error; docs/strategies.md has the formulas and the space that is searched.\n"
      "Exit code 3: no strategy fits in memory.\n\n"
      "Examples:\n"
      "  opweave parallelize config.json --cluster h100 --nodes 8 --global-batch 512 --sequence 8192\n"
      "  opweave parallelize config.json --cluster h100 --nodes 8 --global-batch 512 --sequence 8192 --target megatron "
      "--fix tp=8,pp=4\n"
      "  opweave parallelize config.json --cluster h100 --nodes 8 --global-batch 512 --sequence 8192 --profile "
      "profile.json -o run/\n"
      "  opweave parallelize config.json --cluster h100 --nodes 8 --global-batch 512 --sequence 8192 --evaluate "
      "mine.json");
  command->add_option("MODEL", options->model, "the model")->required()->check(file_name());
  command->add_option("--cluster", options->cluster, "device type (h100, a100, ...), or a file (opweave.machines)")
      ->required();
  command->add_option("--nodes", options->nodes, "nodes [as the file says; 1 of a device type]")
      ->check(whole<std::uint32_t>(1));
  options->training.add_to(*command);
  command->add_option("--target", options->target, "any, megatron or torchtitan: nothing that it cannot say")
      ->capture_default_str();
  command->add_option(
      "--fix", options->fix,
      "decisions that are held: tp=8,pp=4,vpp=2,cp=1,ep=8,dp=4,mbs=1,modules=mlp+moe_act,offload=0.5,...; of a "
      "component: vision.tp=1,vision.mesh=own");
  command
      ->add_option("--profile", options->profile,
                   "constants that calibrate fitted to steps of your own (opweave.profile) [of published steps; with "
                   "--evaluate those that the strategy was found with]")
      ->check(file_name());
  command->add_option("--evaluate", options->evaluated, "value this strategy instead (opweave.strategy)")
      ->check(file_name())
      ->excludes("--fix");
  command->add_option("--top", options->top, "strategies to show")
      ->check(whole_between(1, 10'000))
      ->capture_default_str();
  command->add_option("--time-limit", options->time_limit, "seconds")->check(number())->capture_default_str();
  options->place.add_to(*command, "this process alone");
  command
      ->add_option("-o,--output", options->output,
                   "write the best strategy here; into a folder (run/): strategy.json and report.html")
      ->check(file_name());
  command
      ->add_option("--schedule", options->schedule.folder,
                   "plan the pipeline of the best strategy operator by operator with the time that is left, and write "
                   "graph, cluster and plan into this folder")
      ->check(file_name());
  command->add_option("--seed", options->schedule.seed, "seed of --schedule")
      ->check(whole<std::uint64_t>())
      ->capture_default_str();
  command->add_option("--threads", options->schedule.threads, "threads of --schedule")
      ->check(whole_between(1, kMostThreads))
      ->capture_default_str();
  command->add_option("--report", options->report, "write a page with the strategy, its memory and its time here")
      ->check(file_name());
  command->add_flag("--json", options->json, "JSON on standard output");
  command->callback([options, &action] { action = [options] { return run_parallelize(*options); }; });
}

}  // namespace opweave::cli
