// Between schedules and values of the constraint program: hints in, solutions out.
#include "exact/cp_formulation.h"

#include <algorithm>

namespace opweave::exact {

std::int64_t CpFormulation::value_of(const Affine& affine, std::span<const std::int64_t> values) {
  return affine.offset + (affine.variable ? values[static_cast<std::size_t>(*affine.variable)] : 0);
}

void CpFormulation::set(const Affine& affine, std::int64_t value, std::vector<std::int64_t>& values) {
  if (affine.variable) values[static_cast<std::size_t>(*affine.variable)] = value - affine.offset;
}

std::vector<std::int64_t> CpFormulation::values_of(const Schedule& schedule) const {
  std::vector<std::int64_t> values;
  for (const CpModel::Domain& domain : model_.domains()) values.push_back(domain.lower);
  const std::int64_t unit = space_->unit().length.value();
  const std::vector<std::uint32_t> option_of = placement_.express(*space_, schedule, values);
  std::int64_t makespan = frame_.floor;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    if (is_later(TaskId(t))) continue;
    const std::int64_t start = schedule.tasks[t].start.value() / unit;
    const std::int64_t end = start + space_->duration(TaskId(t), option_of[problem_.group_of(TaskId(t)).index()]);
    set(tasks_[t].start, start, values);
    set(tasks_[t].end, end, values);
    makespan = std::max(makespan, end);
  }
  set_deliveries(schedule, values);
  set_memory(values);
  for (const CpModel::Interval interval : sized_) {
    const CpModel::IntervalParts& parts = model_.intervals()[static_cast<std::size_t>(interval)];
    const std::int64_t size = value_of(parts.end, values) - value_of(parts.start, values);
    set(parts.size, std::max<std::int64_t>(0, size), values);
  }
  values[static_cast<std::size_t>(makespan_)] = std::max(makespan, least_makespan(values));
  return values;
}

void CpFormulation::set_deliveries(const Schedule& schedule, std::vector<std::int64_t>& values) const {
  const std::int64_t unit = space_->unit().length.value();
  std::vector<const Transfer*> transfer_of(deliveries_.size(), nullptr);
  for (const Transfer& transfer : schedule.transfers) {
    if (const auto s = space_->delivery(transfer.value, transfer.destination)) transfer_of[*s] = &transfer;
  }
  for (std::size_t s = 0; s < deliveries_.size(); ++s) {
    const DeliveryParts& parts = deliveries_[s];
    if (frame_.deliveries[s] == Role::kLater) continue;
    const Transfer* transfer = transfer_of[s];
    parts.present.decide(transfer != nullptr, values);
    if (transfer == nullptr) {
      if (parts.from.size() > 1) {
        for (const Truth& from : parts.from) from.decide(false, values);
      }
      continue;
    }
    const auto& sources = space_->deliveries()[s].sources;
    for (std::size_t k = 0; k < sources.size(); ++k) {
      if (parts.from.size() > 1) parts.from[k].decide(sources[k].device == transfer->source, values);
      if (sources[k].device != transfer->source) continue;
      // A transfer that starts with its producer's end in the model has no start of its own.
      const bool has_own_start =
          parts.start.variable != tasks_[problem_.producer(transfer->value)->index()].end.variable;
      if (has_own_start) set(parts.start, transfer->start.value() / unit, values);
      const std::int64_t end = value_of(parts.start, values) + sources[k].duration;
      if (parts.end.variable != parts.start.variable) set(parts.end, end, values);
    }
  }
}

void CpFormulation::set_memory(std::vector<std::int64_t>& values) const {
  for (const PersistentParts& persistent : persistent_) {
    const bool lives = std::any_of(persistent.groups.begin(), persistent.groups.end(), [&](GroupId group) {
      return placement_.on(group, persistent.device).holds(values);
    });
    values[static_cast<std::size_t>(persistent.literal)] = lives ? 1 : 0;
  }
  for (const ResidenceParts& residence : residences_) {
    bool is_present = false;
    std::int64_t first = frame_.end;
    std::int64_t last = 0;
    for (std::size_t i = 0; i < residence.ends.size(); ++i) {
      const auto& [end, counts] = residence.ends[i];
      if (!counts.holds(values)) continue;
      is_present = true;
      last = std::max(last, value_of(end, values));
      if (residence.start) first = std::min(first, value_of(residence.starts[i], values));
    }
    if (residence.present) Truth{true, residence.present}.decide(is_present, values);
    if (residence.start) values[static_cast<std::size_t>(*residence.start)] = first;
    if (residence.end) {
      auto& value = values[static_cast<std::size_t>(*residence.end)];
      value = std::max(value, last);
    }
  }
}

std::int64_t CpFormulation::least_makespan(std::span<const std::int64_t> values) const {
  std::int64_t makespan = 0;
  for (const CpModel::Linear& linear : model_.linears()) {
    if (linear.terms.empty() || linear.terms.front().variable != makespan_) continue;
    const bool counts = std::all_of(linear.when.begin(), linear.when.end(), [&](Literal l) {
      return Truth{true, l}.holds(values);
    });
    std::int64_t least = linear.lower;
    for (std::size_t i = 1; i < linear.terms.size(); ++i) {
      least -= linear.terms[i].coefficient * values[static_cast<std::size_t>(linear.terms[i].variable)];
    }
    if (counts) makespan = std::max(makespan, least);
  }
  return makespan;
}

void CpFormulation::hint(const Schedule& schedule) {
  const std::vector<std::int64_t> values = values_of(schedule);
  for (std::size_t v = 0; v < values.size(); ++v) model_.hint(static_cast<CpModel::Variable>(v), values[v]);
}

RoughSchedule CpFormulation::read(std::span<const std::int64_t> values) const {
  const std::int64_t unit = space_->unit().length.value();
  const auto nanoseconds = [&](std::int64_t ticks) { return static_cast<double>(ticks) * static_cast<double>(unit); };
  RoughSchedule rough;
  rough.modes.resize(problem_.task_count());
  rough.starts.resize(problem_.task_count());
  for (std::size_t g = 0; g < problem_.group_count(); ++g) {
    const std::uint32_t option = placement_.option(GroupId(g), values);
    for (const TaskId task : problem_.tasks_of(GroupId(g))) rough.modes[task.index()] = space_->mode(task, option);
  }
  std::int64_t frame_end = frame_.later_from;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    if (is_later(TaskId(t))) continue;
    rough.starts[t] = nanoseconds(value_of(tasks_[t].start, values));
    frame_end = std::max(frame_end, value_of(tasks_[t].end, values));
  }
  for (std::size_t s = 0; s < deliveries_.size(); ++s) {
    const DeliveryParts& parts = deliveries_[s];
    if (frame_.deliveries[s] == Role::kLater || !parts.present.holds(values)) continue;
    const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
    for (std::size_t k = 0; k < parts.from.size(); ++k) {
      if (!parts.from[k].holds(values)) continue;
      rough.transfers.push_back({delivery.value, delivery.sources[k].device, delivery.destination,
                                 nanoseconds(value_of(parts.start, values))});
    }
    frame_end = std::max(frame_end, value_of(parts.end, values));
  }
  const std::int64_t shift = frame_end - frame_.later_from;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    if (is_later(TaskId(t))) rough.starts[t] = nanoseconds(frame_.task_starts[t] + shift);
  }
  for (std::size_t s = 0; s < deliveries_.size(); ++s) {
    if (frame_.deliveries[s] != Role::kLater) continue;
    const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
    rough.transfers.push_back({delivery.value, delivery.sources[frame_.delivery_sources[s]].device,
                               delivery.destination, nanoseconds(frame_.delivery_starts[s] + shift)});
  }
  return rough;
}

}  // namespace opweave::exact
