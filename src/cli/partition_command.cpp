#include <fmt/format.h>

#include <memory>

#include "cli/command.h"
#include "cli/command_files.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "opweave/io.h"
#include "opweave/msr.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

struct PartitionOptions {
  std::filesystem::path instance;
  std::filesystem::path output;
  std::string objective = "throughput";
  std::string contiguity = "none";
  std::uint64_t seed = 1;
  std::optional<double> time_limit;
  std::optional<std::uint64_t> work_limit;
};

/// The words are among those that the options allow.
MsrOptions placing(const PartitionOptions& options) {
  MsrOptions result;
  if (options.objective == to_string(MsrObjective::kLatency)) result.objective = MsrObjective::kLatency;
  for (const Contiguity contiguity : {Contiguity::kConvex, Contiguity::kOrdered}) {
    if (options.contiguity == to_string(contiguity)) result.contiguity = contiguity;
  }
  result.seed = options.seed;
  return result;
}

ExitCode run_partition(const PartitionOptions& options) {
  const MsrOptions place = placing(options);
  expect_files({{"--output", options.output}}, {{"INSTANCE", options.instance}});
  const MsrInstance instance = parse_msr(read_file(options.instance), options.instance.string());
  const std::atomic<bool>& interrupted = catch_interrupts();
  // Where the user limits the work alone, the result must not depend on the clock.
  const std::optional<double> seconds =
      options.time_limit || options.work_limit ? options.time_limit : std::optional<double>(60);
  Budget budget(seconds, options.work_limit);
  budget.watch(&interrupted);
  const MsrAnswer answer = place_msr(instance, budget, place);
  if (answer.placement.empty()) {
    complain("error", answer.proven ? "no placement exists" : "no placement found");
    return interrupted ? ExitCode::kInterrupted : ExitCode::kNoPlan;
  }
  deliver(options.output, msr_answer_to_json(instance, answer, place));
  if (!options.output.empty()) {
    print(fmt::format("{}: {} ms, lower bound {} ms ({}), gap {}\n", answer.proven ? "optimal" : "feasible",
                      answer.value, answer.bound, answer.bound_name, percent(answer.gap())));
  }
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

}  // namespace

void add_partition(CLI::App& app, Action& action) {
  auto options = std::make_shared<PartitionOptions>();
  CLI::App* command = app.add_subcommand(
      "partition", "place the nodes of a published instance (arXiv 2006.16423) for throughput or latency");
  command->footer(
      "Writes the placement with its value under the suite's own objective and a proven lower bound "
      "(docs/formats.md).\n"
      "Ctrl-C ends the search and writes the best placement (exit code 130). Exit code 3: no placement.\n\n"
      "Examples:\n"
      "  opweave partition bert24_inference.json --contiguity ordered -o placement.json\n"
      "  opweave partition resnet50_training.json --contiguity none --time-limit 20 -o placement.json\n"
      "  opweave partition bert_l-3_inference.json --objective latency -o placement.json");
  command->add_option("INSTANCE", options->instance, "instance (JSON of that suite)")->required()->check(file_name());
  command->add_option("-o,--output", options->output, "write the placement here instead of standard output")
      ->check(file_name());
  command->add_option("--objective", options->objective, "least largest load, or time of one sample")
      ->check(CLI::IsMember({"throughput", "latency"}))
      ->capture_default_str();
  command->add_option("--contiguity", options->contiguity, "what the nodes of a device must form, for throughput")
      ->check(CLI::IsMember({"ordered", "convex", "none"}))
      ->capture_default_str();
  command->add_option("--time-limit", options->time_limit, "seconds [60, or none if --work-limit is given]")
      ->check(number());
  command->add_option("--work-limit", options->work_limit, "steps of each phase of the search")
      ->check(whole<std::uint64_t>());
  command->add_option("--seed", options->seed, "seed of the search")
      ->check(whole<std::uint64_t>())
      ->capture_default_str();
  command->callback([options, &action] { action = [options] { return run_partition(*options); }; });
}

}  // namespace opweave::cli
