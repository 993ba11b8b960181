#include "exact/mip_placement.h"

#include <fmt/format.h>

#include <algorithm>

namespace opweave::exact {

MipPlacement::MipPlacement(const ScheduleSpace& space, MipModel& model) : space_(space), model_(model) {
  add_options();
  add_deliveries();
  add_persistent();
}

MipModel::Expression MipPlacement::on(GroupId group, DeviceId device) const {
  const auto options = space_.options_on(group, device);
  if (options.size() == space_.options(group).size()) return 1;
  Expression sum;
  for (const std::uint32_t o : options) sum += chosen(group, o);
  return sum;
}

MipModel::Expression MipPlacement::sent(std::size_t delivery) const {
  Expression sum;
  for (const Expression& from : sent_[delivery]) sum += from;
  return sum;
}

MipModel::Expression MipPlacement::duration(TaskId task) const {
  const GroupId group = space_.problem().group_of(task);
  const std::int64_t shortest = space_.shortest(task);
  Expression sum = static_cast<double>(shortest);
  for (std::uint32_t o = 0; o < space_.options(group).size(); ++o) {
    const std::int64_t extra = space_.duration(task, o) - shortest;
    if (extra != 0) sum += static_cast<double>(extra) * chosen(group, o);
  }
  return sum;
}

namespace {

std::int64_t unit_of_bytes(const ScheduleSpace& space, DeviceId device) {
  const std::int64_t exact = space.byte_unit(device).value();
  if (!space.unit().is_rounded) return exact;
  const std::int64_t units = space.binding_capacity(device)->value() / exact;
  return exact * std::max<std::int64_t>(1, (units + kMostUnits - 1) / kMostUnits);
}

}  // namespace

double MipPlacement::units(DeviceId device, Bytes bytes) const {
  return static_cast<double>(bytes.value() / unit_of_bytes(space_, device));
}

bool MipPlacement::has_large_bytes(const ScheduleSpace& space) {
  for (std::size_t d = 0; d < space.problem().cluster().device_count(); ++d) {
    const std::optional<Bytes> capacity = space.binding_capacity(DeviceId(d));
    if (capacity && capacity->value() / space.byte_unit(DeviceId(d)).value() > kMostUnits) return true;
  }
  return false;
}

void MipPlacement::add_options() {
  const Problem& problem = space_.problem();
  chosen_.resize(problem.group_count());
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    const auto& options = space_.options(GroupId(g));
    if (options.size() == 1) {
      chosen_[g].emplace_back(1);
      continue;
    }
    Expression sum;
    for (std::size_t o = 0; o < options.size(); ++o) {
      const auto column = model_.add_binary([&] { return fmt::format("x_g{}_o{}", g, o); });
      chosen_[g].push_back(Expression::column(column));
      sum += chosen_[g].back();
    }
    model_.add_equal(sum, 1);
  }
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    for (const GroupId other : problem.apart_from(GroupId(g))) {
      if (other.index() <= g) continue;
      for (const DeviceId device : space_.devices(GroupId(g))) {
        model_.add_at_most(on(GroupId(g), device) + on(other, device), 1);
      }
    }
  }
}

void MipPlacement::add_deliveries() {
  const Problem& problem = space_.problem();
  for (std::size_t s = 0; s < space_.deliveries().size(); ++s) {
    const ScheduleSpace::Delivery& delivery = space_.deliveries()[s];
    const TaskId producer = *problem.producer(delivery.value);
    std::vector<Expression>& from = sent_.emplace_back();
    for (const ScheduleSpace::Source& source : delivery.sources) {
      const auto column = model_.add_binary([&] {
        return fmt::format("u_v{}_d{}_d{}", delivery.value.index(), source.device.index(),
                           delivery.destination.index());
      });
      from.push_back(Expression::column(column));
      model_.add_at_most(from.back(), on(producer, source.device));
    }
    // Never where it is made, always where it is used and not made.
    const Expression made_here = on(producer, delivery.destination);
    model_.add_at_most(sent(s), 1 - made_here);
    std::vector<GroupId> groups;
    for (const TaskId consumer : problem.consumers(delivery.value)) groups.push_back(problem.group_of(consumer));
    std::sort(groups.begin(), groups.end());
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
    for (const GroupId group : groups) {
      if (group == problem.group_of(producer)) continue;
      model_.add_at_most(on(group, delivery.destination) - made_here, sent(s));
    }
  }
}

void MipPlacement::add_persistent() {
  const std::size_t device_count = space_.problem().cluster().device_count();
  persistent_.resize(device_count);
  for (std::size_t d = 0; d < device_count; ++d) {
    const DeviceId device(d);
    if (!space_.binding_capacity(device)) continue;
    for (const ScheduleSpace::Persistent& persistent : space_.persistent(device)) {
      const double bytes = units(device, persistent.bytes);
      if (persistent.groups.size() == 1) {
        persistent_[d] += bytes * on(persistent.groups.front(), device);
        continue;
      }
      const auto column = model_.add_binary([&] { return fmt::format("h_{}_d{}", homes_.size(), d); });
      for (const GroupId group : persistent.groups) {
        model_.add_at_most(on(group, device), Expression::column(column));
      }
      persistent_[d] += bytes * Expression::column(column);
      homes_.push_back({column, persistent.groups, device});
    }
  }
}

void MipPlacement::express(const Schedule& schedule, std::vector<double>& values) const {
  const Problem& problem = space_.problem();
  const auto set = [&](const Expression& expression, bool value) {
    if (!expression.is_constant()) values[expression.terms().front().column] = value ? 1 : 0;
  };
  for (std::size_t g = 0; g < chosen_.size(); ++g) {
    const TaskId first = problem.tasks_of(GroupId(g)).front();
    const ModeIndex mode = schedule.tasks[first.index()].mode;
    for (std::uint32_t o = 0; o < chosen_[g].size(); ++o) set(chosen_[g][o], space_.mode(first, o) == mode);
  }
  for (std::size_t s = 0; s < sent_.size(); ++s) {
    for (const Expression& from : sent_[s]) set(from, false);
  }
  for (const Transfer& transfer : schedule.transfers) {
    const auto s = space_.delivery(transfer.value, transfer.destination);
    if (!s) continue;
    const auto& sources = space_.deliveries()[*s].sources;
    for (std::size_t k = 0; k < sources.size(); ++k) set(sent_[*s][k], sources[k].device == transfer.source);
  }
  for (const Home& home : homes_) {
    const bool lives = std::any_of(home.groups.begin(), home.groups.end(),
                                   [&](GroupId group) { return on(group, home.device).value(values) > 0.5; });
    values[home.column] = lives ? 1 : 0;
  }
}

std::vector<ModeIndex> MipPlacement::modes(std::span<const double> values) const {
  const Problem& problem = space_.problem();
  std::vector<ModeIndex> result(problem.task_count());
  for (std::size_t g = 0; g < chosen_.size(); ++g) {
    std::uint32_t option = 0;
    while (option + 1 < chosen_[g].size() && chosen_[g][option].value(values) < 0.5) ++option;
    for (const TaskId task : problem.tasks_of(GroupId(g))) result[task.index()] = space_.mode(task, option);
  }
  return result;
}

}  // namespace opweave::exact
