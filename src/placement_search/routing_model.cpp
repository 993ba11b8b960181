#include "placement_search/routing_model.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "opweave/error.h"

namespace opweave::routing {

std::shared_ptr<const Model> Model::create(const Problem& problem, std::size_t most_entries) {
  const std::shared_ptr<Model> model(new Model(problem));
  if (!model->list_options(most_entries) || !model->list_arcs(most_entries)) return nullptr;
  const bool has_lags =
      std::ranges::any_of(model->tables_, [](const Table& table) { return table.columns > 0 || table.between > 0; });
  model->needs_exact_timing_ =
      model->memory_may_run_out() || (has_lags && problem.settings().contention != Contention::kNone);
  return model;
}

bool Model::has_choice() const {
  return std::ranges::any_of(options_, [](const auto& options) { return options.size() > 1; });
}

bool Model::list_options(std::size_t most_entries) {
  const std::size_t streams = problem_.cluster().stream_names().size();
  resource_count_ = problem_.cluster().device_count() * streams;
  std::size_t entries = 0;
  for (std::size_t g = 0; g < problem_.group_count(); ++g) {
    options_.push_back(problem_.options(GroupId(g)));
    entries += options_.back().size() * problem_.tasks_of(GroupId(g)).size();
    if (entries > most_entries) return false;
  }
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    group_of_.push_back(static_cast<std::uint32_t>(problem_.group_of(task).index()));
    first_option_.push_back(modes_.size());
    for (const Option& option : options_[group_of_.back()]) {
      const std::optional<ModeIndex> mode = problem_.mode_on(task, option.devices);
      if (!mode) throw InternalError("an option of a group is no mode of one of its tasks");
      modes_.push_back(*mode);
      durations_.push_back(problem_.mode(task, *mode).duration.value());
      std::size_t slots = 0;
      for (const DeviceId device : option.devices) {
        for (std::uint32_t mask = problem_.streams(task); mask != 0; mask &= mask - 1, ++slots) {
          resources_.items.push_back(
              static_cast<std::uint32_t>(device.index() * streams + static_cast<std::size_t>(__builtin_ctz(mask))));
        }
      }
      resources_.close_list();
      slots_ = std::max(slots_, slots);
    }
  }
  return true;
}

Time Model::lag_of(std::span<const ValueId> values, std::span<const DeviceId> from,
                   std::span<const DeviceId> to) const {
  Time lag = 0;
  for (const ValueId value : values) {
    for (const DeviceId device : to) {
      if (std::ranges::find(from, device) != from.end()) continue;
      Time fastest = kNoRoute;
      for (const DeviceId source : from) {
        const std::optional<Duration> time = problem_.transfer_time(value, source, device);
        if (time) fastest = std::min(fastest, time->value());
      }
      lag = std::max(lag, fastest);
    }
  }
  return lag;
}

bool Model::list_arcs(std::size_t most_entries) {
  // Lags depend on the sizes of the values and on where the two groups may be: many edges are alike.
  std::map<const Option*, std::uint32_t> known_options;
  std::vector<std::uint32_t> options_id;
  for (const std::span<const Option> options : options_) {
    options_id.push_back(known_options.try_emplace(options.data(), known_options.size()).first->second);
  }
  // Asked only where an edge needs it.
  std::vector<std::optional<bool>> has_like_routes(known_options.size());
  const auto joins_alike = [&](std::uint32_t a, std::uint32_t b) {
    std::optional<bool>& known = has_like_routes[options_id[a]];
    if (options_id[a] != options_id[b]) return false;
    if (!known) known = are_alike(options_[a], most_entries);
    return *known;
  };
  using Key = std::tuple<std::uint32_t, std::uint32_t, std::vector<std::int64_t>>;
  std::map<Key, std::uint32_t> known_tables;
  tables_.push_back({});
  std::vector<ValueId> values;
  std::vector<std::vector<Arc>> successors(task_count());
  for (std::size_t t = 0; t < task_count(); ++t) {
    const auto task = static_cast<Node>(t);
    for (const TaskId earlier : problem_.predecessors(TaskId(t))) {
      values.clear();
      std::vector<std::int64_t> sizes;
      for (const ValueId value : problem_.inputs(TaskId(t))) {
        if (problem_.producer(value) != earlier) continue;
        values.push_back(value);
        sizes.push_back(problem_.size(value).value());
      }
      std::ranges::sort(sizes);
      const auto before = static_cast<Node>(earlier.index());
      const std::uint32_t a = group_of_[before];
      const std::uint32_t b = group_of_[task];
      std::uint32_t table = 0;
      if (!values.empty() && a != b) {
        const auto [entry, is_new] = known_tables.try_emplace({options_id[a], options_id[b], std::move(sizes)}, 0);
        if (is_new && joins_alike(a, b)) {
          const Time between =
              options_[a].size() == 1 ? 0 : lag_of(values, options_[a][0].devices, options_[a][1].devices);
          if (between > 0) {
            entry->second = static_cast<std::uint32_t>(tables_.size());
            tables_.push_back({0, 0, between});
          }
        } else if (is_new) {
          const std::size_t first = lags_.size();
          if (first + options_[a].size() * options_[b].size() > most_entries) return false;
          for (const Option& from : options_[a]) {
            for (const Option& to : options_[b]) lags_.push_back(lag_of(values, from.devices, to.devices));
          }
          const bool is_zero = std::all_of(lags_.begin() + static_cast<std::ptrdiff_t>(first), lags_.end(),
                                           [](Time lag) { return lag == 0; });
          if (is_zero) {
            lags_.resize(first);
          } else {
            entry->second = static_cast<std::uint32_t>(tables_.size());
            tables_.push_back({first, option_count(b), 0});
          }
        }
        table = entry->second;
      }
      successors[before].push_back({task, table, static_cast<std::uint32_t>(predecessors_.items.size())});
      predecessors_.items.push_back({before, table, 0});
    }
    predecessors_.close_list();
  }
  for (const std::vector<Arc>& arcs : successors) {
    for (const Arc& arc : arcs) {
      predecessors_.items[arc.twin].twin = static_cast<std::uint32_t>(successors_.items.size());
      successors_.items.push_back(arc);
    }
    successors_.close_list();
  }
  return true;
}

bool Model::are_alike(std::span<const Option> options, std::size_t most_pairs) const {
  if (std::ranges::any_of(options, [](const Option& option) { return option.devices.size() > 1; })) return false;
  if (options.size() < 2 || problem_.cluster().common_rate()) return true;
  if (options.size() > most_pairs / options.size()) return false;  // reading all rates would take longer than a search
  std::optional<std::pair<Duration, std::optional<std::int64_t>>> first;
  for (const Option& from : options) {
    for (const Option& to : options) {
      if (std::ranges::equal(from.devices, to.devices)) continue;
      const std::optional<Rate> route = problem_.cluster().rate(from.devices.front(), to.devices.front());
      if (!route) return false;
      const std::pair kind(route->latency, route->bandwidth_bytes_per_s);
      if (first.value_or(kind) != kind) return false;
      first = kind;
    }
  }
  return true;
}

bool Model::memory_may_run_out() const {
  std::int64_t everything = 0;
  for (std::size_t v = 0; v < problem_.value_count(); ++v) everything += problem_.size(ValueId(v)).value();
  for (std::size_t t = 0; t < task_count(); ++t) {
    std::int64_t workspace = 0;
    for (std::uint32_t o = 0; o < option_count(group_of_[t]); ++o) {
      workspace = std::max(workspace, problem_.mode(TaskId(t), mode(static_cast<Node>(t), o)).workspace.value());
    }
    everything += workspace;
  }
  std::vector<bool> is_counted(problem_.graph().parameters().size(), false);
  for (std::size_t g = 0; g < group_count(); ++g) {
    for (const ParameterId parameter : problem_.parameters_of(GroupId(g))) {
      if (!is_counted[parameter.index()]) everything += problem_.persistent_bytes(parameter).value();
      is_counted[parameter.index()] = true;
    }
  }
  for (std::size_t d = 0; d < problem_.cluster().device_count(); ++d) {
    const std::optional<Bytes> capacity = problem_.capacity(DeviceId(d));
    if (capacity && capacity->value() < everything) return true;
  }
  return false;
}

}  // namespace opweave::routing
