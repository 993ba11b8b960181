/// Models with branches: the examples of examples/, against the published schedules of the flattened model.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "bench.h"

namespace opweave::bench {
namespace {

constexpr double kMillisecond = 1e6;
constexpr std::uint32_t kDevices = 8;
constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;
constexpr Duration kLatency{10'000};

constexpr BranchedExample kExamples[] = {
    {"vision-language", 76, 360'000'000'000}, {"omni", 76, 360'000'000'000}, {"two-tower", 36, 240'000'000'000}};

struct Baseline {
  std::string name;
  Duration makespan;
};

void take_better(std::optional<Baseline>& best, const ExpertPlan& expert, Duration makespan) {
  if (!best || makespan < best->makespan) best = Baseline{expert.name, makespan};
}

}  // namespace

std::span<const BranchedExample> branched_examples() { return kExamples; }

Problem branched_problem(const BranchedExample& example, std::optional<std::uint32_t> microbatches) {
  const std::filesystem::path file =
      std::filesystem::path(OPWEAVE_SOURCE_DIR) / "examples" / example.folder / "pipeline.json";
  PipelineSpec spec = parse_pipeline_spec(read_file(file), file.string());
  spec.shape = PipelineShape::kFree;
  if (microbatches) spec.training.microbatches = *microbatches;
  return Problem::create(build_pipeline(spec),
                         uniform_cluster(kDevices, {"compute"}, Bytes(example.memory_gib * kGibibyte), kLatency,
                                         example.bandwidth_bytes_per_s));
}

void run_branched(const Options& options, const Emit& emit) {
  emit(
      "8 devices, 16 microbatches; milliseconds. The baseline is the best published schedule of the flattened model "
      "(branches one after the other, cut into stages of equal time) that fits into the same memory, with one copy of "
      "the parameters. Below: the best of them if memory were no limit.");
  emit("");
  emit_header(emit);
  std::vector<std::string> notes;
  for (const BranchedExample& example : kExamples) {
    if (!options.chooses(example.folder)) continue;
    const Problem problem = branched_problem(example);
    std::optional<Baseline> fitting;
    std::optional<Baseline> any;
    for (const ExpertPlan& expert : expert_plans(problem)) {
      const Duration makespan = expert.schedule.makespan(problem);
      take_better(any, expert, makespan);
      // Valid but for memory, which experts do not look at: the validator says whether they keep to it.
      if (check(problem.graph(), problem.cluster(), make_plan(problem, expert.schedule, {}, {})).empty()) {
        take_better(fitting, expert, makespan);
      }
    }
    std::optional<double> value;
    if (fitting) value = static_cast<double>(fitting->makespan.value()) / kMillisecond;
    emit_row(emit,
             plan_row(example.folder, problem, options, kMillisecond, fitting ? fitting->name : "none fits", value));
    if (any) {
      notes.push_back(fmt::format("{}: {} {:.2f}", example.folder, any->name,
                                  static_cast<double>(any->makespan.value()) / kMillisecond));
    }
  }
  emit("");
  emit(fmt::format("Without a memory limit: {}.", fmt::join(notes, "; ")));
}

}  // namespace opweave::bench
