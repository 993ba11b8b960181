/// Which option every operator runs in: the ordinary problem of a choice, and the search over choices
/// (docs/layouts.md).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/budget.h"
#include "opweave/layout_graph.h"
#include "opweave/memory_modes.h"
#include "opweave/plan.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// What operators of one choice may choose together.
struct LayoutAlternative {
  std::string_view option;                  ///< name in the graph of the problem
  std::vector<std::uint32_t> option_index;  ///< by position in LayoutChoice::operators, among LayoutGraph::options
  std::uint32_t gang = 0;                   ///< number of the devices among LayoutProblem::gangs()
};

/// Operators that run in options of one name on the same devices: those of one `choice` of the file, of one colocation
/// group, and those that read a parameter in common.
struct LayoutChoice {
  std::vector<OperatorId> operators;  ///< ascending
  std::vector<LayoutAlternative> alternatives;
};

/// An operator without duration that reads what a movement moves, where the movement is on more devices than that.
struct MovementHelper {
  std::uint32_t movement = 0;  ///< number of the movement
  bool is_first = false;       ///< at the start of the movement; else at its end
};

/// An alternative for every choice, by position.
using LayoutSelection = std::vector<std::uint32_t>;

/// A graph with options on a cluster. Immutable; cheap to copy.
class LayoutProblem {
 public:
  /// \throws InputError where operators of one choice have no alternative in common, state different parts of a
  ///   parameter, a device lacks the stream of movements, or the settings are not supported
  static LayoutProblem create(LayoutGraph graph, Cluster cluster, ProblemSettings settings);

  [[nodiscard]] const LayoutGraph& graph() const { return data_->graph; }
  [[nodiscard]] const Cluster& cluster() const { return data_->cluster; }
  [[nodiscard]] const ProblemSettings& settings() const { return data_->settings; }
  /// Some value may have a memory mode beside keeping it.
  [[nodiscard]] bool chooses_modes() const { return data_->chooses_modes; }
  [[nodiscard]] const std::vector<LayoutChoice>& choices() const { return data_->choices; }
  /// The sets of devices that operators may run on, each ascending.
  [[nodiscard]] const std::vector<std::vector<DeviceId>>& gangs() const { return data_->gangs; }
  /// Position of the operator's choice.
  [[nodiscard]] std::uint32_t choice_of(OperatorId op) const { return data_->choice_of[op.index()]; }
  /// What the operator's choice chooses under a selection.
  [[nodiscard]] const LayoutAlternative& alternative(OperatorId op, const LayoutSelection& selection) const {
    return choices()[choice_of(op)].alternatives[selection[choice_of(op)]];
  }
  /// The option of an operator under a selection.
  [[nodiscard]] const LayoutOption& option(OperatorId op, const LayoutSelection& selection) const;
  /// The parts of a parameter under a selection, as an operator that reads it and states them says; else one part.
  [[nodiscard]] ParameterParts parts(ParameterId parameter, const LayoutSelection& selection) const;
  /// What a plan's options and devices select. \throws InputError where it names none of the alternatives
  [[nodiscard]] LayoutSelection selection_of(const LayoutPlan& plan) const;

 private:
  struct Data {
    LayoutGraph graph;
    Cluster cluster;
    ProblemSettings settings;
    bool chooses_modes = false;
    std::vector<LayoutChoice> choices;
    std::vector<std::vector<DeviceId>> gangs;
    std::vector<std::uint32_t> choice_of;             // by operator
    std::vector<std::vector<OperatorId>> readers_of;  // by parameter
  };
  void join_choices(Data& data) const;
  void number_gangs(Data& data) const;

  std::shared_ptr<const Data> data_;
};

/// A selection as an ordinary problem: movements are operators, what they make are tensors of their own. Its schedules
/// are the plans of the selection, with the same times and the same memory. Immutable; cheap to copy.
class DerivedProblem {
 public:
  /// O(tasks + edges). \throws InputError where no movement makes the layout that an operator wants, or no route joins
  ///   devices of a movement
  static DerivedProblem create(const LayoutProblem& original, LayoutSelection selection);

  [[nodiscard]] const LayoutProblem& original() const { return data_->original; }
  [[nodiscard]] const LayoutSelection& selection() const { return data_->selection; }
  [[nodiscard]] const Problem& problem() const { return data_->problem; }

  /// The plan that a schedule of problem() is.
  [[nodiscard]] LayoutPlan plan(const Schedule& schedule, std::vector<LowerBound> bounds, Provenance provenance) const;
  /// Inverse of plan(). \throws InputError where the plan lacks something or has something that is not asked for, or
  ///   where values have memory modes
  [[nodiscard]] Schedule schedule(const LayoutPlan& plan) const;

  /// The plan that a schedule of the problem of a choice of memory modes is. \pre movements are of problem()
  [[nodiscard]] LayoutPlan plan(const ProblemWithMovements& movements, const Schedule& schedule,
                                std::vector<LowerBound> bounds, Provenance provenance) const;
  /// Inverse of plan() with memory modes. \throws InputError as schedule()
  [[nodiscard]] OrdinaryPlan with_movements(const LayoutPlan& plan) const;

 private:
  struct Data {
    LayoutProblem original;
    LayoutSelection selection;
    Problem problem;
    std::vector<LayoutMovement> movements;  // by operator behind those of the graph; copy 0, no times
    std::vector<TensorId> tensor_of;        // of the graph, by tensor
    std::vector<MovementHelper> helpers;    // by operator behind the movements
  };
  [[nodiscard]] std::size_t original_operators() const;
  [[nodiscard]] std::optional<std::size_t> movement_of(OperatorId op) const;
  [[nodiscard]] std::optional<MovementHelper> helper_of(OperatorId op) const;
  /// The movement's operator. \pre number < movements
  [[nodiscard]] OperatorId operator_of(std::uint32_t movement) const;
  /// What the value of a tensor is in plans.
  [[nodiscard]] ValueForm form_of(TensorId tensor, std::uint32_t copy) const;
  [[nodiscard]] bool needs_transfers(TensorId tensor) const;
  /// By tensor of the graph: what is sent of it.
  [[nodiscard]] std::vector<std::optional<TensorId>> sent_tensors() const;
  using MovementNumbers = std::map<MovementKey, std::uint32_t>;
  [[nodiscard]] MovementNumbers movement_numbers() const;
  /// The movement's operator. \throws InputError where no option asks for it
  [[nodiscard]] OperatorId operator_of(const MovementNumbers& numbers, const LayoutMovement& movement) const;
  void require_copy(OperatorId op, std::uint32_t copy) const;
  /// The schedule with every helper where its movement starts or ends: where it may always be, and where memory is
  /// least.
  [[nodiscard]] Schedule released(Schedule schedule) const;
  [[nodiscard]] Schedule released(const ProblemWithMovements& movements, Schedule schedule) const;
  /// A plan of problem() in the ids of the graph.
  [[nodiscard]] LayoutPlan translated(Plan plan) const;
  [[nodiscard]] LayoutMovement movement(std::size_t number, std::uint32_t copy, Duration start, Duration end,
                                        bool again) const;
  static void sort_movements(LayoutPlan& plan);
  void place_forms(const LayoutPlan& plan, Plan& result) const;

  std::shared_ptr<const Data> data_;
};

/// Searches selections, memory modes where values may have them, and plans, within a budget, like plan(). Few
/// selections are all planned.
/// \throws InputError for options that layouts do not know (other objectives, a deadline)
struct LayoutPlanResult {
  PlanResult result;  ///< `result.plan` has the figures; tasks and transfers as in `plan`
  std::optional<LayoutPlan> plan;
};
[[nodiscard]] LayoutPlanResult plan_with_layouts(const LayoutProblem& problem, const Budget& budget,
                                                 const PlannerOptions& options = {}, const ModeOptions& modes = {});

}  // namespace opweave
