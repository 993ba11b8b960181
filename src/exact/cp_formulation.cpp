#include "exact/cp_formulation.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "opweave/error.h"

namespace opweave::exact {
namespace {

Frame whole(const ScheduleSpace& space, std::int64_t upper_bound, std::int64_t floor) {
  const Problem& problem = space.problem();
  Frame frame;
  frame.tasks.assign(problem.task_count(), Frame::Role::kFree);
  frame.shipments.assign(space.shipments().size(), Frame::Role::kFree);
  frame.stream_tails.assign(problem.cluster().device_count() * problem.cluster().stream_names().size(), 0);
  frame.end = upper_bound;
  frame.later_from = upper_bound;
  frame.floor = floor;
  return frame;
}

CpModel::Affine constant(std::int64_t value) { return {std::nullopt, value}; }
CpModel::Affine plus(CpModel::Affine affine, std::int64_t amount) { return {affine.variable, affine.offset + amount}; }

}  // namespace

CpSize cp_size(const ScheduleSpace& space) {
  const Problem& problem = space.problem();
  CpSize size;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    size.intervals += space.options(problem.group_of(TaskId(t))).size();
    size.constraints += 1 + problem.inputs(TaskId(t)).size() + problem.control_predecessors(TaskId(t)).size();
  }
  for (const ScheduleSpace::Shipment& shipment : space.shipments()) {
    size.intervals += shipment.sources.size();
    size.constraints += 4 + 2 * shipment.sources.size() + 2 * problem.consumers(shipment.value).size();
  }
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const std::size_t places =
        problem.producer(ValueId(v)) ? space.options(problem.group_of(*problem.producer(ValueId(v)))).size() : 1;
    size.intervals += places;
    size.constraints += places * (1 + problem.consumers(ValueId(v)).size());
  }
  size.constraints += size.intervals;
  return size;
}

CpFormulation::CpFormulation(std::shared_ptr<const ScheduleSpace> space, std::optional<std::int64_t> upper_bound,
                             std::int64_t floor)
    : space_(std::move(space)),
      problem_(space_->problem()),
      frame_(whole(*space_, upper_bound.value_or(space_->horizon()), floor)),
      is_whole_(true) {
  build();
}

CpFormulation::CpFormulation(std::shared_ptr<const ScheduleSpace> space, Frame frame)
    : space_(std::move(space)), problem_(space_->problem()), frame_(std::move(frame)), is_whole_(false) {
  build();
}

void CpFormulation::build() {
  add_placement();
  add_tasks();
  add_shipments();
  add_precedence();
  add_streams();
  add_channels();
  add_memory();
  add_objective();
}

// Literals.

bool CpFormulation::add_condition(std::vector<Literal>& when, const Truth& truth) {
  if (truth.literal) when.push_back(*truth.literal);
  return truth.can_hold;
}

CpModel::Literal CpFormulation::literal_of(const Truth& truth) {
  if (truth.literal) return *truth.literal;
  return truth.can_hold ? model_.always() : model_.always().negated();
}

void CpFormulation::forbid(const Truth& truth) {
  if (truth.can_hold) model_.add_choice(CpModel::Choice::Kind::kAtLeastOne, {literal_of(truth).negated()});
}

/// A domain that windows have closed makes the model infeasible, not invalid.
CpModel::Variable CpFormulation::add_variable(std::int64_t lower, std::int64_t upper) {
  if (lower > upper) {
    forbid({true, std::nullopt});
    upper = lower;
  }
  return model_.add_variable(lower, upper);
}

CpFormulation::Truth CpFormulation::option_chosen(GroupId group, std::uint32_t option) const {
  return chosen_[group.index()][option];
}

CpFormulation::Truth CpFormulation::group_placed_on(GroupId group, DeviceId device) const {
  const auto& places = on_[group.index()];
  const auto found = std::lower_bound(places.begin(), places.end(), device,
                                      [](const auto& place, DeviceId wanted) { return place.first < wanted; });
  return found != places.end() && found->first == device ? found->second : Truth{};
}

CpFormulation::Truth CpFormulation::placed_on(TaskId task, DeviceId device) const {
  return group_placed_on(problem_.group_of(task), device);
}

void CpFormulation::add_placement() {
  chosen_.resize(problem_.group_count());
  on_.resize(problem_.group_count());
  for (std::size_t g = 0; g < problem_.group_count(); ++g) {
    const GroupId group(g);
    const std::size_t count = space_->options(group).size();
    if (count == 1) {
      chosen_[g] = {Truth{true, std::nullopt}};
    } else if (count == 2) {
      const Literal first = model_.add_literal();
      chosen_[g] = {Truth{true, first}, Truth{true, first.negated()}};
    } else {
      std::vector<Literal> literals;
      for (std::size_t o = 0; o < count; ++o) {
        literals.push_back(model_.add_literal());
        chosen_[g].push_back({true, literals.back()});
      }
      model_.add_choice(CpModel::Choice::Kind::kExactlyOne, std::move(literals));
    }
    for (const DeviceId device : space_->devices(group)) {
      const std::vector<std::uint32_t> options = space_->options_on(group, device);
      if (options.size() == count) {
        on_[g].emplace_back(device, Truth{true, std::nullopt});
      } else if (options.size() == 1) {
        on_[g].emplace_back(device, chosen_[g][options.front()]);
      } else {
        const Literal placed = model_.add_literal();
        std::vector<Literal> any = {placed.negated()};
        for (const std::uint32_t o : options) {
          model_.add_implication({*chosen_[g][o].literal}, placed);
          any.push_back(*chosen_[g][o].literal);
        }
        model_.add_choice(CpModel::Choice::Kind::kAtLeastOne, std::move(any));
        on_[g].emplace_back(device, Truth{true, placed});
      }
    }
  }
  for (std::size_t g = 0; g < problem_.group_count(); ++g) {
    for (const GroupId other : problem_.apart_from(GroupId(g))) {
      if (other.index() <= g) continue;
      for (const auto& [device, placed] : on_[g]) {
        const Truth also = group_placed_on(other, device);
        if (!also.can_hold) continue;
        model_.add_choice(CpModel::Choice::Kind::kAtMostOne, {literal_of(placed), literal_of(also)});
      }
    }
  }
}

void CpFormulation::add_tasks() {
  tasks_.resize(problem_.task_count());
  task_intervals_.resize(problem_.task_count());
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    const auto count = static_cast<std::uint32_t>(space_->options(problem_.group_of(task)).size());
    task_intervals_[t].resize(count);
    if (is_later(task)) continue;
    TaskParts& parts = tasks_[t];
    if (role(task) == Role::kFrozen) {
      parts.start = constant(frame_.task_starts[t]);
      parts.end = plus(parts.start, space_->duration(task, 0));
      continue;
    }
    const std::int64_t shortest = space_->shortest(task);
    const std::int64_t earliest = std::max(frame_.begin, space_->head(task));
    const std::int64_t latest_end = frame_.end - space_->tail(task);
    parts.start = {add_variable(earliest, latest_end - shortest), 0};
    if (shortest == space_->longest(task)) {
      parts.end = plus(parts.start, shortest);
    } else {
      parts.end = {add_variable(earliest + shortest, latest_end), 0};
      for (std::uint32_t o = 0; o < count; ++o) static_cast<void>(interval_of(task, o));
    }
  }
}

CpModel::Interval CpFormulation::interval_of(TaskId task, std::uint32_t option) {
  std::optional<CpModel::Interval>& interval = task_intervals_[task.index()][option];
  if (!interval) {
    const TaskParts& parts = tasks_[task.index()];
    interval = model_.add_interval(parts.start, constant(space_->duration(task, option)), parts.end,
                                   option_chosen(problem_.group_of(task), option).literal);
  }
  return *interval;
}

CpModel::Interval CpFormulation::interval_of_shipment(std::size_t shipment, std::size_t source) {
  std::optional<CpModel::Interval>& interval = shipment_intervals_[shipment][source];
  if (!interval) {
    const ShipmentParts& parts = shipments_[shipment];
    interval = model_.add_interval(parts.start, constant(space_->shipments()[shipment].sources[source].duration),
                                   parts.end, parts.from[source].literal);
  }
  return *interval;
}

void CpFormulation::add_shipments() {
  shipments_.resize(space_->shipments().size());
  shipment_intervals_.resize(shipments_.size());
  for (std::size_t s = 0; s < shipments_.size(); ++s) {
    shipment_intervals_[s].resize(space_->shipments()[s].sources.size());
    if (frame_.shipments[s] != Role::kLater) add_shipment(s);
  }
}

void CpFormulation::add_shipment(std::size_t index) {
  const ScheduleSpace::Shipment& shipment = space_->shipments()[index];
  ShipmentParts& parts = shipments_[index];
  const TaskId producer = *problem_.producer(shipment.value);
  parts.from.resize(shipment.sources.size());

  if (frame_.shipments[index] != Role::kFree) {
    const std::uint32_t source = frame_.shipment_sources[index];
    const std::int64_t duration = shipment.sources[source].duration;
    parts.present = parts.from[source] = {true, std::nullopt};
    parts.start = frame_.shipments[index] == Role::kFrozen
                      ? constant(frame_.shipment_starts[index])
                      : Affine{add_variable(frame_.begin, frame_.end - duration), 0};
    parts.end = plus(parts.start, duration);
    if (frame_.shipments[index] == Role::kOrdered) model_.add_order(tasks_[producer.index()].end, parts.start);
    return;
  }

  // u = some consumer is here, and the producer is not.
  const Truth made_here = placed_on(producer, shipment.destination);
  bool is_needed_anyway = false;
  std::vector<Literal> needed;
  for (const TaskId consumer : problem_.consumers(shipment.value)) {
    const Truth used = placed_on(consumer, shipment.destination);
    is_needed_anyway = is_needed_anyway || used.is_always();
    if (used.literal) needed.push_back(*used.literal);
  }
  std::sort(needed.begin(), needed.end());
  needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
  if (is_needed_anyway && !made_here.can_hold) {
    parts.present = {true, std::nullopt};
  } else if (is_needed_anyway) {
    parts.present = {true, made_here.literal->negated()};
  } else if (needed.size() == 1 && !made_here.can_hold) {
    parts.present = {true, needed.front()};
  } else {
    const Literal present = model_.add_literal();
    parts.present = {true, present};
    if (made_here.can_hold) model_.add_implication({present}, made_here.literal->negated());
    std::vector<Literal> any = {present.negated()};
    for (const Literal used : needed) {
      std::vector<Literal> when = {used};
      if (made_here.can_hold) when.push_back(made_here.literal->negated());
      model_.add_implication(std::move(when), present);
      any.push_back(used);
    }
    model_.add_choice(CpModel::Choice::Kind::kAtLeastOne, std::move(any));
  }
  if (shipment.sources.empty()) {
    forbid(parts.present);
    parts.present = {};
    return;
  }

  if (shipment.sources.size() == 1) {
    parts.from[0] = parts.present;
  } else {
    std::vector<Literal> choice = {literal_of(parts.present).negated()};
    for (Truth& from : parts.from) {
      from = {true, model_.add_literal()};
      choice.push_back(*from.literal);
    }
    model_.add_choice(CpModel::Choice::Kind::kExactlyOne, std::move(choice));
  }
  std::int64_t shortest = std::numeric_limits<std::int64_t>::max();
  std::int64_t longest = 0;
  for (std::size_t k = 0; k < parts.from.size(); ++k) {
    const Truth home = placed_on(producer, shipment.sources[k].device);
    if (!home.is_always()) model_.add_implication({literal_of(parts.from[k])}, literal_of(home));
    shortest = std::min(shortest, shipment.sources[k].duration);
    longest = std::max(longest, shipment.sources[k].duration);
  }
  const std::int64_t earliest = std::max(frame_.begin, space_->head(producer) + space_->shortest(producer));
  if (earliest + shortest > frame_.end) {
    forbid(parts.present);
    parts.present = {};
    for (Truth& from : parts.from) from = {};
    return;
  }
  const Affine made = tasks_[producer.index()].end;
  // Without contention, and where the destination has room for everything, sending at once costs nothing.
  const bool at_once = problem_.settings().contention == Contention::kNone && role(producer) != Role::kFrozen &&
                       !space_->binding_capacity(shipment.destination);
  parts.start = at_once ? made : Affine{model_.add_variable(earliest, frame_.end - shortest), 0};
  if (shortest == longest) {
    parts.end = plus(parts.start, shortest);
  } else {
    parts.end = {model_.add_variable(earliest + shortest, frame_.end + longest), 0};
    for (std::size_t k = 0; k < parts.from.size(); ++k) static_cast<void>(interval_of_shipment(index, k));
  }
  std::vector<Literal> when;
  if (!at_once && add_condition(when, parts.present)) model_.add_order(made, parts.start, 0, when);
}

void CpFormulation::add_precedence() {
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    if (is_later(task) || role(task) == Role::kFrozen) continue;
    const TaskParts& parts = tasks_[t];
    for (const TaskId before : problem_.predecessors(task)) model_.add_order(tasks_[before.index()].end, parts.start);
    for (const ValueId value : problem_.inputs(task)) {
      for (std::size_t s = space_->first_shipment(value); s < space_->end_of_shipments(value); ++s) {
        const Truth used = placed_on(task, space_->shipments()[s].destination);
        std::vector<Literal> when;
        if (!add_condition(when, used) || !add_condition(when, shipments_[s].present)) continue;
        model_.add_order(shipments_[s].end, parts.start, 0, std::move(when));
      }
    }
  }
}

void CpFormulation::chain(std::vector<Ordered> things) {
  std::sort(things.begin(), things.end(), [](const Ordered& a, const Ordered& b) { return a.start < b.start; });
  for (std::size_t i = 1; i < things.size(); ++i) model_.add_order(things[i - 1].until, things[i].from);
}

void CpFormulation::add_streams() {
  const std::size_t stream_count = problem_.cluster().stream_names().size();
  std::vector<std::vector<CpModel::Interval>> intervals(problem_.cluster().device_count() * stream_count);
  std::vector<std::vector<Ordered>> ordered(intervals.size());
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    if (is_later(task)) continue;
    const TaskParts& parts = tasks_[t];
    if (role(task) == Role::kFrozen && parts.end.offset <= frame_.begin) continue;
    const auto& options = space_->options(problem_.group_of(task));
    for (std::uint32_t o = 0; o < options.size(); ++o) {
      if (space_->duration(task, o) == 0) continue;  // holds nothing
      for (const DeviceId device : options[o].devices) {
        for (std::uint32_t mask = problem_.streams(task); mask != 0; mask &= mask - 1) {
          const std::size_t stream = device.index() * stream_count + static_cast<std::size_t>(__builtin_ctz(mask));
          intervals[stream].push_back(interval_of(task, o));
          if (role(task) == Role::kOrdered) {
            ordered[stream].push_back({frame_.task_starts[t], parts.start, parts.end});
          }
        }
      }
    }
  }
  for (auto& stream : intervals) model_.add_no_overlap(std::move(stream));
  for (auto& stream : ordered) chain(std::move(stream));
}

void CpFormulation::add_channels() {
  std::map<std::uint64_t, std::vector<CpModel::Interval>> intervals;
  std::map<std::uint64_t, std::vector<Ordered>> ordered;
  for (std::size_t s = 0; s < shipments_.size(); ++s) {
    if (frame_.shipments[s] == Role::kLater) continue;
    const ShipmentParts& parts = shipments_[s];
    if (frame_.shipments[s] == Role::kFrozen && parts.end.offset <= frame_.begin) continue;
    const ScheduleSpace::Shipment& shipment = space_->shipments()[s];
    for (std::size_t k = 0; k < parts.from.size(); ++k) {
      if (!parts.from[k].can_hold || shipment.sources[k].duration == 0) continue;
      for (const std::uint64_t key : channels_of(problem_, shipment.sources[k].device, shipment.destination)) {
        intervals[key].push_back(interval_of_shipment(s, k));
        if (frame_.shipments[s] == Role::kOrdered) {
          ordered[key].push_back({frame_.shipment_starts[s], parts.start, parts.end});
        }
      }
    }
  }
  for (auto& [key, channel] : intervals) model_.add_no_overlap(std::move(channel));
  for (auto& [key, channel] : ordered) chain(std::move(channel));
}

// Memory.

void CpFormulation::add_memory() {
  const std::size_t device_count = problem_.cluster().device_count();
  std::vector<std::vector<ValueId>> values_on(device_count);
  for (std::size_t v = 0; v < problem_.value_count(); ++v) {
    const ValueId value(v);
    if (problem_.size(value) == Bytes()) continue;
    const auto settle = [&](TaskId task) {
      for (const auto& [device, placed] : on_[problem_.group_of(task).index()]) {
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
      const Truth placed = group_placed_on(group, device);
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
  const std::optional<std::size_t> arrival = space_->shipment(value, device);
  const bool may_arrive =
      arrival && frame_.shipments[*arrival] != Role::kLater && shipments_[*arrival].present.can_hold;
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
  for (std::size_t s = space_->first_shipment(value); made.can_hold && s < space_->end_of_shipments(value); ++s) {
    const ScheduleSpace::Shipment& shipment = space_->shipments()[s];
    for (std::size_t k = 0; k < shipment.sources.size(); ++k) {
      if (shipment.sources[k].device != device) continue;
      if (frame_.shipments[s] == Role::kLater) {
        if (frame_.shipment_sources[s] == k) ends.emplace_back(constant(frame_.end), Truth{true, std::nullopt});
      } else {
        ends.emplace_back(shipments_[s].end, shipments_[s].from[k]);
      }
    }
  }
  // A reader ends after the value is made and has arrived; without a certain one that must be said.
  if (!has_certain_reader) {
    ends.emplace_back(tasks_[producer.index()].end, made);
    if (may_arrive) ends.emplace_back(shipments_[*arrival].end, shipments_[*arrival].present);
  }
  const Affine end = last_of(std::move(ends));
  const std::int64_t bytes = problem_.size(value).value();
  add_lifetime(tasks_[producer.index()].start, end, made, bytes, demands);
  if (may_arrive) add_lifetime(shipments_[*arrival].start, end, shipments_[*arrival].present, bytes, demands);
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
    residence.ends = starts;
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

void CpFormulation::add_objective() {
  makespan_ = add_variable(frame_.floor, frame_.end);
  const Affine makespan{makespan_, 0};
  const std::size_t stream_count = problem_.cluster().stream_names().size();
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    if (is_later(task) || role(task) == Role::kFrozen) continue;
    const Affine end = tasks_[t].end;
    // Ends of tasks with successors in the model are implied.
    std::int64_t tail = 0;
    bool is_last = true;
    for (const TaskId after : problem_.successors(task)) {
      is_last = is_last && is_later(after);
      if (is_later(after)) tail = std::max(tail, frame_.task_tails[after.index()]);
    }
    for (const ValueId value : problem_.outputs(task)) {
      for (std::size_t s = space_->first_shipment(value); s < space_->end_of_shipments(value); ++s) {
        const ScheduleSpace::Shipment& shipment = space_->shipments()[s];
        if (frame_.shipments[s] == Role::kLater) {
          tail = std::max(tail, frame_.shipment_tails[s]);
          continue;
        }
        std::int64_t after_arrival = 0;
        for (const TaskId consumer : problem_.consumers(value)) {
          if (is_later(consumer) && placed_on(consumer, shipment.destination).can_hold) {
            after_arrival = std::max(after_arrival, frame_.task_tails[consumer.index()]);
          }
        }
        std::vector<Literal> when;
        if (after_arrival > 0 && add_condition(when, shipments_[s].present)) {
          model_.add_order(shipments_[s].end, makespan, after_arrival, std::move(when));
        }
      }
    }
    if (is_last || tail > 0) model_.add_order(end, makespan, tail);
    if (is_whole_) continue;
    const auto& options = space_->options(problem_.group_of(task));
    for (std::uint32_t o = 0; o < options.size(); ++o) {
      std::int64_t behind = 0;
      for (const DeviceId device : options[o].devices) {
        for (std::uint32_t mask = problem_.streams(task); mask != 0; mask &= mask - 1) {
          const auto stream = static_cast<std::size_t>(__builtin_ctz(mask));
          behind = std::max(behind, frame_.stream_tails[device.index() * stream_count + stream]);
        }
      }
      std::vector<Literal> when;
      if (behind > tail && add_condition(when, option_chosen(problem_.group_of(task), o))) {
        model_.add_order(end, makespan, behind, std::move(when));
      }
    }
  }
  model_.minimise({{makespan_, 1}});
}

// Solutions.

bool CpFormulation::holds(const Truth& truth, std::span<const std::int64_t> values) {
  if (!truth.literal) return truth.can_hold;
  return (values[static_cast<std::size_t>(truth.literal->variable())] != 0) != truth.literal->is_negated();
}

std::int64_t CpFormulation::value_of(const Affine& affine, std::span<const std::int64_t> values) {
  return affine.offset + (affine.variable ? values[static_cast<std::size_t>(*affine.variable)] : 0);
}

std::vector<std::int64_t> CpFormulation::values_of(const Schedule& schedule) const {
  const auto& domains = model_.domains();
  std::vector<std::int64_t> values;
  for (const CpModel::Domain& domain : domains) values.push_back(domain.lower);
  const auto set = [&](const Affine& affine, std::int64_t value) {
    if (affine.variable) values[static_cast<std::size_t>(*affine.variable)] = value - affine.offset;
  };
  const auto decide = [&](const Truth& truth, bool value) {
    if (truth.literal) {
      values[static_cast<std::size_t>(truth.literal->variable())] = value != truth.literal->is_negated() ? 1 : 0;
    }
  };
  const std::int64_t unit = space_->unit().length.value();
  const auto ticks = [&](Duration time) { return time.value() / unit; };

  std::vector<std::uint32_t> option_of(problem_.group_count());
  for (std::size_t g = 0; g < problem_.group_count(); ++g) {
    const TaskId first = problem_.tasks_of(GroupId(g)).front();
    const ModeIndex mode = schedule.tasks[first.index()].mode;
    const auto count = static_cast<std::uint32_t>(chosen_[g].size());
    while (option_of[g] + 1 < count && space_->mode(first, option_of[g]) != mode) ++option_of[g];
    for (std::uint32_t o = 0; o < count; ++o) {
      if (count != 2 || o == 0) decide(chosen_[g][o], o == option_of[g]);
    }
    for (const auto& [device, placed] : on_[g]) {
      const auto& devices = space_->options(GroupId(g))[option_of[g]].devices;
      decide(placed, std::binary_search(devices.begin(), devices.end(), device));
    }
  }
  std::int64_t makespan = frame_.floor;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    if (is_later(TaskId(t))) continue;
    const std::int64_t start = ticks(schedule.tasks[t].start);
    const std::int64_t end = start + space_->duration(TaskId(t), option_of[problem_.group_of(TaskId(t)).index()]);
    set(tasks_[t].start, start);
    set(tasks_[t].end, end);
    makespan = std::max(makespan, end);
  }
  std::vector<const Transfer*> transfer_of(shipments_.size(), nullptr);
  for (const Transfer& transfer : schedule.transfers) {
    if (const auto s = space_->shipment(transfer.value, transfer.destination)) transfer_of[*s] = &transfer;
  }
  for (std::size_t s = 0; s < shipments_.size(); ++s) {
    const ShipmentParts& parts = shipments_[s];
    if (frame_.shipments[s] == Role::kLater) continue;
    const Transfer* transfer = transfer_of[s];
    decide(parts.present, transfer != nullptr);
    if (transfer == nullptr) {
      if (parts.from.size() > 1) {
        for (const Truth& from : parts.from) decide(from, false);
      }
      continue;
    }
    const auto& sources = space_->shipments()[s].sources;
    for (std::size_t k = 0; k < sources.size(); ++k) {
      if (parts.from.size() > 1) decide(parts.from[k], sources[k].device == transfer->source);
      if (sources[k].device != transfer->source) continue;
      // A transfer that starts with its producer's end in the model has no start of its own.
      const bool has_own_start =
          parts.start.variable != tasks_[problem_.producer(transfer->value)->index()].end.variable;
      if (has_own_start) set(parts.start, ticks(transfer->start));
      const std::int64_t end = value_of(parts.start, values) + sources[k].duration;
      if (parts.end.variable != parts.start.variable) set(parts.end, end);
    }
  }
  for (const PersistentParts& persistent : persistent_) {
    const bool lives = std::any_of(persistent.groups.begin(), persistent.groups.end(), [&](GroupId group) {
      return holds(group_placed_on(group, persistent.device), values);
    });
    values[static_cast<std::size_t>(persistent.literal)] = lives ? 1 : 0;
  }
  for (const ResidenceParts& residence : residences_) {
    bool is_present = false;
    std::int64_t first = frame_.end;
    std::int64_t last = 0;
    for (std::size_t i = 0; i < residence.ends.size(); ++i) {
      const auto& [end, counts] = residence.ends[i];
      if (!holds(counts, values)) continue;
      is_present = true;
      last = std::max(last, value_of(end, values));
      if (residence.start) first = std::min(first, value_of(residence.starts[i], values));
    }
    if (residence.present) decide({true, residence.present}, is_present);
    if (residence.start) values[static_cast<std::size_t>(*residence.start)] = first;
    if (residence.end) {
      auto& value = values[static_cast<std::size_t>(*residence.end)];
      value = std::max(value, last);
    }
  }
  for (const CpModel::Interval interval : sized_) {
    const CpModel::IntervalParts& parts = model_.intervals()[static_cast<std::size_t>(interval)];
    const std::int64_t size = value_of(parts.end, values) - value_of(parts.start, values);
    set(parts.size, std::max<std::int64_t>(0, size));
  }
  // The makespan of the model, which sees what comes later through longest paths.
  for (const CpModel::Linear& linear : model_.linears()) {
    if (linear.terms.empty() || linear.terms.front().variable != makespan_) continue;
    const bool counts = std::all_of(linear.when.begin(), linear.when.end(), [&](Literal l) {
      return holds({true, l}, values);
    });
    std::int64_t least = linear.lower;
    for (std::size_t i = 1; i < linear.terms.size(); ++i) {
      least -= linear.terms[i].coefficient * values[static_cast<std::size_t>(linear.terms[i].variable)];
    }
    if (counts) makespan = std::max(makespan, least);
  }
  values[static_cast<std::size_t>(makespan_)] = makespan;
  return values;
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
    std::uint32_t option = 0;
    while (option + 1 < chosen_[g].size() && !holds(chosen_[g][option], values)) ++option;
    for (const TaskId task : problem_.tasks_of(GroupId(g))) rough.modes[task.index()] = space_->mode(task, option);
  }
  std::int64_t frame_end = frame_.later_from;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    if (is_later(TaskId(t))) continue;
    rough.starts[t] = nanoseconds(value_of(tasks_[t].start, values));
    frame_end = std::max(frame_end, value_of(tasks_[t].end, values));
  }
  for (std::size_t s = 0; s < shipments_.size(); ++s) {
    const ShipmentParts& parts = shipments_[s];
    if (frame_.shipments[s] == Role::kLater || !holds(parts.present, values)) continue;
    const ScheduleSpace::Shipment& shipment = space_->shipments()[s];
    for (std::size_t k = 0; k < parts.from.size(); ++k) {
      if (!holds(parts.from[k], values)) continue;
      rough.transfers.push_back({shipment.value, shipment.sources[k].device, shipment.destination,
                                 nanoseconds(value_of(parts.start, values))});
    }
    frame_end = std::max(frame_end, value_of(parts.end, values));
  }
  const std::int64_t shift = frame_end - frame_.later_from;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    if (is_later(TaskId(t))) rough.starts[t] = nanoseconds(frame_.task_starts[t] + shift);
  }
  for (std::size_t s = 0; s < shipments_.size(); ++s) {
    if (frame_.shipments[s] != Role::kLater) continue;
    const ScheduleSpace::Shipment& shipment = space_->shipments()[s];
    rough.transfers.push_back({shipment.value, shipment.sources[frame_.shipment_sources[s]].device,
                               shipment.destination, nanoseconds(frame_.shipment_starts[s] + shift)});
  }
  return rough;
}

}  // namespace opweave::exact
