#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "check/layout_facts.h"

namespace opweave::checking {
namespace {

/// Which runs and movements there have to be.
class Parts {
 public:
  Parts(const LayoutFacts& facts, ViolationList& violations) : facts_(facts), violations_(violations) {}

  void check() {
    for (std::size_t i = 0; i < facts_.graph().operators().size(); ++i) check_runs(OperatorId(i));
    std::map<MovementKey, std::size_t> count;
    for (const LayoutMovement& movement : facts_.plan().movements) {
      if (++count[movement.key] < 2) continue;
      violations_.add(rule_of(movement.key), [&] { return facts_.name(movement.key) + " happens twice"; });
    }
    for (std::size_t t = 0; t < facts_.graph().tensors().size(); ++t) {
      const TensorId tensor(t);
      for (const Form& form : facts_.forms(tensor)) {
        if (!form.from) continue;
        const std::uint32_t copies = facts_.is_made_once(tensor) ? 1 : facts_.microbatches();
        for (std::uint32_t copy = 0; copy < copies; ++copy) {
          expect(facts_.key(tensor, form, copy), form.kind, form.parties, form.lasts);
        }
      }
    }
    for (std::size_t p = 0; p < facts_.graph().parameters().size(); ++p) {
      const ParameterId parameter(p);
      for (const ParameterForm& form : facts_.forms(parameter)) {
        const std::uint32_t copies = form.is_per_microbatch ? facts_.microbatches() : 1;
        for (std::uint32_t copy = 0; copy < copies; ++copy) {
          expect(facts_.key(parameter, form, copy), form.kind, form.devices, form.lasts);
        }
      }
    }
    for (const LayoutMovement& movement : facts_.plan().movements) {
      if (expected_.contains(movement.key)) continue;
      violations_.add(rule_of(movement.key),
                      [&] { return facts_.name(movement.key) + " is in the plan, but no option asks for it"; });
    }
    check_wanted();
  }

 private:
  static Rule rule_of(const MovementKey& key) {
    return key.moved == Moved::kTensor ? Rule::kMovement : Rule::kReduction;
  }

  void check_runs(OperatorId op) {
    const LayoutOption& option = facts_.option(op);
    for (std::uint32_t copy = 0; copy < facts_.copies(op); ++copy) {
      const PlannedTask* run = facts_.run(op, copy);
      if (run == nullptr) {
        violations_.add(Rule::kOnce, [&] { return fmt::format("task {} does not run", facts_.name(op, copy)); });
        continue;
      }
      if (run->devices != option.devices) {
        violations_.add(Rule::kOption, [&] {
          return fmt::format("task {} runs on {}, but others of its operator on {}", facts_.name(op, copy),
                             facts_.names(run->devices), facts_.names(option.devices));
        });
      }
      const Wide lasts = Wide{run->end.value()} - run->start.value();
      if (lasts == option.duration.value()) continue;
      violations_.add(Rule::kOnce, [&] {
        return fmt::format("task {} lasts {} ns, expected {} ns", facts_.name(op, copy), lasts,
                           option.duration.value());
      });
    }
  }

  void expect(const MovementKey& key, LayoutMovementKind kind, const std::vector<DeviceId>& devices,
              const std::optional<Wide>& lasts) {
    expected_.insert(key);
    const LayoutMovement* movement = facts_.movement(key);
    const auto add = [&](const std::string& what) {
      violations_.add(rule_of(key), [&] { return facts_.name(key) + " " + what; });
    };
    if (movement == nullptr) return add("is missing");
    if (movement->kind != kind) {
      add(fmt::format("is \"{}\", expected \"{}\"", to_string(movement->kind), to_string(kind)));
    }
    if (movement->devices != devices) {
      add(fmt::format("is on {}, expected {}", facts_.names(movement->devices), facts_.names(devices)));
    }
    if (!lasts) return add("goes where no route leads");
    const Wide stated = Wide{movement->end.value()} - movement->start.value();
    if (stated != *lasts) add(fmt::format("lasts {} ns, expected {} ns", stated, *lasts));
  }

  void check_wanted() {
    for (std::size_t i = 0; i < facts_.graph().operators().size(); ++i) {
      const Operator& op = facts_.graph().operators()[i];
      for (std::size_t k = 0; k < op.inputs.size(); ++k) {
        if (facts_.read_form(OperatorId(i), k)) continue;
        violations_.add(Rule::kMovement, [&] {
          return fmt::format("operator \"{}\" reads partial sums of \"{}\", which no movement makes", op.name,
                             facts_.graph().at(op.inputs[k]).name);
        });
      }
    }
  }

  const LayoutFacts& facts_;
  ViolationList& violations_;
  std::set<MovementKey> expected_;
};

/// What waits for what. A thing that is missing is reported elsewhere.
class Order {
 public:
  Order(const LayoutFacts& facts, ViolationList& violations) : facts_(facts), violations_(violations) {
    for (const PlannedTransfer& transfer : facts.plan().plan.transfers) {
      auto& there = sent_[{transfer.tensor, transfer.copy, transfer.destination}];
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
        if (facts_.run(op, copy) != nullptr) check_run(op, copy);
      }
    }
    for (std::size_t p = 0; p < facts_.graph().parameters().size(); ++p) check_parameter(ParameterId(p));
  }

 private:
  void wait(Rule rule, const std::string& who, Duration start, const std::string& whom, Duration end) {
    if (start >= end) return;
    violations_.add(rule, [&] {
      return fmt::format("{} starts at {} ns, but {} ends at {} ns", who, start.value(), whom, end.value());
    });
  }

  /// When a form of a value is there, and who makes it so.
  void when_made(TensorId tensor, const Form& form, std::uint32_t copy,
                 const std::function<void(const std::string&, Duration)>& visit) const {
    if (form.from) {
      const MovementKey key = facts_.key(tensor, form, copy);
      if (const LayoutMovement* movement = facts_.movement(key)) visit(facts_.name(key), movement->end);
      return;
    }
    const auto& maker = facts_.graph().at(tensor).producer;
    if (!maker) return;
    if (const PlannedTask* run = facts_.run(*maker, copy)) visit("task " + facts_.name(*maker, copy), run->end);
  }

  void check_movements(TensorId tensor) {
    const std::vector<Form>& forms = facts_.forms(tensor);
    for (const Form& form : forms) {
      if (!form.from) continue;
      const std::uint32_t copies = facts_.is_made_once(tensor) ? 1 : facts_.microbatches();
      for (std::uint32_t copy = 0; copy < copies; ++copy) {
        const MovementKey key = facts_.key(tensor, form, copy);
        const LayoutMovement* movement = facts_.movement(key);
        if (movement == nullptr) continue;
        when_made(tensor, forms[*form.from], copy, [&](const std::string& whom, Duration end) {
          wait(Rule::kPresence, facts_.name(key), movement->start, whom, end);
        });
      }
    }
  }

  [[nodiscard]] std::string describe(const PlannedTransfer& transfer) const {
    return fmt::format("transfer of \"{}#{}\" from {} to {}", facts_.graph().at(transfer.tensor).name, transfer.copy,
                       facts_.name(transfer.source), facts_.name(transfer.destination));
  }

  /// Only whole values are sent: as they were made, or as they were summed where they were made.
  void check_transfer(const PlannedTransfer& transfer) {
    const std::vector<Form>& forms = facts_.forms(transfer.tensor);
    const auto whole = std::ranges::find_if(forms, [&](const Form& form) {
      return form.layout.kind == TensorLayout::Kind::kReplicated && form.devices == forms.front().devices;
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
    when_made(transfer.tensor, *whole, transfer.copy, [&](const std::string& whom, Duration end) {
      wait(Rule::kTransfer, describe(transfer), transfer.start, whom, end);
    });
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
    const std::vector<DeviceId>& made = facts_.forms(transfer.tensor)[form].devices;
    if (std::ranges::find(made, transfer.destination) != made.end()) return false;
    return std::ranges::any_of(facts_.graph().at(transfer.tensor).consumers, [&](OperatorId reader) {
      const std::vector<TensorId>& inputs = facts_.graph().at(reader).inputs;
      const auto position = static_cast<std::size_t>(std::ranges::find(inputs, transfer.tensor) - inputs.begin());
      const std::vector<DeviceId>& devices = facts_.option(reader).devices;
      return facts_.read_form(reader, position) == form &&
             std::ranges::find(devices, transfer.destination) != devices.end();
    });
  }

  void check_run(OperatorId id, std::uint32_t copy) {
    const Operator& op = facts_.graph().at(id);
    const PlannedTask& run = *facts_.run(id, copy);
    const std::string who = "task " + facts_.name(id, copy);
    for (std::size_t k = 0; k < op.inputs.size(); ++k) {
      const auto& number = facts_.read_form(id, k);
      if (!number || !facts_.graph().at(op.inputs[k]).producer) continue;
      const Form& form = facts_.forms(op.inputs[k])[*number];
      facts_.for_each_read_copy(id, op.inputs[k], copy, [&](std::uint32_t read) {
        when_made(op.inputs[k], form, read,
                  [&](const std::string& whom, Duration end) { wait(Rule::kPresence, who, run.start, whom, end); });
        for (const DeviceId device : facts_.option(id).devices) {
          const std::vector<DeviceId>& there = form.devices;
          if (std::ranges::find(there, device) == there.end()) check_sent(op.inputs[k], read, device, who, run.start);
        }
      });
    }
    for (const OperatorId earlier : op.after) {
      facts_.for_each_copy(earlier, id, copy, [&](std::uint32_t each) {
        if (const PlannedTask* before = facts_.run(earlier, each)) {
          wait(Rule::kPresence, who, run.start, "task " + facts_.name(earlier, each), before->end);
        }
      });
    }
    if (facts_.is_once(id)) check_update(op, who, run.start);
  }

  void check_sent(TensorId tensor, std::uint32_t copy, DeviceId device, const std::string& who, Duration start) {
    const auto found = sent_.find({tensor, copy, device});
    if (found != sent_.end()) return wait(Rule::kPresence, who, start, describe(*found->second), found->second->end);
    violations_.add(Rule::kPresence, [&] {
      return fmt::format("{} reads \"{}#{}\", which is not on {}", who, facts_.graph().at(tensor).name, copy,
                         facts_.name(device));
    });
  }

  /// An optimizer operator waits for all that updates its parameters; without any, for everything that updates.
  void check_update(const Operator& op, const std::string& who, Duration start) {
    std::set<ParameterId> own(op.parameters.begin(), op.parameters.end());
    for (std::size_t i = 0; i < facts_.graph().operators().size(); ++i) {
      const Operator& other = facts_.graph().operators()[i];
      if (other.phase != Phase::kWeightGradient && other.phase != Phase::kBackward) continue;
      const bool is_own =
          own.empty() || std::ranges::any_of(other.parameters, [&](ParameterId p) { return own.contains(p); });
      if (!is_own) continue;
      for (std::uint32_t copy = 0; copy < facts_.microbatches(); ++copy) {
        if (const PlannedTask* run = facts_.run(OperatorId(i), copy)) {
          wait(Rule::kPresence, who, start, "task " + facts_.name(OperatorId(i), copy), run->end);
        }
      }
    }
    if (!own.empty()) return;
    for (const LayoutMovement& movement : facts_.plan().movements) {
      if (!movement.key.op) continue;
      wait(Rule::kReduction, who, start, facts_.name(movement.key), movement.end);
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
          for_each_run(operators, only, [&](const std::string& whom, const PlannedTask& run) {
            wait(Rule::kReduction, facts_.name(key), movement->start, whom, run.end);
          });
        };
        const auto before = [&](const std::vector<OperatorId>& operators, std::optional<std::uint32_t> only) {
          for_each_run(operators, only, [&](const std::string& who, const PlannedTask& run) {
            wait(Rule::kReduction, who, run.start, facts_.name(key), movement->end);
          });
        };
        if (form.moved == Moved::kForwardWeights) before(use.forward, copy);
        if (form.moved == Moved::kBackwardWeights) before(use.backward, copy);
        if (form.moved == Moved::kUpdate) after(use.optimizer, {});
        if (form.moved != Moved::kGradient) continue;
        if (form.op) after({*form.op}, copy);
        if (!form.op) after(use.updates, {});
        before(use.optimizer, {});
      }
    }
  }

  /// The runs of operators: of one copy, or of all.
  template <class Visit>
  void for_each_run(const std::vector<OperatorId>& operators, std::optional<std::uint32_t> only, Visit visit) const {
    for (const OperatorId op : operators) {
      for (std::uint32_t copy = 0; copy < facts_.copies(op); ++copy) {
        const PlannedTask* run = facts_.run(op, copy);
        if (run != nullptr && (!only || *only == copy)) visit("task " + facts_.name(op, copy), *run);
      }
    }
  }

  const LayoutFacts& facts_;
  ViolationList& violations_;
  std::map<std::tuple<TensorId, std::uint32_t, DeviceId>, const PlannedTransfer*> sent_;
};

}  // namespace

void check_layout_presence_of_parts(const LayoutFacts& facts, ViolationList& violations) {
  Parts(facts, violations).check();
}

void check_layout_order(const LayoutFacts& facts, ViolationList& violations) { Order(facts, violations).check(); }

}  // namespace opweave::checking
