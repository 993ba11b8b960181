#include <fmt/format.h>

#include <algorithm>

#include "check/layout_facts.h"

namespace opweave::checking {
namespace {

/// What waits for what. A thing that is missing is reported elsewhere.
class Order {
 public:
  Order(const LayoutFacts& facts, ViolationList& violations) : facts_(facts), violations_(violations) {
    for (const PlannedTransfer& transfer : facts.plan().plan.transfers) {
      auto& there = sent_[{transfer.tensor, transfer.copy, transfer.destination, transfer.again}];
      if (there != nullptr) {
        violations_.add(Rule::kPresence, [&] { return describe(transfer) + " is the second to this device"; });
      }
      there = &transfer;
    }
  }

  void check() {
    for (const PlannedTransfer& transfer : facts_.plan().plan.transfers) check_transfer(transfer);
    for (std::size_t t = 0; t < facts_.graph().tensors().size(); ++t) check_movements(TensorId(t));
    for (std::size_t i = 0; i < facts_.graph().operators().size(); ++i) {
      const OperatorId op(i);
      for (std::uint32_t copy = 0; copy < facts_.copies(op); ++copy) {
        if (const PlannedTask* run = facts_.run(op, copy)) check_run({op, copy, run->start, false, {}});
        if (const FormReturn* again = facts_.again(op, copy)) {
          check_run({op, copy, again->start, true, facts_.unit(op)});
        }
      }
    }
    for (std::size_t p = 0; p < facts_.graph().parameters().size(); ++p) check_parameter(ParameterId(p));
  }

 private:
  /// What reads values: a task, for the first time or again.
  struct Reader {
    OperatorId op;
    std::uint32_t copy = 0;
    Duration start;
    bool again = false;
    std::optional<std::size_t> unit;  ///< in whose repetition it is
  };

  // Names are functions: nearly all are never said, and to make them would take most of the time of a check.
  [[nodiscard]] auto name_of(OperatorId op, std::uint32_t copy, bool again = false) const {
    return [this, op, copy, again] { return "task " + facts_.name(op, copy) + (again ? " again" : ""); };
  }
  [[nodiscard]] auto name_of(const Reader& run) const { return name_of(run.op, run.copy, run.again); }
  /// \pre the key outlives the name
  [[nodiscard]] auto name_of(const MovementKey& key, bool again = false) const {
    return [this, &key, again] { return facts_.name(key) + (again ? " again" : ""); };
  }
  [[nodiscard]] auto name_of(const FormReturn& back) const {
    return [this, &back] { return facts_.name(back); };
  }
  [[nodiscard]] auto name_of(const PlannedTransfer& transfer) const {
    return [this, &transfer] { return describe(transfer); };
  }

  template <class Who, class Whom>
  void wait(Rule rule, const Who& who, Duration start, const Whom& whom, Duration end) {
    if (start >= end) return;
    violations_.add(rule, [&] {
      return fmt::format("{} starts at {} ns, but {} ends at {} ns", who(), start.value(), whom(), end.value());
    });
  }

  /// When a form of a value is there, and who makes it so.
  template <class Visit>
  void when_made(TensorId tensor, const Form& form, std::uint32_t copy, const Visit& visit) const {
    if (form.from) {
      if (const LayoutMovement* movement = facts_.movement(form, copy)) visit(name_of(movement->key), movement->end);
      return;
    }
    const auto& maker = facts_.graph().at(tensor).producer;
    if (!maker) return;
    if (const PlannedTask* run = facts_.run(*maker, copy)) visit(name_of(*maker, copy), run->end);
  }

  /// When a form of a value is back, as it is dropped or copied to hosts.
  template <class Visit>
  void when_back(TensorId tensor, std::size_t number, std::uint32_t copy, const Visit& visit) const {
    const Form& form = facts_.forms(tensor)[number];
    if (facts_.mode(tensor, number, copy) == MemoryMode::kHost) {
      if (const FormReturn* in = facts_.host_copy(false, tensor, number, copy)) visit(name_of(*in), in->end);
      return;
    }
    if (form.from) {
      if (const LayoutMovement* again = facts_.again(form, copy)) visit(name_of(again->key, true), again->end);
      return;
    }
    const OperatorId maker = *facts_.graph().at(tensor).producer;
    if (const FormReturn* run = facts_.again(maker, copy)) visit(name_of(*run), run->end);
  }

  /// A reader waits for a form of a value: as it was made first, or, behind the forward pass, as it came back.
  template <class Who>
  void wait_for(const Who& who, Duration start, bool is_behind, const std::optional<std::size_t>& unit, TensorId tensor,
                std::size_t number, std::uint32_t copy) {
    const auto visit = [&](const auto& whom, Duration end) { wait(Rule::kPresence, who, start, whom, end); };
    const Form& form = facts_.forms(tensor)[number];
    const MemoryMode mode = facts_.mode(tensor, number, copy);
    if (!is_behind || mode == MemoryMode::kKeep) return when_made(tensor, form, copy, visit);
    when_back(tensor, number, copy, visit);
    if (mode != MemoryMode::kDrop || unit == form.unit) return;
    const auto whom = [&] { return fmt::format("the unit that makes \"{}\" again", facts_.graph().at(tensor).name); };
    wait(Rule::kRecompute, who, start, whom, facts_.end_of(form.unit, copy));
  }

  void check_movements(TensorId tensor) {
    const std::span<const Form> forms = facts_.forms(tensor);
    for (const Form& form : forms) {
      if (!form.from) continue;
      const std::uint32_t copies = facts_.is_made_once(tensor) ? 1 : facts_.microbatches();
      for (std::uint32_t copy = 0; copy < copies; ++copy) {
        if (const LayoutMovement* movement = facts_.movement(form, copy)) {
          wait_for(name_of(movement->key), movement->start, !form.is_forward, {}, tensor, *form.from, copy);
        }
        if (const LayoutMovement* again = facts_.again(form, copy)) {
          wait_for(name_of(again->key, true), again->start, true, form.unit, tensor, *form.from, copy);
        }
      }
    }
  }

  [[nodiscard]] std::string describe(const PlannedTransfer& transfer) const {
    return fmt::format("transfer of \"{}#{}\"{} from {} to {}", facts_.graph().at(transfer.tensor).name, transfer.copy,
                       transfer.again ? " again" : "", facts_.name(transfer.source), facts_.name(transfer.destination));
  }

  /// Only whole values are sent: as they were made, or as they were summed where they were made.
  void check_transfer(const PlannedTransfer& transfer) {
    const std::span<const Form> forms = facts_.forms(transfer.tensor);
    const auto whole = std::ranges::find_if(forms, [&](const Form& form) {
      return form.layout.kind == TensorLayout::Kind::kReplicated && are_same(form.devices, forms.front().devices);
    });
    const std::uint32_t copies = facts_.is_made_once(transfer.tensor) ? 1 : facts_.microbatches();
    if (!facts_.graph().at(transfer.tensor).producer || whole == forms.end() || transfer.copy >= copies ||
        !std::ranges::binary_search(whole->devices, transfer.source)) {
      violations_.add(Rule::kTransfer, [&] { return describe(transfer) + ": there is no such whole value to send"; });
      return;
    }
    if (!is_read_on(transfer, static_cast<std::size_t>(whole - forms.begin()))) {
      violations_.add(Rule::kTransfer, [&] { return describe(transfer) + ": nobody there reads it so"; });
    }
    const auto visit = [&](const auto& whom, Duration end) {
      wait(Rule::kTransfer, name_of(transfer), transfer.start, whom, end);
    };
    if (transfer.again) {
      when_back(transfer.tensor, static_cast<std::size_t>(whole - forms.begin()), transfer.copy, visit);
    } else {
      when_made(transfer.tensor, *whole, transfer.copy, visit);
    }
    const std::optional<Route> route = facts_.cluster().route(transfer.source, transfer.destination);
    const Wide lasts = Wide{transfer.end.value()} - transfer.start.value();
    Wide expected = route ? route->latency.value() : 0;
    if (route && route->bandwidth_bytes_per_s) {
      expected += rounded_up(Wide{facts_.graph().at(transfer.tensor).size.value()} * 1'000'000'000,
                             *route->bandwidth_bytes_per_s);
    }
    if (route && lasts == expected) return;
    violations_.add(Rule::kTransfer, [&] {
      return route ? fmt::format("{} lasts {} ns, expected {} ns", describe(transfer), lasts, expected)
                   : describe(transfer) + ": no route joins them";
    });
  }

  [[nodiscard]] bool is_read_on(const PlannedTransfer& transfer, std::size_t form) const {
    const std::span<const DeviceId> made = facts_.forms(transfer.tensor)[form].devices;
    if (std::ranges::find(made, transfer.destination) != made.end()) return false;
    return std::ranges::any_of(facts_.graph().at(transfer.tensor).consumers, [&](OperatorId reader) {
      const std::vector<TensorId>& inputs = facts_.graph().at(reader).inputs;
      const auto position = static_cast<std::size_t>(std::ranges::find(inputs, transfer.tensor) - inputs.begin());
      const std::vector<DeviceId>& devices = facts_.option(reader).devices;
      return facts_.read_form(reader, position) == form &&
             std::ranges::find(devices, transfer.destination) != devices.end() && is_read_by(transfer, form, reader);
    });
  }

  /// The reader, or its repetition, reads what the transfer carries: as it was made first, or as it came back.
  [[nodiscard]] bool is_read_by(const PlannedTransfer& transfer, std::size_t form, OperatorId reader) const {
    const bool stays = facts_.stays(transfer.tensor, form, transfer.copy);
    const bool runs_again = !facts_.is_once(reader) && facts_.again(reader, transfer.copy) != nullptr;
    if (transfer.again) return !stays && (facts_.is_behind(reader) || runs_again);
    return stays || !facts_.is_behind(reader);
  }

  void check_run(const Reader& run) {
    const Operator& op = facts_.graph().at(run.op);
    const bool is_behind = run.again || facts_.is_behind(run.op);
    for (std::size_t k = 0; k < op.inputs.size(); ++k) {
      const auto& number = facts_.read_form(run.op, k);
      if (!number || !facts_.graph().at(op.inputs[k]).producer) continue;
      const Form& form = facts_.forms(op.inputs[k])[*number];
      facts_.for_each_read_copy(run.op, op.inputs[k], run.copy, [&](std::uint32_t read) {
        wait_for(name_of(run), run.start, is_behind, run.unit, op.inputs[k], *number, read);
        const bool returns = is_behind && !facts_.stays(op.inputs[k], *number, read);
        for (const DeviceId device : facts_.option(run.op).devices) {
          const std::span<const DeviceId> there = form.devices;
          if (std::ranges::find(there, device) == there.end()) check_sent(op.inputs[k], read, device, returns, run);
        }
      });
    }
    for (const OperatorId earlier : op.after) {
      if (run.again) {
        const FormReturn* before = facts_.unit(earlier) == run.unit ? facts_.again(earlier, run.copy) : nullptr;
        if (before != nullptr) wait(Rule::kRecompute, name_of(run), run.start, name_of(*before), before->end);
        continue;
      }
      facts_.for_each_copy(earlier, run.op, run.copy, [&](std::uint32_t each) {
        if (const PlannedTask* before = facts_.run(earlier, each)) {
          wait(Rule::kPresence, name_of(run), run.start, name_of(earlier, each), before->end);
        }
      });
    }
    if (facts_.is_once(run.op)) check_update(op, name_of(run), run.start);
  }

  void check_sent(TensorId tensor, std::uint32_t copy, DeviceId device, bool again, const Reader& run) {
    const auto found = sent_.find({tensor, copy, device, again});
    if (found != sent_.end()) {
      return wait(Rule::kPresence, name_of(run), run.start, name_of(*found->second), found->second->end);
    }
    violations_.add(Rule::kPresence, [&] {
      return fmt::format("{} reads \"{}#{}\", which is not {}on {}", name_of(run)(), facts_.graph().at(tensor).name,
                         copy, again ? "back " : "", facts_.name(device));
    });
  }

  /// An optimizer operator waits for all that updates its parameters; without any, for everything that updates.
  template <class Who>
  void check_update(const Operator& op, const Who& who, Duration start) {
    std::set<ParameterId> own(op.parameters.begin(), op.parameters.end());
    for (std::size_t i = 0; i < facts_.graph().operators().size(); ++i) {
      const Operator& other = facts_.graph().operators()[i];
      if (other.phase != Phase::kWeightGradient && other.phase != Phase::kBackward) continue;
      const bool is_own =
          own.empty() || std::ranges::any_of(other.parameters, [&](ParameterId p) { return own.contains(p); });
      if (!is_own) continue;
      for (std::uint32_t copy = 0; copy < facts_.microbatches(); ++copy) {
        if (const PlannedTask* run = facts_.run(OperatorId(i), copy)) {
          wait(Rule::kPresence, who, start, name_of(OperatorId(i), copy), run->end);
        }
      }
    }
    wait_for_repetitions(own, who, start);
    if (!own.empty()) return;
    for (const LayoutMovement& movement : facts_.plan().movements) {
      if (movement.again) {
        wait(Rule::kRecompute, who, start, name_of(movement.key, true), movement.end);
      } else if (movement.key.op) {
        wait(Rule::kReduction, who, start, name_of(movement.key), movement.end);
      }
    }
  }

  /// What runs again reads its parameters as they were, and so do their gathers.
  template <class Who>
  void wait_for_repetitions(const std::set<ParameterId>& own, const Who& who, Duration start) {
    for (const LayoutMovement& movement : facts_.plan().movements) {
      if (!movement.again || movement.key.moved != Moved::kForwardWeights) continue;
      if (!own.contains(movement.key.parameter)) continue;
      wait(Rule::kRecompute, who, start, name_of(movement.key, true), movement.end);
    }
    for (const FormReturn& back : facts_.plan().returns) {
      if (back.kind != MovementKind::kRecompute || back.op.index() >= facts_.graph().operators().size()) continue;
      const std::vector<ParameterId>& read = facts_.graph().at(back.op).parameters;
      if (!own.empty() && std::ranges::none_of(read, [&](ParameterId p) { return own.contains(p); })) continue;
      wait(Rule::kRecompute, who, start, name_of(back), back.end);
    }
  }

  void check_parameter(ParameterId parameter) {
    const ParameterUse& use = facts_.use(parameter);
    for (const ParameterForm& form : facts_.forms(parameter)) {
      const std::uint32_t copies = form.is_per_microbatch ? facts_.microbatches() : 1;
      for (std::uint32_t copy = 0; copy < copies; ++copy) {
        const MovementKey key = facts_.key(parameter, form, copy);
        const LayoutMovement* movement = facts_.movement(key);
        if (movement == nullptr) continue;
        const auto after = [&](const std::vector<OperatorId>& operators, std::optional<std::uint32_t> only) {
          for_each_run(operators, only, [&](const auto& whom, const PlannedTask& run) {
            wait(Rule::kReduction, name_of(key), movement->start, whom, run.end);
          });
        };
        const auto before = [&](const std::vector<OperatorId>& operators, std::optional<std::uint32_t> only) {
          for_each_run(operators, only, [&](const auto& who, const PlannedTask& run) {
            wait(Rule::kReduction, who, run.start, name_of(key), movement->end);
          });
        };
        if (form.moved == Moved::kForwardWeights) before(use.forward, copy);
        if (form.moved == Moved::kBackwardWeights) before(use.backward, copy);
        if (form.moved == Moved::kForwardWeights && facts_.is_dropped(parameter, copy)) {
          wait_for_weights(use.forward, form, key);
        }
        if (form.moved == Moved::kUpdate) after(use.optimizer, {});
        if (form.moved != Moved::kGradient) continue;
        if (form.op) after({*form.op}, copy);
        if (!form.op) after(use.updates, {});
        before(use.optimizer, {});
      }
    }
  }

  /// What runs again waits for the weights that are gathered again, and for all of their unit if it is another one.
  void wait_for_weights(const std::vector<OperatorId>& readers, const ParameterForm& form, const MovementKey& key) {
    const LayoutMovement* gathered = facts_.again(key);
    for (const OperatorId op : readers) {
      const FormReturn* again = facts_.again(op, key.copy);
      if (again == nullptr) continue;
      if (gathered != nullptr) {
        wait(Rule::kReduction, name_of(*again), again->start, name_of(key, true), gathered->end);
      }
      if (facts_.unit(op) == form.unit) continue;
      const auto whom = [] { return std::string("the unit that gathers its weights again"); };
      wait(Rule::kRecompute, name_of(*again), again->start, whom, facts_.end_of(form.unit, key.copy));
    }
  }

  /// The runs of operators: of one copy, or of all.
  template <class Visit>
  void for_each_run(const std::vector<OperatorId>& operators, std::optional<std::uint32_t> only, Visit visit) const {
    for (const OperatorId op : operators) {
      for (std::uint32_t copy = 0; copy < facts_.copies(op); ++copy) {
        const PlannedTask* run = facts_.run(op, copy);
        if (run != nullptr && (!only || *only == copy)) visit(name_of(op, copy), *run);
      }
    }
  }

  const LayoutFacts& facts_;
  ViolationList& violations_;
  std::map<std::tuple<TensorId, std::uint32_t, DeviceId, bool>, const PlannedTransfer*> sent_;  // by whether again
};

}  // namespace

void check_layout_order(const LayoutFacts& facts, ViolationList& violations) { Order(facts, violations).check(); }

}  // namespace opweave::checking
