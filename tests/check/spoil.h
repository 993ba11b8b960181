/// Ways to spoil a valid plan, each with the rule that it breaks.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "check/spoiler.h"

namespace opweave::testing {

/// Which tasks run, and how.
inline std::vector<Spoiler> spoilers_of_tasks() {
  return {
      {"task missing", Rule::kOnce, "is missing",
       [](const Problem&, Plan& plan, Random& random) {
         plan.tasks.erase(plan.tasks.begin() + static_cast<std::ptrdiff_t>(random.below(plan.tasks.size())));
         return true;
       }},
      {"task repeated", Rule::kOnce, "runs twice",
       [](const Problem&, Plan& plan, Random& random) {
         PlannedTask again = random.pick(plan.tasks);
         move_to(again, again.end.value() + random.between(0, 100));
         plan.tasks.push_back(std::move(again));
         return true;
       }},
      {"operator unknown", Rule::kOnce, "the graph has",
       [](const Problem& problem, Plan& plan, Random& random) {
         random.pick(plan.tasks).op = OperatorId(problem.graph().operators().size() + random.below(3));
         return true;
       }},
      {"copy unknown", Rule::kOnce, "but there are",
       [](const Problem&, Plan& plan, Random& random) {
         random.pick(plan.tasks).copy += 4 + static_cast<std::uint32_t>(random.below(3));
         return true;
       }},
      {"device unknown", Rule::kOnce, "but the cluster has",
       [](const Problem& problem, Plan& plan, Random& random) {
         random.pick(plan.tasks).devices.emplace_back(problem.cluster().device_count() + random.below(3));
         return true;
       }},
      {"one more microbatch claimed", Rule::kOnce, "is missing",
       [](const Problem& problem, Plan& plan, Random&) {
         if (problem.op(TaskId(0)).phase == Phase::kOptimizer) return false;  // and so all others
         Training& training = plan.settings.training;
         ++training.microbatches;
         if (!training.replica_of_microbatch.empty()) training.replica_of_microbatch.push_back(0);
         return true;
       }},
  };
}

/// How long, where and when tasks run.
inline std::vector<Spoiler> spoilers_of_runs() {
  return {
      {"duration wrong", Rule::kOnce, "expected",
       [](const Problem&, Plan& plan, Random& random) {
         PlannedTask& task = random.pick(plan.tasks);
         task.end += Duration(random.chance(50) ? random.between(1, 9) : -random.between(1, 9));
         return true;
       }},
      {"start negative", Rule::kOnce, "expected at least 0",
       [](const Problem&, Plan& plan, Random& random) {
         move_to(random.pick(plan.tasks), -random.between(1, 50));
         return true;
       }},
      {"mode unknown", Rule::kOnce, " runs on ",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_task(problem, random, [&](TaskId task) {
           std::vector<DeviceId> devices;
           for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
             if (random.chance(50)) devices.emplace_back(d);
           }
           for (ModeIndex m = 0; m < problem.mode_count(task); ++m) {
             if (std::ranges::equal(problem.mode(task, m).devices, devices)) return false;
           }
           // A single device that only the list of allowed devices excludes breaks rule 6 instead.
           if (devices.size() == 1 && !problem.op(task).devices.empty()) return false;
           planned(problem, plan, task).devices = devices;
           return true;
         });
       }},
      {"stream overlap", Rule::kStream, "stream \"",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_task(problem, random, [&](TaskId a) {
           return some_task(problem, random, [&](TaskId b) {
             if (a == b || (problem.streams(a) & problem.streams(b)) == 0) return false;
             const PlannedTask& first = planned(problem, plan, a);
             PlannedTask& second = planned(problem, plan, b);
             if (first.start >= first.end || second.start >= second.end) return false;
             if (std::ranges::none_of(first.devices, [&](DeviceId d) { return holds(second.devices, d); }))
               return false;
             move_to(second, random.between(first.start.value(), first.end.value() - 1));
             return true;
           });
         });
       }},
  };
}

/// Inputs of tasks, and the transfers that bring them.
inline std::vector<Spoiler> spoilers_of_presence() {
  return {
      {"start before a local input", Rule::kPresence, "is made at",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_task(problem, random, [&](TaskId task) {
           for (const ValueId value : problem.inputs(task)) {
             const auto producer = problem.producer(value);
             if (!producer) continue;
             const auto& made_on = planned(problem, plan, *producer).devices;
             const auto& used_on = planned(problem, plan, task).devices;
             if (std::ranges::none_of(made_on, [&](DeviceId d) { return holds(used_on, d); })) continue;
             return start_too_early(problem, plan, *producer, task);
           }
           return false;
         });
       }},
      {"start before an arrival", Rule::kPresence, "arrives at",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_transfer(plan, random, [&](const PlannedTransfer& transfer) {
           for (const TaskId consumer : problem.consumers(problem.value_of(transfer.tensor, transfer.copy))) {
             PlannedTask& task = planned(problem, plan, consumer);
             if (!holds(task.devices, transfer.destination) || transfer.end == Duration()) continue;
             move_to(task, transfer.end.value() - 1);
             return true;
           }
           return false;
         });
       }},
      {"transfer missing", Rule::kPresence, "nobody sends",
       [](const Problem&, Plan& plan, Random& random) {
         if (plan.transfers.empty()) return false;
         plan.transfers.erase(plan.transfers.begin() +
                              static_cast<std::ptrdiff_t>(random.below(plan.transfers.size())));
         return true;
       }},
      {"transfer repeated", Rule::kPresence, "already sent",
       [](const Problem&, Plan& plan, Random& random) {
         if (plan.transfers.empty()) return false;
         PlannedTransfer again = random.pick(plan.transfers);
         move_to(again, again.end.value() + random.between(0, 100));
         plan.transfers.push_back(again);
         return true;
       }},
  };
}

/// Transfers that nobody asks for, and edges that only order tasks.
inline std::vector<Spoiler> spoilers_of_edges() {
  return {
      {"transfer to where it is made", Rule::kPresence, "it is made there",
       [](const Problem& problem, Plan& plan, Random& random) {
         if (problem.value_count() == 0) return false;
         const ValueId value(random.below(problem.value_count()));
         const auto producer = problem.producer(value);
         if (!producer) return false;
         const PlannedTask& made = planned(problem, plan, *producer);
         plan.transfers.push_back(
             transfer_of(problem, value, random_device(problem, random), made.devices.front(), made.end));
         return true;
       }},
      {"transfer that nobody needs", Rule::kPresence, "nothing consumes",
       [](const Problem& problem, Plan& plan, Random& random) {
         if (problem.value_count() == 0) return false;
         const ValueId value(random.below(problem.value_count()));
         const auto producer = problem.producer(value);
         if (!producer) return false;
         const PlannedTask& made = planned(problem, plan, *producer);
         const DeviceId device = random_device(problem, random);
         if (holds(made.devices, device)) return false;
         for (const TaskId consumer : problem.consumers(value)) {
           if (holds(planned(problem, plan, consumer).devices, device)) return false;
         }
         plan.transfers.push_back(transfer_of(problem, value, made.devices.front(), device, made.end));
         return true;
       }},
      {"transfer of an input of the graph", Rule::kPresence, "input of the graph",
       [](const Problem& problem, Plan& plan, Random& random) {
         if (problem.value_count() == 0) return false;
         const ValueId value(random.below(problem.value_count()));
         if (problem.producer(value)) return false;
         plan.transfers.push_back(transfer_of(problem, value, DeviceId(0), DeviceId(1), Duration(5)));
         return true;
       }},
      {"control edge violated", Rule::kPresence, "must come before it",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_task(problem, random, [&](TaskId task) {
           if (problem.op(task).phase == Phase::kOptimizer || problem.control_predecessors(task).empty()) return false;
           return start_too_early(problem, plan, problem.control_predecessors(task).front(), task);
         });
       }},
      {"optimizer before a gradient", Rule::kPresence, "must come before it",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_task(problem, random, [&](TaskId task) {
           if (problem.op(task).phase != Phase::kOptimizer || !problem.op(task).after.empty()) return false;
           const auto gradients = problem.control_predecessors(task);
           if (gradients.empty()) return false;
           return start_too_early(problem, plan, gradients[random.below(gradients.size())], task);
         });
       }},
  };
}

inline std::vector<Spoiler> spoilers_of_transfers() {
  return {
      {"transfer too short or too long", Rule::kTransfer, " ns, expected ",
       [](const Problem&, Plan& plan, Random& random) {
         if (plan.transfers.empty()) return false;
         random.pick(plan.transfers).end += Duration(random.chance(50) ? random.between(1, 5) : -random.between(1, 5));
         return true;
       }},
      {"transfer too early", Rule::kTransfer, "makes it at",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_transfer(plan, random, [&](PlannedTransfer& transfer) {
           const auto producer = problem.producer(problem.value_of(transfer.tensor, transfer.copy));
           const Duration made = planned(problem, plan, *producer).end;
           if (made == Duration()) return false;
           move_to(transfer, random.between(0, made.value() - 1));
           return true;
         });
       }},
      {"transfer from the wrong device", Rule::kTransfer, "makes it on",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_transfer(plan, random, [&](PlannedTransfer& transfer) {
           const auto producer = problem.producer(problem.value_of(transfer.tensor, transfer.copy));
           const DeviceId device = random_device(problem, random);
           if (holds(planned(problem, plan, *producer).devices, device)) return false;
           transfer.source = device;
           return true;
         });
       }},
      {"transfer of an unknown copy", Rule::kTransfer, "but there are",
       [](const Problem&, Plan& plan, Random& random) {
         if (plan.transfers.empty()) return false;
         random.pick(plan.transfers).copy += 4;
         return true;
       }},
      {"endpoint shared", Rule::kTransfer, "contention \"endpoint\"",
       [](const Problem&, Plan& plan, Random& random) {
         if (plan.settings.contention != Contention::kEndpoint) return false;
         return clash(plan, random, [](const PlannedTransfer& a, const PlannedTransfer& b) {
           return a.source == b.source || a.destination == b.destination;
         });
       }},
      {"link shared", Rule::kTransfer, "contention \"link\"",
       [](const Problem& problem, Plan& plan, Random& random) {
         if (plan.settings.contention != Contention::kLink) return false;
         return clash(plan, random, [&](const PlannedTransfer& a, const PlannedTransfer& b) {
           return share_a_link(problem.cluster(), a, b);
         });
       }},
  };
}

inline std::vector<Spoiler> spoilers_of_memory_and_placement() {
  return {
      {"memory limit below the peak", Rule::kMemory, "reaches",
       [](const Problem&, Plan& plan, Random&) {
         Bytes peak;
         for (const DeviceStatistics& device : plan.statistics.devices) peak = std::max(peak, device.peak_memory);
         if (peak == Bytes()) return false;
         plan.settings.memory_limit = peak - Bytes(1);
         return true;
       }},
      {"memory above capacity after a delay", Rule::kMemory, "reaches",
       [](const Problem& problem, Plan& plan, Random& random) {
         // The core's own account decides whether the delay broke the limit.
         const Plan before = plan;
         move_to(random.pick(plan.tasks), random.between(0, 2 * plan.statistics.makespan.value()));
         const PlanStatistics figures = statistics(problem, to_schedule(problem, plan));
         for (std::size_t d = 0; d < figures.devices.size(); ++d) {
           const auto capacity = problem.capacity(DeviceId(d));
           if (capacity && figures.devices[d].peak_memory > *capacity) return true;
         }
         plan = before;
         return false;
       }},
      {"pinned device violated", Rule::kPlacement, " runs on ",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_task(problem, random, [&](TaskId task) {
           const auto& lists = problem.op(task).devices;
           if (lists.empty()) return false;
           const auto& allowed = lists[lists.size() == 1 ? 0 : problem.task(task).replica];
           const DeviceId device = random_device(problem, random);
           if (std::ranges::find(allowed, problem.cluster().at(device).name) != allowed.end()) return false;
           planned(problem, plan, task).devices = {device};
           return true;
         });
       }},
      {"colocation split", Rule::kPlacement, "colocation group",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_task(problem, random, [&](TaskId task) {
           if (problem.op(task).colocation.empty()) return false;
           const auto group = problem.tasks_of(problem.group_of(task));
           const bool alone = std::ranges::none_of(group, [&](TaskId other) {
             return other != task && problem.op(other).colocation == problem.op(task).colocation;
           });
           return !alone && move_away(problem, plan, task, random);
         });
       }},
      {"parameter of a replica split", Rule::kPlacement, "both read parameter",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_task(problem, random, [&](TaskId task) {
           if (problem.op(task).parameters.empty()) return false;
           const auto group = problem.tasks_of(problem.group_of(task));
           const bool alone = std::ranges::none_of(group, [&](TaskId other) {
             return other != task &&
                    std::ranges::find(problem.op(other).parameters, problem.op(task).parameters.front()) !=
                        problem.op(other).parameters.end();
           });
           return !alone && move_away(problem, plan, task, random);
         });
       }},
      {"anti-colocated together", Rule::kPlacement, "anti-colocation group",
       [](const Problem& problem, Plan& plan, Random& random) {
         return some_task(problem, random, [&](TaskId a) {
           if (problem.op(a).anti_colocation.empty()) return false;
           return some_task(problem, random, [&](TaskId b) {
             if (problem.task(a).op == problem.task(b).op ||
                 problem.op(a).anti_colocation != problem.op(b).anti_colocation) {
               return false;
             }
             planned(problem, plan, b).devices = planned(problem, plan, a).devices;
             return true;
           });
         });
       }},
  };
}

inline std::vector<Spoiler> spoilers_of_figures() {
  return {
      {"makespan wrong", Rule::kFigures, "makespan_ns is",
       [](const Problem&, Plan& plan, Random& random) {
         plan.statistics.makespan += Duration(random.chance(50) ? 1 : -1);
         return true;
       }},
      {"statistics wrong", Rule::kFigures, " is ",
       [](const Problem&, Plan& plan, Random& random) { return falsify_statistics(plan, random); }},
      {"device without statistics", Rule::kFigures, "statistics cover",
       [](const Problem&, Plan& plan, Random&) {
         plan.statistics.devices.pop_back();
         return true;
       }},
      {"bound above the makespan", Rule::kFigures, "above the makespan",
       [](const Problem&, Plan& plan, Random& random) {
         plan.bounds.push_back({"false", plan.statistics.makespan + Duration(random.between(1, 9)), ""});
         return true;
       }},
      {"optimal without a proof", Rule::kFigures, "status is \"optimal\"",
       [](const Problem&, Plan& plan, Random&) {
         if (plan.status == PlanStatus::kOptimal) return false;
         plan.status = PlanStatus::kOptimal;
         return true;
       }},
      {"graph or cluster of another name", Rule::kFigures, "plan is for",
       [](const Problem&, Plan& plan, Random& random) {
         (random.chance(50) ? plan.graph_name : plan.cluster_name) += "x";
         return true;
       }},
      {"settings without sense", Rule::kFigures, "settings of the plan",
       [](const Problem&, Plan& plan, Random&) {
         plan.settings.training.replicas = plan.settings.training.microbatches + 1;
         return true;
       }},
  };
}

inline std::vector<Spoiler> all_spoilers() {
  std::vector<Spoiler> all;
  for (auto& part : {spoilers_of_tasks(), spoilers_of_runs(), spoilers_of_presence(), spoilers_of_edges(),
                     spoilers_of_transfers(), spoilers_of_memory_and_placement(), spoilers_of_figures()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace opweave::testing
