// Memory of the devices in the constraint program: lifetimes of values as intervals under a capacity.
#include "exact/cp_formulation.h"

#include <algorithm>
#include <numeric>

namespace opweave::exact {

void CpFormulation::add_memory() {
  const std::size_t device_count = problem_.cluster().device_count();
  std::vector<std::vector<ValueId>> values_on(device_count);
  for (std::size_t v = 0; v < problem_.value_count(); ++v) {
    const ValueId value(v);
    if (problem_.size(value) == Bytes()) continue;
    const auto settle = [&](TaskId task) {
      for (const auto& [device, placed] : placement_.places(problem_.group_of(task))) {
        std::vector<ValueId>& values = values_on[device.index()];
        if (values.empty() || values.back() != value) values.push_back(value);
      }
    };
    if (const auto producer = problem_.producer(value)) settle(*producer);
    for (const TaskId consumer : problem_.consumers(value)) settle(consumer);
  }
  for (std::size_t d = 0; d < device_count; ++d) {
    if (space_->binding_capacity(DeviceId(d))) add_memory_of(DeviceId(d), values_on[d]);
  }
}

void CpFormulation::add_memory_of(DeviceId device, const std::vector<ValueId>& values) {
  std::vector<Demand> demands;
  constant_load_ = add_persistent(device, demands);
  add_workspaces(device, demands);
  for (const ValueId value : values) {
    if (problem_.producer(value)) {
      add_value_lifetime(value, device, demands);
    } else {
      add_input_lifetime(value, device, demands);
    }
  }
  add_capacity(std::move(demands), space_->binding_capacity(device)->value() - constant_load_);
}

/// \return bytes that are there in any case
std::int64_t CpFormulation::add_persistent(DeviceId device, std::vector<Demand>& demands) {
  std::int64_t always = 0;
  for (const ScheduleSpace::Persistent& persistent : space_->persistent(device)) {
    std::vector<Literal> homes;
    bool is_always = false;
    for (const GroupId group : persistent.groups) {
      const Truth placed = placement_.on(group, device);
      is_always = is_always || placed.is_always();
      if (placed.literal) homes.push_back(*placed.literal);
    }
    if (is_always) {
      always += persistent.bytes.value();
      continue;
    }
    Literal lives = homes.front();
    if (homes.size() > 1) {
      lives = model_.add_literal();
      for (const Literal home : homes) model_.add_implication({home}, lives);
      persistent_.push_back({persistent.groups, device, lives.variable()});
    }
    // Beyond the end, so that it counts in a frame of no length as well.
    const std::int64_t end = frame_.end + 1;
    demands.push_back({model_.add_interval(constant(frame_.begin), constant(end - frame_.begin), constant(end), lives),
                       persistent.bytes.value()});
  }
  return always;
}

void CpFormulation::add_workspaces(DeviceId device, std::vector<Demand>& demands) {
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    if (is_later(task) || (role(task) == Role::kFrozen && tasks_[t].end.offset <= frame_.begin)) continue;
    for (const std::uint32_t o : space_->options_on(problem_.group_of(task), device)) {
      const Bytes bytes = problem_.mode(task, space_->mode(task, o)).workspace;
      if (bytes == Bytes() || space_->duration(task, o) == 0) continue;
      demands.push_back({interval_of(task, o), bytes.value()});
    }
  }
}

CpModel::Affine CpFormulation::last_of(std::vector<std::pair<Affine, Truth>> ends) {
  std::erase_if(ends, [](const auto& end) { return !end.second.can_hold; });
  // Constants: the largest that always counts swallows the others.
  std::int64_t floor = 0;
  for (const auto& [end, counts] : ends) {
    if (!end.variable && counts.is_always()) floor = std::max(floor, end.offset);
  }
  const bool is_constant = std::all_of(
      ends.begin(), ends.end(), [&](const auto& end) { return !end.first.variable && end.first.offset <= floor; });
  if (is_constant) return constant(floor);
  if (ends.size() == 1 && ends.front().second.is_always()) return ends.front().first;
  // Not bounded by the frame's end: a transfer that is not needed may state any end.
  std::int64_t most = frame_.end;
  for (const auto& [end, counts] : ends) {
    most = std::max(most,
                    end.offset + (end.variable ? model_.domains()[static_cast<std::size_t>(*end.variable)].upper : 0));
  }
  const Affine last{model_.add_variable(floor, most), 0};
  for (const auto& [end, counts] : ends) {
    std::vector<Literal> when;
    if (add_condition(when, counts)) model_.add_order(end, last, 0, std::move(when));
  }
  residences_.push_back({std::nullopt, last.variable, std::nullopt, {}, std::move(ends)});
  return last;
}

void CpFormulation::add_lifetime(Affine start, Affine end, const Truth& present, std::int64_t bytes,
                                 std::vector<Demand>& demands) {
  if (!present.can_hold) return;
  const bool is_constant = !start.variable && !end.variable && present.is_always();
  if (is_constant && start.offset <= frame_.begin && end.offset >= frame_.end) {
    constant_load_ += bytes;
    return;
  }
  Affine size;
  bool is_sized = false;
  if (start.variable == end.variable) {
    size = constant(end.offset - start.offset);
    if (size.offset <= 0) return;
    if (!end.variable && end.offset <= frame_.begin) return;
  } else if (!start.variable) {
    size = {end.variable, end.offset - start.offset};
  } else {
    size = {model_.add_variable(
                0, std::max(frame_.end,
                            end.offset +
                                (end.variable ? model_.domains()[static_cast<std::size_t>(*end.variable)].upper : 0))),
            0};
    is_sized = true;
  }
  const CpModel::Interval interval = model_.add_interval(start, size, end, present.literal);
  if (is_sized) sized_.push_back(interval);
  demands.push_back({interval, bytes});
}

void CpFormulation::add_value_lifetime(ValueId value, DeviceId device, std::vector<Demand>& demands) {
  const TaskId producer = *problem_.producer(value);
  if (is_later(producer)) return;
  const Truth made = placed_on(producer, device);
  const std::optional<std::size_t> arrival = space_->delivery(value, device);
  const bool may_arrive =
      arrival && frame_.deliveries[*arrival] != Role::kLater && deliveries_[*arrival].present.can_hold;
  if (!made.can_hold && !may_arrive) return;

  // Uses on this device; those that come later keep the value beyond the frame.
  std::vector<std::pair<Affine, Truth>> ends;
  bool has_certain_reader = false;
  for (const TaskId consumer : problem_.consumers(value)) {
    const Truth used = placed_on(consumer, device);
    if (!used.can_hold) continue;
    has_certain_reader = has_certain_reader || used.is_always();
    ends.emplace_back(is_later(consumer) ? constant(frame_.end) : tasks_[consumer.index()].end, used);
  }
  for (std::size_t s = space_->first_delivery(value); made.can_hold && s < space_->end_of_deliveries(value); ++s) {
    const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
    for (std::size_t k = 0; k < delivery.sources.size(); ++k) {
      if (delivery.sources[k].device != device) continue;
      if (frame_.deliveries[s] == Role::kLater) {
        if (frame_.delivery_sources[s] == k) ends.emplace_back(constant(frame_.end), Truth{true, std::nullopt});
      } else {
        ends.emplace_back(deliveries_[s].end, deliveries_[s].from[k]);
      }
    }
  }
  // A reader ends after the value is made and has arrived; without a certain one that must be said.
  if (!has_certain_reader) {
    ends.emplace_back(tasks_[producer.index()].end, made);
    if (may_arrive) ends.emplace_back(deliveries_[*arrival].end, deliveries_[*arrival].present);
  }
  const Affine end = last_of(std::move(ends));
  const std::int64_t bytes = problem_.size(value).value();
  add_lifetime(tasks_[producer.index()].start, end, made, bytes, demands);
  if (may_arrive) add_lifetime(deliveries_[*arrival].start, end, deliveries_[*arrival].present, bytes, demands);
}

void CpFormulation::add_input_lifetime(ValueId value, DeviceId device, std::vector<Demand>& demands) {
  std::vector<std::pair<Affine, Truth>> ends;
  std::vector<std::pair<Affine, Truth>> starts;
  for (const TaskId consumer : problem_.consumers(value)) {
    const Truth used = placed_on(consumer, device);
    if (!used.can_hold) continue;
    ends.emplace_back(is_later(consumer) ? constant(frame_.end) : tasks_[consumer.index()].end, used);
    if (!is_later(consumer)) starts.emplace_back(tasks_[consumer.index()].start, used);
  }
  if (starts.empty()) return;
  ResidenceParts residence;
  Truth present = starts.front().second;
  Affine start = starts.front().first;
  if (starts.size() > 1) {
    const bool is_always =
        std::any_of(starts.begin(), starts.end(), [](const auto& s) { return s.second.is_always(); });
    present = {true, std::nullopt};
    if (!is_always) {
      residence.present = model_.add_literal();
      present.literal = residence.present;
      for (const auto& [from, used] : starts) model_.add_implication({*used.literal}, *residence.present);
    }
    residence.start = model_.add_variable(0, frame_.end);
    start = {residence.start, 0};
    for (const auto& [from, used] : starts) {
      std::vector<Literal> when;
      static_cast<void>(add_condition(when, used));
      model_.add_order(start, from, 0, std::move(when));
      residence.starts.push_back(from);
    }
    residence.ends = std::move(starts);
    residences_.push_back(residence);
  }
  add_lifetime(start, last_of(std::move(ends)), present, problem_.size(value).value(), demands);
}

void CpFormulation::add_capacity(std::vector<Demand> demands, std::int64_t capacity) {
  if (capacity < 0) {
    forbid({true, std::nullopt});
    return;
  }
  if (demands.empty()) return;
  // Demands are multiples of their greatest common divisor, so rounding the capacity down loses nothing.
  std::int64_t unit = 0;
  for (const Demand& demand : demands) unit = std::gcd(unit, demand.bytes);
  // Solvers add up bytes times ticks in 64 bits.
  const auto energy = [&] {
    double sum = 0;
    for (const Demand& demand : demands) {
      const CpModel::IntervalParts& parts = model_.intervals()[static_cast<std::size_t>(demand.interval)];
      const auto upper = static_cast<double>(
          parts.end.offset +
          (parts.end.variable ? model_.domains()[static_cast<std::size_t>(*parts.end.variable)].upper : 0));
      sum += static_cast<double>((demand.bytes + unit - 1) / unit) * upper;
    }
    return sum;
  };
  constexpr double kLargestEnergy = 1e18;
  for (; energy() > kLargestEnergy; unit *= 2) memory_is_exact_ = false;
  std::vector<CpModel::Interval> intervals;
  std::vector<std::int64_t> amounts;
  for (const Demand& demand : demands) {
    intervals.push_back(demand.interval);
    amounts.push_back((demand.bytes + unit - 1) / unit);
  }
  model_.add_cumulative(std::move(intervals), std::move(amounts), capacity / unit);
}

}  // namespace opweave::exact
