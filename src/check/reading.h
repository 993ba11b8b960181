/// A plan as the rules see it: every instance that the settings ask for, and what the plan says of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "check/violation_list.h"
#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/plan.h"

namespace opweave::checking {

/// Sums and differences of whatever 64-bit numbers a plan may contain.
__extension__ using Wide = __int128;

/// One operator instance. Its times are those of the plan, however absurd: compare them, but do
/// arithmetic in Wide.
struct Run {
  OperatorId op;
  std::uint32_t copy = 0;
  std::uint32_t replica = 0;
  std::span<const DeviceId> devices;  ///< ascending, each once, all in the cluster; may be empty
  Duration start;
  Duration end;
  bool present = false;  ///< the plan has it
  bool again = false;    ///< it makes what it made before once more
};

/// One copy of a value between devices and their hosts.
struct HostCopy {
  std::size_t value = 0;  ///< Reading::value(tensor, copy)
  TensorId tensor;
  std::uint32_t copy = 0;
  bool is_out = false;  ///< to the hosts; else from them
  std::span<const DeviceId> devices;
  Duration start;
  Duration end;
};

/// One all_reduce of the gradients of a parameter.
struct GradientReduction {
  ParameterId parameter;
  std::span<const DeviceId> devices;  ///< ascending
  Duration start;
  Duration end;
};

/// One transfer whose tensor, copy and devices exist.
struct KnownTransfer {
  TensorId tensor;
  std::uint32_t copy = 0;
  std::size_t value = 0;  ///< Reading::value(tensor, copy)
  DeviceId source;
  DeviceId destination;
  Duration start;
  Duration end;
  bool again = false;  ///< of the value that came back
};

/// Expands the graph by the settings of the plan and files the plan's tasks and transfers under what
/// they belong to. Reports tasks that are missing, repeated or unknown (rule 1) and transfers of
/// unknown things (rule 4).
class Reading {
 public:
  Reading(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan, ViolationList& violations);

  /// False if the settings make no sense or ask for far more tasks than the plan has: then nothing
  /// else can be said.
  [[nodiscard]] bool usable() const { return usable_; }

  [[nodiscard]] const ComputationGraph& graph() const { return graph_; }
  [[nodiscard]] const Cluster& cluster() const { return cluster_; }
  [[nodiscard]] const Plan& plan() const { return plan_; }
  [[nodiscard]] const Training& training() const { return plan_.settings.training; }

  [[nodiscard]] bool per_replica(OperatorId op) const { return graph_.at(op).phase == Phase::kOptimizer; }
  /// How often the operator runs: per microbatch, or per replica for phase O.
  [[nodiscard]] std::uint32_t copies(OperatorId op) const;
  /// How many copies of the tensor there are: as many as of its producer; one per microbatch of an
  /// input of the graph.
  [[nodiscard]] std::uint32_t copies(TensorId tensor) const;

  /// All runs, an operator's copies side by side; behind them those that run again.
  [[nodiscard]] const std::vector<Run>& runs() const { return runs_; }
  [[nodiscard]] std::span<const Run> runs_of(OperatorId op) const {
    return std::span(runs_).subspan(first_run_[op.index()], copies(op));
  }
  [[nodiscard]] const Run& run(OperatorId op, std::uint32_t copy) const { return runs_of(op)[copy]; }
  /// Those that run again.
  [[nodiscard]] std::span<const Run> runs_again() const { return std::span(runs_).subspan(first_again_); }
  /// The run that is this one once more; nullptr where the plan has none.
  [[nodiscard]] const Run* again(const Run& run) const;
  /// Copies to and from hosts, in the order of the plan.
  [[nodiscard]] const std::vector<HostCopy>& host_copies() const { return host_copies_; }

  /// Reductions of gradients, in the order of the plan.
  [[nodiscard]] const std::vector<GradientReduction>& reductions() const { return reductions_; }

  /// Mode of a value, as the plan says.
  [[nodiscard]] MemoryMode mode(std::size_t value) const { return modes_.empty() ? MemoryMode::kKeep : modes_[value]; }
  /// The run reads what came back of a value instead of what was made first: it runs again, or after the forward pass.
  [[nodiscard]] bool reads_again(const Run& run, std::size_t value) const;
  /// The unit of a run as a number: runs of one number run again together. \pre Phase F.
  [[nodiscard]] std::size_t unit(const Run& run) const {
    return unit_of_[run.op.index()] * training().microbatches + run.copy;
  }
  [[nodiscard]] std::size_t unit_count() const { return unit_count_ * training().microbatches; }

  /// The run that makes a copy of a tensor; nothing for inputs of the graph.
  [[nodiscard]] const Run* maker(TensorId tensor, std::uint32_t copy) const;

  /// Dense index of a copy of a tensor.
  [[nodiscard]] std::size_t value(TensorId tensor, std::uint32_t copy) const {
    return first_value_[tensor.index()] + copy;
  }
  [[nodiscard]] std::size_t value_count() const { return first_value_.back(); }
  /// Dense index of what came back of a value, behind all values.
  [[nodiscard]] std::size_t come_back(std::size_t value) const { return value_count() + value; }

  /// Calls visit(copy) for each copy of the input tensor that the run consumes: its own, or all
  /// microbatches' where an optimizer operator reads what is made per microbatch.
  template <class Visit>
  void for_each_consumed_copy(const Run& run, TensorId input, Visit visit) const {
    const std::optional<OperatorId> producer = graph_.at(input).producer;
    if (per_replica(run.op) && !(producer && per_replica(*producer))) {
      for (std::uint32_t copy = 0; copy < training().microbatches; ++copy) visit(copy);
    } else {
      visit(run.copy);
    }
  }

  /// In the order of the plan.
  [[nodiscard]] const std::vector<KnownTransfer>& transfers() const { return transfers_; }

  // Names for messages, quoted: "attention.F#3", or "attention.F" if everything runs once.
  [[nodiscard]] std::string name(OperatorId op, std::uint32_t copy) const;
  [[nodiscard]] std::string name(const Run& run) const { return name(run.op, run.copy); }
  [[nodiscard]] std::string name(TensorId tensor, std::uint32_t copy) const;
  [[nodiscard]] std::string name(DeviceId device) const;
  /// "gpu0", or "gpu0", "gpu1"
  [[nodiscard]] std::string names(std::span<const DeviceId> devices) const;

 private:
  [[nodiscard]] bool settings_are_usable(ViolationList& violations) const;
  void number_everything();
  void file_tasks(ViolationList& violations);
  void file_transfers(ViolationList& violations);
  void file_modes(ViolationList& violations);
  void file_movements(ViolationList& violations);
  void number_units();
  [[nodiscard]] std::string with_copy(const std::string& what, std::uint32_t copy) const;

  const ComputationGraph& graph_;
  const Cluster& cluster_;
  const Plan& plan_;
  bool usable_ = false;
  std::vector<std::size_t> first_run_;
  std::vector<std::size_t> first_value_;
  std::vector<Run> runs_;
  std::vector<DeviceId> devices_;  // of all runs
  std::vector<KnownTransfer> transfers_;
  std::size_t first_again_ = 0;
  std::vector<std::size_t> again_;  // by run, the run that is it once more; 0 = none
  std::vector<MemoryMode> modes_;   // by value; empty = all kept
  std::vector<HostCopy> host_copies_;
  std::vector<GradientReduction> reductions_;
  std::vector<DeviceId> moved_on_;    // devices of the movements
  std::vector<std::size_t> unit_of_;  // by operator
  std::size_t unit_count_ = 0;
};

}  // namespace opweave::checking
