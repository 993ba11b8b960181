#include "check/reading.h"

#include <fmt/format.h>

#include <algorithm>

#include "opweave/error.h"

namespace opweave::checking {

Reading::Reading(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan, ViolationList& violations)
    : graph_(graph), cluster_(cluster), plan_(plan) {
  usable_ = settings_are_usable(violations);
  if (!usable_) return;
  number_everything();
  file_tasks(violations);
  file_transfers(violations);
  number_units();
  file_modes(violations);
  file_movements(violations);
}

bool Reading::settings_are_usable(ViolationList& violations) const {
  try {
    validate(training());
  } catch (const InputError& error) {
    violations.add(Rule::kFigures, [&] { return fmt::format("settings of the plan: {}", error.what()); });
    return false;
  }
  Wide expected = 0;
  for (std::size_t i = 0; i < graph_.operators().size(); ++i) expected += copies(OperatorId(i));
  // A hostile plan may claim four billion microbatches: do not make room for what is not there.
  constexpr std::size_t kAlwaysFine = 1'000'000;
  if (expected > kAlwaysFine + 4 * Wide{plan_.tasks.size()}) {
    violations.add(Rule::kOnce, [&] {
      return fmt::format("plan has {} tasks, but its settings ({} microbatches, {} replicas) ask for {}",
                         plan_.tasks.size(), training().microbatches, training().replicas, expected);
    });
    return false;
  }
  return true;
}

std::uint32_t Reading::copies(OperatorId op) const {
  return per_replica(op) ? training().replicas : training().microbatches;
}

std::uint32_t Reading::copies(TensorId tensor) const {
  const std::optional<OperatorId> producer = graph_.at(tensor).producer;
  return producer ? copies(*producer) : training().microbatches;
}

const Run* Reading::maker(TensorId tensor, std::uint32_t copy) const {
  const std::optional<OperatorId> producer = graph_.at(tensor).producer;
  return producer ? &run(*producer, copy) : nullptr;
}

void Reading::number_everything() {
  std::size_t count = 0;
  for (std::size_t i = 0; i < graph_.operators().size(); ++i) {
    first_run_.push_back(count);
    count += copies(OperatorId(i));
  }
  runs_.resize(count);
  for (std::size_t i = 0; i < graph_.operators().size(); ++i) {
    const OperatorId op(i);
    for (std::uint32_t copy = 0; copy < copies(op); ++copy) {
      Run& run = runs_[first_run_[i] + copy];
      run.op = op;
      run.copy = copy;
      run.replica = per_replica(op) ? copy : training().replica_of(copy);
    }
  }
  count = 0;
  for (std::size_t i = 0; i < graph_.tensors().size(); ++i) {
    first_value_.push_back(count);
    count += copies(TensorId(i));
  }
  first_value_.push_back(count);
}

void Reading::file_tasks(ViolationList& violations) {
  struct Slice {
    std::size_t run;
    std::size_t first;
    std::size_t count;
  };
  std::vector<Slice> slices;
  slices.reserve(plan_.tasks.size());
  devices_.reserve(plan_.tasks.size());
  for (const PlannedTask& task : plan_.tasks) {
    if (task.op.index() >= graph_.operators().size()) {
      violations.add(Rule::kOnce, [&] {
        return fmt::format("plan runs operator {}, but the graph has {}", task.op.index(), graph_.operators().size());
      });
      continue;
    }
    if (task.copy >= copies(task.op)) {
      violations.add(Rule::kOnce, [&] {
        return fmt::format("plan runs copy {} of operator \"{}\", but there are {}", task.copy, graph_.at(task.op).name,
                           copies(task.op));
      });
      continue;
    }
    const std::size_t index = first_run_[task.op.index()] + task.copy;
    Run& run = runs_[index];
    if (run.present) {
      violations.add(Rule::kOnce, [&] {
        return fmt::format("task {} runs twice, at {} ns and at {} ns", name(run), run.start.value(),
                           task.start.value());
      });
      continue;
    }
    run.present = true;
    run.start = task.start;
    run.end = task.end;
    const std::size_t first = devices_.size();
    for (const DeviceId device : task.devices) {
      if (device.index() < cluster_.device_count()) {
        devices_.push_back(device);
      } else {
        violations.add(Rule::kOnce, [&] {
          return fmt::format("task {} runs on device {}, but the cluster has {}", name(run), device.index(),
                             cluster_.device_count());
        });
      }
    }
    const auto begin = devices_.begin() + static_cast<std::ptrdiff_t>(first);
    std::sort(begin, devices_.end());
    const auto unique_end = std::unique(begin, devices_.end());
    if (unique_end != devices_.end()) {
      violations.add(Rule::kOnce, [&] { return fmt::format("task {} names one device twice", name(run)); });
      devices_.erase(unique_end, devices_.end());
    }
    slices.push_back({index, first, devices_.size() - first});
  }
  for (const Slice& slice : slices) runs_[slice.run].devices = std::span(devices_).subspan(slice.first, slice.count);
  first_again_ = runs_.size();
  for (const Run& run : runs_) {
    if (!run.present) violations.add(Rule::kOnce, [&] { return fmt::format("task {} is missing", name(run)); });
  }
}

void Reading::file_transfers(ViolationList& violations) {
  transfers_.reserve(plan_.transfers.size());
  for (const PlannedTransfer& transfer : plan_.transfers) {
    if (transfer.tensor.index() >= graph_.tensors().size()) {
      violations.add(Rule::kTransfer, [&] {
        return fmt::format("plan moves tensor {}, but the graph has {}", transfer.tensor.index(),
                           graph_.tensors().size());
      });
      continue;
    }
    if (transfer.copy >= copies(transfer.tensor)) {
      violations.add(Rule::kTransfer, [&] {
        return fmt::format("plan moves copy {} of tensor \"{}\", but there are {}", transfer.copy,
                           graph_.at(transfer.tensor).name, copies(transfer.tensor));
      });
      continue;
    }
    const DeviceId worst = std::max(transfer.source, transfer.destination);
    if (worst.index() >= cluster_.device_count()) {
      violations.add(Rule::kTransfer, [&] {
        return fmt::format("transfer of {} names device {}, but the cluster has {}",
                           name(transfer.tensor, transfer.copy), worst.index(), cluster_.device_count());
      });
      continue;
    }
    transfers_.push_back({transfer.tensor, transfer.copy, value(transfer.tensor, transfer.copy), transfer.source,
                          transfer.destination, transfer.start, transfer.end, transfer.again});
  }
}

std::string Reading::with_copy(const std::string& what, std::uint32_t copy) const {
  if (training().microbatches == 1 && training().replicas == 1) return fmt::format("\"{}\"", what);
  return fmt::format("\"{}#{}\"", what, copy);
}

std::string Reading::name(OperatorId op, std::uint32_t copy) const { return with_copy(graph_.at(op).name, copy); }

std::string Reading::name(TensorId tensor, std::uint32_t copy) const { return with_copy(graph_.at(tensor).name, copy); }

std::string Reading::name(DeviceId device) const { return fmt::format("\"{}\"", cluster_.at(device).name); }

std::string Reading::names(std::span<const DeviceId> devices) const {
  if (devices.empty()) return "no device";
  std::string text;
  for (const DeviceId device : devices) text += (text.empty() ? "" : ", ") + name(device);
  return text;
}

}  // namespace opweave::checking
