/// What every benchmark suite shares: options, one row per planned instance, the table.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "opweave/opweave.h"

namespace opweave::bench {

struct Options {
  double seconds = 60;  ///< per instance
  unsigned threads = 2;
  std::uint64_t seed = 1;
  std::filesystem::path data;  ///< folder of the suites of others; may not exist
  std::string only;            ///< plan only instances whose name contains this

  [[nodiscard]] bool chooses(const std::string& instance) const { return instance.find(only) != std::string::npos; }
};

/// One planned instance. Times in milliseconds, or units where the suite says so.
struct Row {
  std::string instance;
  std::string baseline_name;
  std::optional<double> baseline;
  std::optional<double> ours;
  double bound = 0;
  std::string bound_name;
  double wall_s = 0;
  double first_plan_s = 0;
  double beats_baseline_s = -1;  ///< when the first plan at most the baseline was there; negative = never
  std::string method;
  std::optional<Plan> plan;

  [[nodiscard]] bool is_proven() const { return plan && plan->status == PlanStatus::kOptimal; }
};

/// The published schedule of least makespan that is a valid plan of the problem, if any is.
[[nodiscard]] std::optional<ExpertPlan> best_expert(const Problem& problem);

/// Plans a problem under the options and fills a row; `unit` nanoseconds are one unit of the table.
[[nodiscard]] Row plan_row(const std::string& instance, const Problem& problem, const Options& options, double unit,
                           const std::string& baseline_name, std::optional<double> baseline,
                           Method method = Method::kAuto);

/// The same with all the planner's options given.
[[nodiscard]] Row planned_row(const std::string& instance, const Problem& problem, const Options& options,
                              const PlannerOptions& planner, double unit, const std::string& baseline_name,
                              std::optional<double> baseline);

/// One suite: prints its table through `emit` as it goes.
using Emit = std::function<void(const std::string& line)>;
void run_overlap(const Options& options, const Emit& emit);
void run_pipelines(const Options& options, const Emit& emit);
void run_random_pipelines(const Options& options, const Emit& emit);
void run_placement(const Options& options, const Emit& emit);
void run_branched(const Options& options, const Emit& emit);
void run_job_shop(const Options& options, const Emit& emit);
void run_msr(const Options& options, const Emit& emit);
void run_scale(const Options& options, const Emit& emit);
void run_exact(const Options& options, const Emit& emit);
void run_microbatches(const Options& options, const Emit& emit);
void run_memory_modes(const Options& options, const Emit& emit);

/// The overlap suite's V on 8 devices with one copy and memory for this many layer activations per device.
[[nodiscard]] Problem overlap_problem(std::int64_t slots, std::uint32_t microbatches);
/// The same layers in four rounds up and down over the devices, which no published schedule is for.
[[nodiscard]] Problem overlap_zigzag_problem(std::int64_t slots, std::uint32_t microbatches);

/// A model with branches of examples/ on 8 devices.
struct BranchedExample {
  const char* folder;
  std::int64_t memory_gib;             ///< the device's, less 4 GiB for the runtime
  std::int64_t bandwidth_bytes_per_s;  ///< of NVLink, 80 % of the peak per direction
};
[[nodiscard]] std::span<const BranchedExample> branched_examples();
/// Every layer may run anywhere, and every layer is a stage, so that a published schedule cuts the model, branch
/// after branch, into stages of equal time. The microbatches are those of the example unless given.
[[nodiscard]] Problem branched_problem(const BranchedExample& example, std::optional<std::uint32_t> microbatches = {});

/// One of the random layered graphs on equal devices.
struct LayeredInstance {
  std::size_t operators;
  std::uint32_t devices;
  Bytes memory = Bytes(2'000'000'000);  ///< per device

  /// "300 operators, 8 devices"
  [[nodiscard]] std::string name() const;
  /// Each operator reads up to two of the 400 tensors before it; 1 to 10 us of work, 1 to 2 MB of output; transfers of
  /// 0.5 us + 1 byte/ps.
  [[nodiscard]] Problem problem(std::uint64_t seed) const;
};

/// Operators of a transformer with 2,048 tokens of width 4,096 in bf16, split by attention heads and by blocks of the
/// feed-forward layer; 200 Tflop/s, 1.5 TB/s of memory, transfers of 5 us + bytes / bandwidth. Training adds the
/// gradients, weights and their gradients in one place.
struct TransformerInstance {
  std::size_t layers;
  std::size_t heads;
  std::size_t blocks;
  bool training;
  std::uint32_t devices;
  std::int64_t bandwidth;  ///< bytes per second
  Contention contention = Contention::kNone;

  [[nodiscard]] std::string name() const;
  [[nodiscard]] Problem problem() const;
};

/// Part of the suite `scale`: options with layouts.
void emit_layouts(const Options& options, const Emit& emit);
/// CPU seconds of this process.
[[nodiscard]] double cpu_seconds();

/// Header and rows of the table that the suites share.
void emit_header(const Emit& emit);
void emit_row(const Emit& emit, const Row& row);

}  // namespace opweave::bench
