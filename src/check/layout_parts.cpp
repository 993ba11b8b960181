// Which runs and movements the options of a plan ask for, and how long they last.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "check/layout_facts.h"

namespace opweave::checking {
namespace {

/// Which runs and movements there have to be.
class Parts {
 public:
  Parts(const LayoutFacts& facts, ViolationList& violations) : facts_(facts), violations_(violations) {}

  void check() {
    for (std::size_t i = 0; i < facts_.graph().operators().size(); ++i) check_runs(OperatorId(i));
    for (const LayoutMovement* movement : facts_.repeated()) {
      violations_.add(rule_of(movement->key), [&] { return facts_.name(movement->key) + " happens twice"; });
    }
    for (std::size_t t = 0; t < facts_.graph().tensors().size(); ++t) {
      const TensorId tensor(t);
      for (const Form& form : facts_.forms(tensor)) {
        if (!form.from) continue;
        const std::uint32_t copies = facts_.is_made_once(tensor) ? 1 : facts_.microbatches();
        for (std::uint32_t copy = 0; copy < copies; ++copy) {
          expect(facts_.movement(form, copy), facts_.again(form, copy), {form.kind, form.parties(), form.lasts},
                 [&] { return facts_.key(tensor, form, copy); });
        }
      }
    }
    for (std::size_t p = 0; p < facts_.graph().parameters().size(); ++p) {
      const ParameterId parameter(p);
      for (const ParameterForm& form : facts_.forms(parameter)) {
        const std::uint32_t copies = form.is_per_microbatch ? facts_.microbatches() : 1;
        for (std::uint32_t copy = 0; copy < copies; ++copy) {
          const MovementKey key = facts_.key(parameter, form, copy);
          const LayoutMovement* movement = facts_.movement(key);
          const LayoutMovement* again = facts_.again(key);
          expected_.insert({movement, again});
          expect(movement, again, {form.kind, form.devices, form.lasts}, [&]() -> const MovementKey& { return key; });
        }
      }
    }
    for (const LayoutMovement* movement : facts_.beside_forms()) {
      if (expected_.contains(first_of(*movement))) continue;
      violations_.add(rule_of(movement->key),
                      [&] { return facts_.name(movement->key) + " is in the plan, but no option asks for it"; });
    }
    for (const LayoutMovement& movement : facts_.plan().movements) {
      if (!movement.again || movement.key.moved == Moved::kTensor) continue;
      if (movement.key.moved == Moved::kForwardWeights) continue;
      violations_.add(Rule::kModes, [&] { return facts_.name(movement.key) + " happens again, which it never does"; });
    }
    check_wanted();
  }

 private:
  static Rule rule_of(const MovementKey& key) {
    return key.moved == Moved::kTensor ? Rule::kMovement : Rule::kReduction;
  }

  /// Of those with the same key, that which the plan lists first.
  [[nodiscard]] const LayoutMovement* first_of(const LayoutMovement& movement) const {
    return movement.again ? facts_.again(movement.key) : facts_.movement(movement.key);
  }

  /// What a movement has to be.
  struct Expected {
    LayoutMovementKind kind;
    std::span<const DeviceId> devices;
    std::optional<Wide> lasts;
  };

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

  /// The movements that the plan has, or null. Keys are made where they are said alone.
  template <class Key>
  void expect(const LayoutMovement* movement, const LayoutMovement* again, const Expected& expected, const Key& key) {
    if (movement == nullptr) {
      const MovementKey& missing = key();
      violations_.add(rule_of(missing), [&] { return facts_.name(missing) + " is missing"; });
    } else {
      describe(*movement, expected);
    }
    if (again != nullptr) describe(*again, expected);
  }

  void describe(const LayoutMovement& one, const Expected& expected) {
    const MovementKey& key = one.key;
    const auto add = [&](const std::string& what) {
      violations_.add(rule_of(key), [&] { return facts_.name(key) + (one.again ? " again " : " ") + what; });
    };
    if (one.kind != expected.kind) {
      add(fmt::format("is \"{}\", expected \"{}\"", to_string(one.kind), to_string(expected.kind)));
    }
    if (!are_same(one.devices, expected.devices)) {
      add(fmt::format("is on {}, expected {}", facts_.names(one.devices), facts_.names(expected.devices)));
    }
    if (!expected.lasts) return add("goes where no route leads");
    const Wide stated = Wide{one.end.value()} - one.start.value();
    if (stated != *expected.lasts) add(fmt::format("lasts {} ns, expected {} ns", stated, *expected.lasts));
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
  std::unordered_set<const LayoutMovement*> expected_;  // of parameters
};

}  // namespace

void check_layout_presence_of_parts(const LayoutFacts& facts, ViolationList& violations) {
  Parts(facts, violations).check();
}

}  // namespace opweave::checking
