#include "exact/disjunctive_mip.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace opweave::exact {

DisjunctiveMip::DisjunctiveMip(std::shared_ptr<const ScheduleSpace> space, std::optional<std::int64_t> upper_bound,
                               bool named)
    : space_(std::move(space)),
      problem_(space_->problem()),
      upper_bound_(static_cast<double>(upper_bound.value_or(space_->horizon()))),
      model_(named),
      placement_(*space_, model_) {
  add_nodes();
  add_precedence();
  find_closure();
  add_disjunctions();
  for (std::size_t d = 0; d < problem_.cluster().device_count(); ++d) {
    if (space_->binding_capacity(DeviceId(d))) add_memory(DeviceId(d));
  }
  add_makespan();
}

std::size_t DisjunctiveMip::size(const ScheduleSpace& space) {
  const Problem& problem = space.problem();
  const std::size_t nodes = problem.task_count() + space.deliveries().size();
  const std::size_t device_count = problem.cluster().device_count();
  std::size_t nonzeros = 2 * nodes * nodes;
  std::size_t uses = 0;
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const std::size_t readers = problem.consumers(ValueId(v)).size();
    uses += 1 + (problem.producer(ValueId(v)) ? 2 * readers : readers * readers);
  }
  for (std::size_t d = 0; d < device_count; ++d) {
    if (space.binding_capacity(DeviceId(d))) nonzeros += 6 * uses * nodes;
  }
  return nonzeros;
}

void DisjunctiveMip::add_nodes() {
  // Windows that the upper bound has closed make the model infeasible, not invalid.
  const auto add_start = [&](double lower, double upper, const std::function<std::string()>& name) {
    if (lower > upper) {
      model_.add_at_most(1, 0);
      upper = lower;
    }
    starts_.push_back(model_.add_column(lower, upper, 0, false, name));
  };
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    const double last = upper_bound_ - static_cast<double>(space_->tail(task));
    add_start(static_cast<double>(space_->head(task)), last - static_cast<double>(space_->shortest(task)),
              [&] { return fmt::format("s_i{}", t); });
    durations_.push_back(placement_.duration(task));
    latest_end_.push_back(last);
    model_.add_at_most(end(t), last);
  }
  for (std::size_t s = 0; s < space_->deliveries().size(); ++s) {
    const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
    const TaskId producer = *problem_.producer(delivery.value);
    // A transfer that does not happen has a start all the same, and lasts no time.
    Expression duration;
    for (std::size_t k = 0; k < delivery.sources.size(); ++k) {
      duration += static_cast<double>(delivery.sources[k].duration) * placement_.sent(s, k);
    }
    add_start(static_cast<double>(space_->head(producer) + space_->shortest(producer)), upper_bound_,
              [&] { return fmt::format("t_s{}", s); });
    durations_.push_back(duration);
    latest_end_.push_back(upper_bound_);
    model_.add_at_most(end(node_of_delivery(s)), upper_bound_);
  }
}

void DisjunctiveMip::add_precedence() {
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    for (const TaskId before : problem_.predecessors(task)) model_.add_at_most(end(before.index()), start(t));
    for (const ValueId value : problem_.inputs(task)) {
      for (std::size_t s = space_->first_delivery(value); s < space_->end_of_deliveries(value); ++s) {
        const Node node = node_of_delivery(s);
        const Expression used = placement_.on(task, space_->deliveries()[s].destination);
        if (used.is_constant() && used.constant() == 0) continue;
        // A start is free where the consumer is elsewhere or the transfer does not happen.
        const double slack = latest_end(node) - earliest_start(t);
        model_.add_at_most(end(node), start(t) + slack * (2 - used - placement_.sent(s)));
        // The same without the start of the transfer: tighter where the consumer's place is known.
        const Node producer = problem_.producer(value)->index();
        model_.add_at_most(end(producer) + durations_[node], start(t) + slack * (1 - used));
      }
    }
  }
  for (std::size_t s = 0; s < space_->deliveries().size(); ++s) {
    const Node producer = problem_.producer(space_->deliveries()[s].value)->index();
    model_.add_at_most(end(producer), start(node_of_delivery(s)));
  }
}

/// What precedes what whatever is chosen. Tasks only: transfers may not happen.
void DisjunctiveMip::find_closure() {
  const std::size_t count = starts_.size();
  closure_.assign(count, std::vector<bool>(count, false));
  for (std::size_t t = problem_.task_count(); t-- > 0;) {
    for (const TaskId after : problem_.successors(TaskId(t))) {
      closure_[t][after.index()] = true;
      for (std::size_t other = 0; other < count; ++other) {
        if (closure_[after.index()][other]) closure_[t][other] = true;
      }
    }
  }
  for (std::size_t s = 0; s < space_->deliveries().size(); ++s) {
    // The start of a transfer comes after its producer even if it does not happen.
    const Node producer = problem_.producer(space_->deliveries()[s].value)->index();
    for (Node before = 0; before < problem_.task_count(); ++before) {
      if (before == producer || closure_[before][producer]) closure_[before][node_of_delivery(s)] = true;
    }
  }
}

void DisjunctiveMip::add_disjunction(Node a, Node b, const std::vector<std::pair<Expression, Expression>>& meetings) {
  if (meetings.empty() || precedes(a, b) || precedes(b, a)) return;
  const auto column = model_.add_binary([&] { return fmt::format("y_{}_{}", a, b); });
  const Expression a_first = Expression::column(column);
  orders_.push_back({column, a, b, OrderColumn::Meaning::kEndsBeforeStart});
  for (const auto& [a_there, b_there] : meetings) {
    const Expression apart = 2 - a_there - b_there;
    model_.add_at_most(end(a), start(b) + (latest_end(a) - earliest_start(b)) * (1 - a_first + apart));
    model_.add_at_most(end(b), start(a) + (latest_end(b) - earliest_start(a)) * (a_first + apart));
  }
}

void DisjunctiveMip::add_disjunctions() {
  // Where a task holds a stream of a device for some time.
  const auto holds = [&](TaskId task, DeviceId device) {
    Expression sum;
    const GroupId group = problem_.group_of(task);
    const std::vector<std::uint32_t> options = space_->options_on(group, device);
    bool is_everywhere = options.size() == space_->options(group).size();
    for (const std::uint32_t o : options) {
      if (space_->duration(task, o) == 0) {
        is_everywhere = false;
      } else {
        sum += placement_.chosen(group, o);
      }
    }
    return is_everywhere ? Expression(1) : sum;
  };
  for (std::size_t a = 0; a < problem_.task_count(); ++a) {
    for (std::size_t b = a + 1; b < problem_.task_count(); ++b) {
      if ((problem_.streams(TaskId(a)) & problem_.streams(TaskId(b))) == 0) continue;
      std::vector<std::pair<Expression, Expression>> meetings;
      for (const DeviceId device : space_->devices(problem_.group_of(TaskId(a)))) {
        const Expression a_there = holds(TaskId(a), device);
        const Expression b_there = holds(TaskId(b), device);
        const auto is_never = [](const Expression& e) { return e.is_constant() && e.constant() == 0; };
        if (!is_never(a_there) && !is_never(b_there)) meetings.emplace_back(a_there, b_there);
      }
      add_disjunction(a, b, meetings);
    }
  }
  const auto& deliveries = space_->deliveries();
  for (std::size_t a = 0; a < deliveries.size(); ++a) {
    for (std::size_t b = a + 1; b < deliveries.size(); ++b) {
      std::vector<std::pair<Expression, Expression>> meetings;
      for (std::size_t i = 0; i < deliveries[a].sources.size(); ++i) {
        const auto channels = problem_.channels(deliveries[a].sources[i].device, deliveries[a].destination);
        const std::set<std::uint64_t> mine(channels.begin(), channels.end());
        for (std::size_t k = 0; k < deliveries[b].sources.size(); ++k) {
          if (deliveries[a].sources[i].duration == 0 || deliveries[b].sources[k].duration == 0) continue;
          const auto others = problem_.channels(deliveries[b].sources[k].device, deliveries[b].destination);
          const bool meet = std::any_of(others.begin(), others.end(), [&](auto key) { return mine.contains(key); });
          if (meet) meetings.emplace_back(placement_.sent(a, i), placement_.sent(b, k));
        }
      }
      add_disjunction(node_of_delivery(a), node_of_delivery(b), meetings);
    }
  }
}

MipModel::Expression DisjunctiveMip::ends_before(Node earlier, Node later) {
  if (earlier != later && precedes(earlier, later)) return 1;
  const auto [entry, is_new] = ends_before_.try_emplace({earlier, later});
  if (is_new) {
    const auto column = model_.add_binary([&] { return fmt::format("e_{}_{}", earlier, later); });
    entry->second = Expression::column(column);
    orders_.push_back({column, earlier, later, OrderColumn::Meaning::kEndsBeforeStart});
    model_.add_at_most(end(earlier),
                       start(later) + (latest_end(earlier) - earliest_start(later)) * (1 - entry->second));
  }
  return entry->second;
}

/// By how many ticks one start is before another: where times are rounded down, what starts later may start in the
/// same.
double DisjunctiveMip::least_lead() const { return space_->unit().is_rounded ? 0 : 1; }

MipModel::Expression DisjunctiveMip::starts_before(Node earlier, Node later) {
  if (earlier == later) return 0;
  const auto [entry, is_new] = starts_before_.try_emplace({earlier, later});
  if (is_new) {
    const auto column = model_.add_binary([&] { return fmt::format("b_{}_{}", earlier, later); });
    entry->second = Expression::column(column);
    orders_.push_back({column, earlier, later, OrderColumn::Meaning::kStartsBeforeStart});
    const double lead = least_lead();
    model_.add_at_most(start(earlier) + lead,
                       start(later) + (latest_end(earlier) + lead - earliest_start(later)) * (1 - entry->second));
  }
  return entry->second;
}

void DisjunctiveMip::add_memory(DeviceId device) {
  // Memory grows only when something starts that brings bytes, so it is enough to look at these moments.
  std::set<Node> arrivals;
  std::vector<Residence> residences;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    for (const std::uint32_t o : space_->options_on(problem_.group_of(task), device)) {
      const Bytes workspace = problem_.mode(task, space_->mode(task, o)).workspace;
      if (workspace == Bytes()) continue;
      residences.push_back(
          {placement_.units(device, workspace), {{t, t, placement_.chosen(problem_.group_of(task), o)}}});
      arrivals.insert(t);
    }
  }
  for (std::size_t v = 0; v < problem_.value_count(); ++v) {
    if (problem_.size(ValueId(v)) == Bytes()) continue;
    Residence residence = residence_of(ValueId(v), device, arrivals);
    if (!residence.uses.empty()) residences.push_back(std::move(residence));
  }
  model_.add_at_most(placement_.persistent(device), placement_.units(device, *space_->binding_capacity(device)));
  for (const Node now : arrivals) add_level(now, device, residences);
}

DisjunctiveMip::Residence DisjunctiveMip::residence_of(ValueId value, DeviceId device, std::set<Node>& arrivals) const {
  Residence residence{placement_.units(device, problem_.size(value)), {}};
  std::vector<std::pair<TaskId, Expression>> readers;
  for (const TaskId consumer : problem_.consumers(value)) {
    if (!space_->options_on(problem_.group_of(consumer), device).empty()) {
      readers.emplace_back(consumer, placement_.on(consumer, device));
    }
  }
  const std::optional<TaskId> producer = problem_.producer(value);
  if (!producer) {
    for (const auto& [first, first_there] : readers) {
      arrivals.insert(first.index());
      for (const auto& [last, last_there] : readers) {
        const Expression both = first == last ? first_there : first_there + last_there - 1;
        residence.uses.push_back({first.index(), last.index(), both});
      }
    }
    return residence;
  }
  if (!space_->options_on(problem_.group_of(*producer), device).empty()) {
    const Expression made = placement_.on(*producer, device);
    const Node node = producer->index();
    arrivals.insert(node);
    residence.uses.push_back({node, node, made});
    for (const auto& [reader, there] : readers) residence.uses.push_back({node, reader.index(), made + there - 1});
    for (std::size_t s = space_->first_delivery(value); s < space_->end_of_deliveries(value); ++s) {
      const auto& sources = space_->deliveries()[s].sources;
      for (std::size_t k = 0; k < sources.size(); ++k) {
        // Sent from here implies made here.
        if (sources[k].device == device) residence.uses.push_back({node, node_of_delivery(s), placement_.sent(s, k)});
      }
    }
  }
  if (const auto arrival = space_->delivery(value, device)) {
    const Expression sent = placement_.sent(*arrival);
    const Node node = node_of_delivery(*arrival);
    arrivals.insert(node);
    residence.uses.push_back({node, node, sent});
    for (const auto& [reader, there] : readers) residence.uses.push_back({node, reader.index(), sent + there - 1});
  }
  return residence;
}

void DisjunctiveMip::add_level(Node now, DeviceId device, const std::vector<Residence>& residences) {
  Expression level = placement_.persistent(device);
  for (const Residence& residence : residences) {
    Live live{0, {}};
    for (const Use& use : residence.uses) {
      if (precedes(now, use.first)) continue;  // not there yet, or the same moment, where its own row counts it
      if (use.last != now && precedes(use.last, now)) continue;  // over
      // There now: not begun after now, and not over by now.
      live.at_least.push_back(use.condition - starts_before(now, use.first) - ends_before(use.last, now));
    }
    std::erase_if(live.at_least, [](const Expression& e) { return e.is_constant() && e.constant() <= 0; });
    if (live.at_least.empty()) continue;
    live.column = model_.add_column(0, 1, 0, false,
                                    [&] { return fmt::format("live_{}_{}_d{}", live_.size(), now, device.index()); });
    for (const Expression& expression : live.at_least) {
      model_.add_at_most(expression, Expression::column(live.column));
    }
    level += residence.units * Expression::column(live.column);
    live_.push_back(std::move(live));
  }
  model_.add_at_most(level, placement_.units(device, *space_->binding_capacity(device)));
}

void DisjunctiveMip::add_makespan() {
  double least = 0;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    least = std::max(least, static_cast<double>(space_->head(task) + space_->shortest(task) + space_->tail(task)));
  }
  makespan_ = model_.add_column(std::min(least, upper_bound_), upper_bound_, 1, false, [] { return std::string("C"); });
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const double tail = static_cast<double>(space_->tail(TaskId(t)));
    model_.add_at_most(end(t) + tail, Expression::column(makespan_));
  }
  add_load_cuts();
}

/// Whatever serves one at a time is busy for the sum of what it serves, after the least head of that and
/// before the least tail. Orders with big constants know nothing of that until all are fixed.
void DisjunctiveMip::add_load_cuts() {
  struct Load {
    Expression sum;
    std::int64_t head = std::numeric_limits<std::int64_t>::max();
    std::int64_t tail = std::numeric_limits<std::int64_t>::max();
    void add(const Expression& work, std::int64_t before, std::int64_t after) {
      sum += work;
      head = std::min(head, before);
      tail = std::min(tail, after);
    }
  };
  std::map<std::size_t, Load> streams;
  std::map<std::uint64_t, Load> channels;
  const std::size_t stream_count = problem_.cluster().stream_names().size();
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    const GroupId group = problem_.group_of(task);
    for (std::uint32_t o = 0; o < space_->options(group).size(); ++o) {
      const Expression work = static_cast<double>(space_->duration(task, o)) * placement_.chosen(group, o);
      for (const DeviceId device : space_->options(group)[o].devices) {
        for (std::uint32_t mask = problem_.streams(task); mask != 0; mask &= mask - 1) {
          streams[device.index() * stream_count + static_cast<std::size_t>(__builtin_ctz(mask))].add(
              work, space_->head(task), space_->tail(task));
        }
      }
    }
  }
  for (std::size_t s = 0; s < space_->deliveries().size(); ++s) {
    const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
    const TaskId producer = *problem_.producer(delivery.value);
    std::int64_t after = std::numeric_limits<std::int64_t>::max();
    for (const TaskId consumer : problem_.consumers(delivery.value)) {
      after = std::min(after, space_->shortest(consumer) + space_->tail(consumer));
    }
    for (std::size_t k = 0; k < delivery.sources.size(); ++k) {
      const Expression work = static_cast<double>(delivery.sources[k].duration) * placement_.sent(s, k);
      for (const Cluster::Channel key : problem_.channels(delivery.sources[k].device, delivery.destination)) {
        channels[key].add(work, space_->head(producer) + space_->shortest(producer), after);
      }
    }
  }
  const auto cut = [&](const Load& load) {
    model_.add_at_most(load.sum + static_cast<double>(load.head + load.tail), Expression::column(makespan_));
  };
  for (const auto& [key, load] : streams) cut(load);
  for (const auto& [key, load] : channels) cut(load);
}

RoughSchedule DisjunctiveMip::read(std::span<const double> values) const {
  const auto unit = static_cast<double>(space_->unit().length.value());
  RoughSchedule rough;
  rough.tolerance = 0.25 * unit;
  rough.modes = placement_.modes(values);
  for (std::size_t t = 0; t < problem_.task_count(); ++t) rough.starts.push_back(values[starts_[t]] * unit);
  for (std::size_t s = 0; s < space_->deliveries().size(); ++s) {
    const ScheduleSpace::Delivery& delivery = space_->deliveries()[s];
    for (std::size_t k = 0; k < delivery.sources.size(); ++k) {
      if (placement_.sent(s, k).value(values) < 0.5) continue;
      rough.transfers.push_back({delivery.value, delivery.sources[k].device, delivery.destination,
                                 values[starts_[node_of_delivery(s)]] * unit});
    }
  }
  return rough;
}

std::vector<double> DisjunctiveMip::values_of(const Schedule& schedule) const {
  std::vector<double> values(model_.lower());
  placement_.express(schedule, values);
  const auto unit = static_cast<double>(space_->unit().length.value());
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    values[starts_[t]] = static_cast<double>(schedule.tasks[t].start.value()) / unit;
  }
  // Transfers that do not happen: at the end, where they are in nobody's way.
  for (std::size_t s = 0; s < space_->deliveries().size(); ++s) values[starts_[node_of_delivery(s)]] = upper_bound_;
  for (const Transfer& transfer : schedule.transfers) {
    const auto s = space_->delivery(transfer.value, transfer.destination);
    if (s) values[starts_[node_of_delivery(*s)]] = static_cast<double>(transfer.start.value()) / unit;
  }
  for (const OrderColumn& order : orders_) {
    const bool holds =
        order.meaning == OrderColumn::Meaning::kEndsBeforeStart
            ? end(order.first).value(values) <= start(order.second).value(values) + 1e-9
            : start(order.first).value(values) + least_lead() <= start(order.second).value(values) + 1e-9;
    values[order.column] = holds ? 1 : 0;
  }
  for (const Live& live : live_) {
    double level = 0;
    for (const Expression& expression : live.at_least) level = std::max(level, expression.value(values));
    values[live.column] = level;
  }
  double makespan = model_.lower()[makespan_];
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    makespan = std::max(makespan, end(t).value(values) + static_cast<double>(space_->tail(TaskId(t))));
  }
  values[makespan_] = makespan;
  return values;
}

}  // namespace opweave::exact
