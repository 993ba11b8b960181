#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "check/rules.h"

namespace opweave::checking {
namespace {

void check_pins(const Reading& reading, ViolationList& violations) {
  for (std::size_t i = 0; i < reading.graph().operators().size(); ++i) {
    const Operator& op = reading.graph().operators()[i];
    if (op.devices.empty()) continue;
    if (op.devices.size() != 1 && op.devices.size() != reading.training().replicas) {
      violations.add(Rule::kPlacement, [&] {
        return fmt::format("operator \"{}\" lists devices for {} replicas, but the plan has {}", op.name,
                           op.devices.size(), reading.training().replicas);
      });
      continue;
    }
    // Neighbouring copies mostly run in the same place: look that up once.
    const std::vector<std::string>* last_list = nullptr;
    DeviceId last_device;
    bool last_answer = false;
    for (const Run& run : reading.runs_of(OperatorId(i))) {
      const std::vector<std::string>& allowed = op.devices[op.devices.size() == 1 ? 0 : run.replica];
      for (const DeviceId device : run.devices) {
        if (&allowed != last_list || device != last_device) {
          last_list = &allowed;
          last_device = device;
          last_answer = std::find(allowed.begin(), allowed.end(), reading.cluster().at(device).name) != allowed.end();
        }
        if (last_answer) continue;
        violations.add(Rule::kPlacement, [&] {
          return fmt::format("task {} runs on {}, expected {}", reading.name(run), reading.name(device),
                             allowed.size() == 1 ? fmt::format("\"{}\"", allowed.front())
                                                 : fmt::format("one of its {} allowed devices", allowed.size()));
        });
      }
    }
  }
}

/// Runs that share something must share their devices: the first seen of each replica sets the example.
template <class MakeReason>
void require_same_devices(const Reading& reading, std::vector<const Run*>& example, const Run& run,
                          MakeReason make_reason, ViolationList& violations) {
  const Run*& first = example[run.replica];
  if (first == nullptr) first = &run;
  if (std::ranges::equal(first->devices, run.devices)) return;
  violations.add(Rule::kPlacement, [&] {
    return fmt::format("task {} runs on {}, but {} on {}: {}", reading.name(run), reading.names(run.devices),
                       reading.name(*first), reading.names(first->devices), make_reason());
  });
}

void check_colocation(const Reading& reading, ViolationList& violations) {
  const ComputationGraph& graph = reading.graph();
  const std::uint32_t replicas = reading.training().replicas;
  std::unordered_map<std::string_view, std::vector<const Run*>> by_group;
  std::vector<std::vector<const Run*>> by_parameter(graph.parameters().size());
  for (std::size_t i = 0; i < graph.operators().size(); ++i) {
    const Operator& op = graph.operators()[i];
    std::vector<const Run*>* group = nullptr;
    if (!op.colocation.empty()) {
      group = &by_group[op.colocation];
      group->resize(replicas, nullptr);
    }
    for (const ParameterId parameter : op.parameters) by_parameter[parameter.index()].resize(replicas, nullptr);
    for (const Run& run : reading.runs_of(OperatorId(i))) {
      if (!run.present) continue;
      if (group != nullptr) {
        require_same_devices(
            reading, *group, run, [&] { return fmt::format("colocation group \"{}\"", op.colocation); }, violations);
      }
      for (const ParameterId parameter : op.parameters) {
        require_same_devices(
            reading, by_parameter[parameter.index()], run,
            [&] { return fmt::format("both read parameter \"{}\" of one replica", graph.at(parameter).name); },
            violations);
      }
    }
  }
}

void check_anti_colocation(const Reading& reading, ViolationList& violations) {
  struct Member {
    std::size_t group;
    DeviceId device;
    const Run* run;
  };
  std::unordered_map<std::string_view, std::size_t> number;
  std::vector<std::string_view> names;
  std::vector<Member> members;
  for (std::size_t i = 0; i < reading.graph().operators().size(); ++i) {
    for (const std::string& name : reading.graph().operators()[i].anti_colocation) {
      const auto [entry, is_new] = number.try_emplace(name, names.size());
      if (is_new) names.push_back(name);
      for (const Run& run : reading.runs_of(OperatorId(i))) {
        for (const DeviceId device : run.devices) members.push_back({entry->second, device, &run});
      }
    }
  }
  std::sort(members.begin(), members.end(), [](const Member& a, const Member& b) {
    return std::tie(a.group, a.device, a.run->op, a.run->copy) < std::tie(b.group, b.device, b.run->op, b.run->copy);
  });
  for (std::size_t i = 1; i < members.size(); ++i) {
    const Member& a = members[i - 1];
    const Member& b = members[i];
    if (a.group != b.group || a.device != b.device || a.run->op == b.run->op) continue;
    violations.add(Rule::kPlacement, [&] {
      return fmt::format("tasks {} and {} both run on {}, which anti-colocation group \"{}\" forbids",
                         reading.name(*a.run), reading.name(*b.run), reading.name(a.device), names[a.group]);
    });
  }
}

}  // namespace

void check_placement(const Reading& reading, ViolationList& violations) {
  check_pins(reading, violations);
  check_colocation(reading, violations);
  check_anti_colocation(reading, violations);
}

}  // namespace opweave::checking
