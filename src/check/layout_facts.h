/// What a plan with options says, and which movements its options ask for, found from the files alone.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "check/reading.h"
#include "check/rules.h"
#include "check/violation_list.h"
#include "opweave/layout_graph.h"

namespace opweave::checking {

/// A tensor as it is after a movement, or as it was made.
struct Form {
  std::span<const DeviceId> devices;  ///< as the option of its maker or of its first reader lists them
  TensorLayout layout;
  std::optional<std::size_t> from;  ///< the form that the movement reads; nothing = as it was made
  LayoutMovementKind kind = LayoutMovementKind::kSend;
  std::vector<DeviceId> united;            ///< devices of a movement between different ones; else empty
  std::optional<Wide> lasts;               ///< of the movement; nothing = no route
  bool is_forward = true;                  ///< of the movement: an operator of the forward pass needs it; as made: true
  std::size_t unit = 0;                    ///< of what the forward pass makes: what runs again with it
  std::span<const LayoutMovement*> runs;   ///< of the movement, by copy; null where the plan has none
  std::span<const LayoutMovement*> again;  ///< the same of those that happen again; empty where none of a plan does

  /// Devices of the movement, or of the maker.
  [[nodiscard]] std::span<const DeviceId> parties() const { return united.empty() ? devices : united; }
};

[[nodiscard]] inline bool are_same(std::span<const DeviceId> a, std::span<const DeviceId> b) {
  return std::ranges::equal(a, b);
}

/// A reduction or gather of a parameter.
struct ParameterForm {
  Moved moved = Moved::kGradient;
  std::optional<OperatorId> op;
  LayoutMovementKind kind = LayoutMovementKind::kAllReduce;
  bool is_per_microbatch = false;
  std::size_t unit = 0;  ///< of what is gathered for phase F: what runs again with it
  std::vector<DeviceId> devices;
  Wide bytes = 0;  ///< on each device, of what it reads or makes beside the parts that are kept
  std::optional<Wide> lasts;
};

/// The roles of the operators that read a parameter.
struct ParameterUse {
  std::vector<OperatorId> forward;
  std::vector<OperatorId> backward;
  std::vector<OperatorId> updates;
  std::vector<OperatorId> optimizer;
  std::vector<DeviceId> devices;  ///< on which all of them run; empty if none reads it
  ParameterParts parts;
};

class LayoutFacts {
 public:
  LayoutFacts(const LayoutGraph& graph, const Cluster& cluster, const LayoutPlan& plan, ViolationList& violations);

  /// Every operator runs in an option of its own: everything below may be asked.
  [[nodiscard]] bool usable() const { return usable_; }
  [[nodiscard]] const ComputationGraph& graph() const { return graph_.graph; }
  [[nodiscard]] const LayoutGraph& options() const { return graph_; }
  [[nodiscard]] const Cluster& cluster() const { return cluster_; }
  [[nodiscard]] const LayoutPlan& plan() const { return plan_; }
  [[nodiscard]] std::uint32_t microbatches() const { return plan_.plan.settings.training.microbatches; }
  [[nodiscard]] bool is_once(OperatorId op) const { return graph_.graph.at(op).phase == Phase::kOptimizer; }
  [[nodiscard]] std::uint32_t copies(OperatorId op) const { return is_once(op) ? 1 : microbatches(); }
  [[nodiscard]] bool is_made_once(TensorId tensor) const {
    const auto& maker = graph_.graph.at(tensor).producer;
    return maker && is_once(*maker);
  }

  [[nodiscard]] const LayoutOption& option(OperatorId op) const { return *chosen_[op.index()]; }
  /// Null where the plan has none.
  [[nodiscard]] const PlannedTask* run(OperatorId op, std::uint32_t copy) const;
  [[nodiscard]] std::span<const Form> forms(TensorId tensor) const {
    return std::span(forms_).subspan(first_form_[tensor.index()],
                                     first_form_[tensor.index() + 1] - first_form_[tensor.index()]);
  }
  /// The form that an operator reads its input of this position in.
  [[nodiscard]] const std::optional<std::size_t>& read_form(OperatorId op, std::size_t position) const {
    return read_[first_input_[op.index()] + position];
  }
  [[nodiscard]] const ParameterUse& use(ParameterId parameter) const { return uses_[parameter.index()]; }
  [[nodiscard]] const std::vector<ParameterForm>& forms(ParameterId parameter) const {
    return parameter_forms_[parameter.index()];
  }
  /// The movement of the plan, the first of those with the key; null where it has none.
  [[nodiscard]] const LayoutMovement* movement(const MovementKey& key) const;
  [[nodiscard]] static const LayoutMovement* movement(const Form& form, std::uint32_t copy) {
    return copy < form.runs.size() ? form.runs[copy] : nullptr;
  }
  /// The movements that have the key of an earlier one, as the plan lists them.
  [[nodiscard]] const std::vector<const LayoutMovement*>& repeated() const { return repeated_; }
  /// The movements that are of parameters, or that no option asks for, as the plan lists them.
  [[nodiscard]] const std::vector<const LayoutMovement*>& beside_forms() const { return beside_forms_; }
  [[nodiscard]] MovementKey key(TensorId tensor, const Form& form, std::uint32_t copy) const;
  [[nodiscard]] MovementKey key(ParameterId parameter, const ParameterForm& form, std::uint32_t copy) const;

  // Memory modes.
  /// The operator comes behind the forward pass: it reads what came back.
  [[nodiscard]] bool is_behind(OperatorId op) const {
    const Phase phase = graph_.graph.at(op).phase;
    return phase != Phase::kForward && phase != Phase::kNone;
  }
  [[nodiscard]] std::size_t unit(OperatorId op) const { return unit_of_[op.index()]; }
  /// Of a copy of a tensor in a form, as the plan says.
  [[nodiscard]] MemoryMode mode(TensorId tensor, std::size_t form, std::uint32_t copy) const;
  /// Of what is gathered of a parameter for the forward pass.
  [[nodiscard]] bool is_dropped(ParameterId parameter, std::uint32_t copy) const {
    return dropped_weights_.contains({parameter, copy});
  }
  [[nodiscard]] bool stays(TensorId tensor, std::size_t form, std::uint32_t copy) const {
    return mode(tensor, form, copy) == MemoryMode::kKeep;
  }
  /// Some value of the unit is dropped.
  [[nodiscard]] bool is_dropped(std::size_t unit, std::uint32_t copy) const { return ends_.contains({unit, copy}); }
  /// When all of a unit has happened again. \pre is_dropped
  [[nodiscard]] Duration end_of(std::size_t unit, std::uint32_t copy) const { return ends_.at({unit, copy}); }
  /// What runs or happens again; null where the plan has none.
  [[nodiscard]] const FormReturn* again(OperatorId op, std::uint32_t copy) const;
  [[nodiscard]] const LayoutMovement* again(const MovementKey& key) const;
  [[nodiscard]] static const LayoutMovement* again(const Form& form, std::uint32_t copy) {
    return copy < form.again.size() ? form.again[copy] : nullptr;
  }
  /// The copy to hosts or from them; null where the plan has none.
  [[nodiscard]] const FormReturn* host_copy(bool is_out, TensorId tensor, std::size_t form, std::uint32_t copy) const;
  /// On each device that keeps the form.
  [[nodiscard]] Wide bytes(TensorId tensor, const Form& form) const;
  /// The form that a value of a plan has; nothing where the tensor never has it.
  [[nodiscard]] std::optional<std::size_t> form_of(const ValueForm& value) const;

  /// Copies of a value that a copy of an operator reads.
  template <class Visit>
  void for_each_read_copy(OperatorId reader, TensorId tensor, std::uint32_t copy, Visit visit) const {
    if (!is_once(reader) || is_made_once(tensor)) return visit(copy);
    for (std::uint32_t each = 0; each < microbatches(); ++each) visit(each);
  }

  /// Copies of an operator that a copy of a later one waits for.
  template <class Visit>
  void for_each_copy(OperatorId earlier, OperatorId later, std::uint32_t copy, Visit visit) const {
    if (!is_once(later) || is_once(earlier)) return visit(copy);
    for (std::uint32_t each = 0; each < microbatches(); ++each) visit(each);
  }

  [[nodiscard]] std::string name(DeviceId device) const { return "\"" + cluster_.at(device).name + "\""; }
  [[nodiscard]] std::string names(std::span<const DeviceId> devices) const;
  [[nodiscard]] std::string name(OperatorId op, std::uint32_t copy) const;
  [[nodiscard]] std::string name(const MovementKey& key) const;
  [[nodiscard]] std::string name(const ValueForm& value) const;
  [[nodiscard]] std::string name(const FormReturn& back) const;

 private:
  bool settings_are_usable(ViolationList& violations) const;
  bool choose(ViolationList& violations);
  /// False where another run of the task is known. \pre the copy exists
  bool file_run(const PlannedTask& task);
  void choose_together(ViolationList& violations) const;
  void find_forms();
  void file_movement(const LayoutMovement& movement);
  /// The form that a movement makes; nothing of parameters, and of what no option asks for.
  [[nodiscard]] std::optional<std::size_t> form_made_by(const MovementKey& key) const;
  std::optional<std::size_t> form_for(TensorId tensor, std::span<const DeviceId> devices, TensorLayout layout);
  std::size_t add_form(TensorId tensor, std::size_t from, std::span<const DeviceId> devices, TensorLayout layout);
  void make_room_for_movements();
  void find_uses(ViolationList& violations);
  void number_units();
  void give_unit(std::span<Form> forms, std::size_t number, const std::vector<OperatorId>& readers);
  void file_modes(ViolationList& violations);
  void give_unit(ParameterId parameter);
  void file_weights(const ValueForm& value, MemoryMode mode, ViolationList& violations);
  void file_mode(const FormMode& mode, ViolationList& violations);
  void file_return(const FormReturn& back, ViolationList& violations);
  void find_ends();
  void find_parameter_forms(ParameterId parameter);

  const LayoutGraph& graph_;
  const Cluster& cluster_;
  const LayoutPlan& plan_;
  bool usable_ = false;
  std::vector<const LayoutOption*> chosen_;
  // Flat lists, since there are a hundred thousand operators and as many movements.
  std::vector<const PlannedTask*> runs_;  // by operator and copy
  using Movements = std::map<MovementKey, const LayoutMovement*>;
  Movements movements_;  // of parameters, and those that no option asks for; the others are with their forms
  Movements movements_again_;
  std::vector<const LayoutMovement*> repeated_;
  std::vector<const LayoutMovement*> beside_forms_;
  std::vector<Form> forms_;                           // by tensor
  std::vector<std::size_t> first_form_;               // by tensor, and one behind the last
  std::vector<const LayoutMovement*> movement_runs_;  // by form and copy
  std::vector<const LayoutMovement*> movement_runs_again_;
  std::vector<std::optional<std::size_t>> read_;             // by operator and input
  std::vector<std::size_t> first_input_;                     // by operator
  std::vector<ParameterUse> uses_;                           // by parameter
  std::vector<std::vector<ParameterForm>> parameter_forms_;  // by parameter
  std::vector<std::size_t> unit_of_;                         // by operator
  std::size_t unit_count_ = 0;
  std::set<std::pair<ParameterId, std::uint32_t>> dropped_weights_;
  using Value = std::tuple<TensorId, std::size_t, std::uint32_t>;  // tensor, form, copy
  std::map<Value, MemoryMode> modes_;
  std::map<std::pair<bool, Value>, const FormReturn*> host_copies_;  // by whether they are out
  std::map<std::pair<OperatorId, std::uint32_t>, const FormReturn*> again_;
  std::map<std::pair<std::size_t, std::uint32_t>, Duration> ends_;  // of units of which something is dropped
};

class LayoutHolders;  // layout_holders.h

/// ceil(a / b) of what is not negative.
[[nodiscard]] inline Wide rounded_up(Wide a, Wide b) { return (a + b - 1) / b; }

// One function per concern; rules as in docs/layouts.md.
/// Which runs and movements there are, and how long they last: "option", "once", "movement", "reduction".
void check_layout_presence_of_parts(const LayoutFacts& facts, ViolationList& violations);
/// What waits for what: "presence", "transfer", "reduction".
void check_layout_order(const LayoutFacts& facts, ViolationList& violations);
/// "stream".
void check_layout_streams(const LayoutFacts& facts, const LayoutHolders& holders, ViolationList& violations);
/// What runs again, what is copied to hosts and back: "modes", "recompute", "copy", "host-memory".
/// \return peak of the host of each device
[[nodiscard]] std::vector<Wide> check_layout_returns(const LayoutFacts& facts, ViolationList& violations);
/// Memory of each device at its fullest.
[[nodiscard]] std::vector<MemoryUse> layout_memory(const LayoutFacts& facts);
/// "memory" and "figures".
void check_layout_figures(const LayoutFacts& facts, const LayoutHolders& holders, const std::vector<Wide>& host_peaks,
                          ViolationList& violations);

}  // namespace opweave::checking
