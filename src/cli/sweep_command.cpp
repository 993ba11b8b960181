#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <thread>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/place_options.h"
#include "cli/sweep_progress.h"
#include "distribute/sweep_on.h"
#include "io/message.h"
#include "opweave/io.h"
#include "opweave/sweep.h"
#include "report/names.h"

namespace opweave::cli {
namespace {

/// What the points are shown as.
struct Outputs {
  double price = 0;
  std::filesystem::path csv;
  std::filesystem::path report;

  void add_to(CLI::App& command) {
    command.add_option("--price", price, "of a device-hour, in any currency: costs are in it")->check(number());
    command.add_option("--csv", csv, "write a row per point here")->check(file_name());
    command.add_option("--report", report, "write a page with charts here")->check(file_name());
  }
  [[nodiscard]] std::vector<NamedFile> named() const { return {{"--csv", csv}, {"--report", report}}; }
  void deliver_all(const SweepJournal& journal, const std::string& title) const {
    print(sweep_table(journal, price));
    if (!csv.empty()) deliver(csv, sweep_csv(journal, price));
    if (!report.empty()) deliver(report, sweep_html(journal, title, price));
  }
};

struct SweepOptions {
  std::filesystem::path model;
  std::vector<std::string> clusters;
  std::vector<std::uint32_t> nodes;
  std::vector<std::int64_t> global_batches;
  std::vector<std::int64_t> sequences;
  std::string precision = "bf16";
  std::string target = "any";
  std::vector<std::filesystem::path> profiles;
  double time_limit = 60;
  PlaceOptions place;
  std::string shard = "1/1";
  std::filesystem::path journal;
  Outputs outputs;
};

struct MergeOptions {
  std::vector<std::filesystem::path> journals;
  std::filesystem::path output;
  Outputs outputs;
};

/// "2/4": the second of four, counted from 1.
std::pair<std::size_t, std::size_t> parse_shard(const std::string& text) {
  const std::size_t slash = text.find('/');
  std::size_t numbers[2] = {0, 0};
  const auto parse = [&](std::string_view part, std::size_t& number) {
    const auto [rest, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    return error == std::errc() && rest == part.data() + part.size();
  };
  const std::string_view view(text);
  const bool is_read = slash != std::string::npos && parse(view.substr(0, slash), numbers[0]) &&
                       parse(view.substr(slash + 1), numbers[1]);
  if (!is_read || numbers[0] < 1 || numbers[0] > numbers[1]) {
    throw InputError(fmt::format("--shard: value is {}, expected I/N with I from 1 to N", io::text_in_quotes(text)));
  }
  return {numbers[0] - 1, numbers[1]};
}

SweepQuestion question_of(const SweepOptions& options) {
  SweepQuestion question;
  question.model = load_model(options.model);
  for (const std::string& cluster : options.clusters) {
    const Machines machines = load_machines(cluster);
    for (const std::uint32_t nodes : options.nodes.empty() ? std::vector{machines.nodes} : options.nodes) {
      question.machines.push_back(machines);
      question.machines.back().nodes = nodes;
    }
  }
  question.global_batches = options.global_batches;
  question.sequences = options.sequences;
  const auto precision = precision_from_string(options.precision);
  if (!precision) {
    throw InputError(
        fmt::format("--precision: value is {}, expected bf16 or fp8", io::text_in_quotes(options.precision)));
  }
  const auto target = target_from_string(options.target);
  if (!target) {
    throw InputError(
        fmt::format("--target: value is {}, expected any, megatron or torchtitan", io::text_in_quotes(options.target)));
  }
  question.precision = *precision;
  question.target = *target;
  question.seconds_per_point = options.time_limit;
  for (const auto& path : options.profiles) {
    question.add_profile(parse_profile(read_file(path), path.string()), path.string());
  }
  return question;
}

/// How many points are to be done. What is wrong with the journal, the sweep says.
std::size_t open_points(const SweepQuestion& question, const std::filesystem::path& path, std::size_t shard,
                        std::size_t shards) {
  const std::size_t all = (question.points() + shards - 1 - shard) / shards;
  if (!std::filesystem::is_regular_file(path)) return all;
  const SweepJournal journal = parse_sweep(read_file(path), path.string());
  const auto is_ours = [&](const auto& row) { return row.first % shards == shard; };
  return all - std::min(all, static_cast<std::size_t>(std::ranges::count_if(journal.rows, is_ours)));
}

unsigned all_cores() { return std::max(1U, std::thread::hardware_concurrency()); }

ExitCode run_sweep(const SweepOptions& options) {
  std::vector<NamedFile> outputs = options.outputs.named();
  outputs.push_back({"--journal", options.journal});
  std::vector<NamedFile> inputs = {{"MODEL", options.model}};
  for (const std::string& cluster : options.clusters) {
    if (cluster.ends_with(".json")) inputs.push_back({"--cluster", cluster});
  }
  for (const auto& path : options.profiles) inputs.push_back({"--profile", path});
  expect_files(outputs, inputs);
  const auto [shard, shards] = parse_shard(options.shard);
  const SweepQuestion question = question_of(options);
  const std::atomic<bool>& interrupted = catch_interrupts();
  SweepProgress progress(open_points(question, options.journal, shard, shards));
  const auto on_row = [&](const SweepRow& row) { progress.show(row); };
  const std::optional<distribute::Place> place = options.place.place();
  const auto threads = static_cast<unsigned>(options.place.workers > 0 ? options.place.workers : all_cores());
  const SweepJournal journal = place
                                   ? distribute::run_sweep_on(*place, question, options.journal, shard, shards,
                                                              options.place.workers, &interrupted, on_row)
                                   : run_sweep(question, options.journal, shard, shards, threads, &interrupted, on_row);
  progress.end();
  options.outputs.deliver_all(journal, readable(options.model.stem().string()));
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

ExitCode merge(const MergeOptions& options) {
  std::vector<NamedFile> outputs = options.outputs.named();
  outputs.push_back({"--output", options.output});
  std::vector<NamedFile> inputs;
  for (const auto& path : options.journals) inputs.push_back({"JOURNAL", path});
  expect_files(outputs, inputs);
  const SweepJournal all = merge_sweeps(options.journals);
  if (!options.output.empty()) deliver(options.output, sweep_to_text(all));
  options.outputs.deliver_all(all, "sweep");
  if (all.rows.size() < all.points) {
    complain("warning", fmt::format("{} of {} points are missing", all.points - all.rows.size(), all.points));
  }
  return ExitCode::kDone;
}

constexpr std::string_view kRunExamples =
    "  opweave sweep run config.json --cluster h100 --nodes 8,16,32 --global-batch 512,1024 --sequence 4096,8192 "
    "--report sweep.html\n"
    "  opweave sweep run config.json --cluster h100 --nodes 8,16,32 --global-batch 512 --sequence 8192 --shard 1/2 "
    "--journal 1.jsonl\n";
constexpr std::string_view kMergeExample = "  opweave sweep merge 1.jsonl 2.jsonl -o all.jsonl --csv all.csv";

void add_merge(CLI::App& sweep, Action& action) {
  auto options = std::make_shared<MergeOptions>();
  CLI::App* command = sweep.add_subcommand("merge", "journals of shards -> one");
  command->footer(fmt::format("Example:\n{}", kMergeExample));
  command->add_option("JOURNAL", options->journals, "journals of one question")->required()->check(file_name());
  command->add_option("-o,--output", options->output, "write one journal with all points here")->check(file_name());
  options->outputs.add_to(*command);
  command->callback([options, &action] { action = [options] { return merge(*options); }; });
}

void add_run(CLI::App& sweep, Action& action) {
  auto options = std::make_shared<SweepOptions>();
  CLI::App* command = sweep.add_subcommand("run", "the best strategy of every combination");
  command->footer(fmt::format("Examples:\n{}", kRunExamples));
  command->add_option("MODEL", options->model, "config.json of transformers, or a model of ours")
      ->required()
      ->check(file_name());
  command->add_option("--cluster", options->clusters, "device types or files (opweave.machines), separated by commas")
      ->required()
      ->delimiter(',');
  command->add_option("--nodes", options->nodes, "nodes, separated by commas [as the cluster says]")
      ->delimiter(',')
      ->check(whole<std::uint32_t>(1));
  command->add_option("--global-batch", options->global_batches, "sequences of a step, separated by commas")
      ->required()
      ->delimiter(',')
      ->check(whole_between(1, 100'000'000));
  command->add_option("--sequence", options->sequences, "tokens of a sequence, separated by commas")
      ->required()
      ->delimiter(',')
      ->check(whole_between(1, 100'000'000));
  command->add_option("--precision", options->precision, "of matrix products: bf16 or fp8")->capture_default_str();
  command->add_option("--target", options->target, "any, megatron or torchtitan: nothing that it cannot say")
      ->capture_default_str();
  command
      ->add_option(
          "--profile", options->profiles,
          "constants that calibrate fitted to steps of your own (opweave.profile), at most one per device type, "
          "separated by commas; other types have those of published steps")
      ->delimiter(',')
      ->check(file_name());
  command->add_option("--time-limit", options->time_limit, "seconds per point")->check(number())->capture_default_str();
  options->place.on = "processes";
  options->place.add_to(*command, "processes; threads: all in this process");
  command->add_option("--shard", options->shard, "I/N: only every N-th point, from the I-th on")->capture_default_str();
  command
      ->add_option("--journal", options->journal,
                   "append every finished point here; a sweep that was ended goes on where it stood")
      ->check(file_name());
  options->outputs.add_to(*command);
  command->callback([options, &action] { action = [options] { return run_sweep(*options); }; });
}

}  // namespace

void add_sweep(CLI::App& app, Action& action) {
  CLI::App* sweep = app.add_subcommand(
      "sweep", "strategies over batch sizes, sequence lengths and cluster sizes: table, CSV, charts");
  sweep->footer(fmt::format("Examples:\n{}{}", kRunExamples, kMergeExample));
  sweep->require_subcommand(1);
  add_run(*sweep, action);
  add_merge(*sweep, action);
}

}  // namespace opweave::cli
