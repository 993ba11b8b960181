#include "partition/period_model.h"

#include <algorithm>
#include <map>
#include <set>

#include "opweave/cluster.h"

namespace opweave::partition {
namespace {

/// Vertex x device entries above which no model is built: a few hundred megabytes.
constexpr std::size_t kMostModelEntries = 4'000'000;
/// Load that stands for a transfer without a route: more than any sum of durations (2^53 ns).
constexpr double kNoRoute = 1e16;

}  // namespace

std::optional<PeriodModel> PeriodModel::create(const Problem& problem, bool join_copies) {
  PeriodModel result(problem);
  if (!result.find_vertices(join_copies)) return std::nullopt;
  result.find_devices();
  result.find_nets();
  return result;
}

bool PeriodModel::find_vertices(bool join_copies) {
  const Problem& problem = *problem_;
  const std::size_t devices = problem.cluster().device_count();
  std::map<std::pair<OperatorId, std::uint32_t>, Vertex> of_variant;
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    const auto tasks = problem.tasks_of(GroupId(g));
    if (problem.devices_of(GroupId(g)).empty()) return false;
    const Task& first = problem.task(tasks.front());
    auto vertex = static_cast<Vertex>(groups_.size());
    if (join_copies && tasks.size() == 1)
      vertex = of_variant.emplace(std::pair(first.op, first.replica), vertex).first->second;
    if (vertex == groups_.size()) groups_.emplace_back();
    if (groups_.size() * devices > kMostModelEntries) return false;
    groups_[vertex].emplace_back(g);
    vertex_of_.push_back(vertex);
  }
  const std::size_t streams = problem.cluster().stream_names().size();
  model_.devices = static_cast<std::uint32_t>(devices);
  model_.resources = static_cast<std::uint32_t>(devices * streams);
  model_.work.resize(groups_.size());
  model_.apart.resize(groups_.size());
  for (Vertex vertex = 0; vertex < groups_.size(); ++vertex) {
    std::set<ParameterId> parameters;
    std::set<Vertex> apart;
    std::vector<double> load(devices * streams);
    std::vector<std::size_t> runs(devices);
    for (const GroupId group : groups_[vertex]) {
      parameters.insert(problem.parameters_of(group).begin(), problem.parameters_of(group).end());
      for (const GroupId other : problem.apart_from(group)) apart.insert(vertex_of_[other.index()]);
      for (const DeviceId device : problem.devices_of(group)) {
        ++runs[device.index()];
        for (const TaskId task : problem.tasks_of(group)) {
          const double duration =
              static_cast<double>(problem.mode(task, *problem.mode_on(task, device)).duration.value());
          for (std::uint32_t mask = problem.streams(task); mask != 0; mask &= mask - 1) {
            load[device.index() * streams + static_cast<std::size_t>(__builtin_ctz(mask))] += duration;
          }
        }
      }
    }
    double bytes = 0;
    for (const ParameterId parameter : parameters)
      bytes += static_cast<double>(problem.persistent_bytes(parameter).value());
    model_.bytes.push_back(bytes);
    apart.erase(vertex);
    model_.apart[vertex].assign(apart.begin(), apart.end());
    model_.work[vertex].resize(devices);
    for (std::size_t device = 0; device < devices; ++device) {
      if (runs[device] != groups_[vertex].size()) continue;
      auto& charges = model_.work[vertex][device].emplace();
      for (std::size_t resource = device * streams; resource < (device + 1) * streams; ++resource) {
        if (load[resource] > 0) charges.push_back({static_cast<Resource>(resource), load[resource]});
      }
    }
  }
  return true;
}

void PeriodModel::find_devices() {
  const Problem& problem = *problem_;
  const std::size_t devices = model_.devices;
  model_.exit.resize(devices);
  for (std::size_t device = 0; device < devices; ++device) {
    const auto capacity = problem.capacity(DeviceId(device));
    model_.capacity.push_back(capacity ? static_cast<double>(capacity->value())
                                       : std::numeric_limits<double>::infinity());
  }
  const Resource no_route = model_.resources++;
  model_.channels.resize(devices * devices);
  model_.route.resize(devices * devices);
  std::map<Cluster::Channel, Resource> resource_of;
  for (std::size_t from = 0; from < devices; ++from) {
    for (std::size_t to = 0; to < devices; ++to) {
      if (from == to) continue;
      std::vector<Resource>& channels = model_.channels[from * devices + to];
      if (!problem.cluster().rate(DeviceId(from), DeviceId(to))) {
        channels = {no_route};
        continue;
      }
      for (const Cluster::Channel channel : problem.channels(DeviceId(from), DeviceId(to))) {
        channels.push_back(resource_of.emplace(channel, model_.resources + resource_of.size()).first->second);
      }
    }
  }
  model_.resources += static_cast<std::uint32_t>(resource_of.size());
}

void PeriodModel::find_nets() {
  const Problem& problem = *problem_;
  const std::size_t devices = model_.devices;
  // Routes alike in latency and bandwidth carry any value in the same time.
  std::map<std::pair<std::int64_t, std::int64_t>, std::pair<DeviceId, DeviceId>> example;
  std::vector<std::pair<std::int64_t, std::int64_t>> key(devices * devices);
  for (std::size_t from = 0; from < devices; ++from) {
    for (std::size_t to = 0; to < devices; ++to) {
      const auto route = from == to ? std::nullopt : problem.cluster().rate(DeviceId(from), DeviceId(to));
      auto& k = key[from * devices + to];
      k = route ? std::pair(route->latency.value(), route->bandwidth_bytes_per_s.value_or(0))
                : std::pair(std::int64_t{-1}, std::int64_t{0});
      example.emplace(k, std::pair(DeviceId(from), DeviceId(to)));
    }
  }
  std::map<std::pair<std::int64_t, std::int64_t>, std::uint32_t> column;
  for (const auto& [k, pair] : example) column.emplace(k, static_cast<std::uint32_t>(column.size()));
  for (std::size_t pair = 0; pair < key.size(); ++pair) model_.route[pair] = column.at(key[pair]);

  // Values of one size between the same vertices, such as those of the microbatches, are one net.
  std::map<std::tuple<Vertex, std::vector<Vertex>, std::int64_t>, std::int64_t> count;
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const auto producer = problem.producer(ValueId(v));
    if (!producer) continue;  // an input of the graph is present everywhere
    const Vertex source = vertex_of_[problem.group_of(*producer).index()];
    std::vector<Vertex> readers;
    for (const TaskId consumer : problem.consumers(ValueId(v)))
      readers.push_back(vertex_of_[problem.group_of(consumer).index()]);
    std::sort(readers.begin(), readers.end());
    readers.erase(std::unique(readers.begin(), readers.end()), readers.end());
    std::erase(readers, source);
    if (!readers.empty()) ++count[{source, std::move(readers), problem.size(ValueId(v)).value()}];
  }
  std::map<std::pair<std::int64_t, std::int64_t>, std::uint32_t> class_of;  // by bytes and number of values
  for (const auto& [net, values] : count) {
    const std::int64_t bytes = std::get<2>(net);
    const auto [place, is_new] =
        class_of.emplace(std::pair(bytes, values), static_cast<std::uint32_t>(model_.cost.size()));
    if (is_new) {
      std::vector<double>& row = model_.cost.emplace_back();
      for (const auto& [k, pair] : example) {
        const auto time =
            k.first < 0 ? std::nullopt : problem.cluster().transfer_time(Bytes(bytes), pair.first, pair.second);
        row.push_back(time ? static_cast<double>(values) * static_cast<double>(time->value()) : kNoRoute);
      }
    }
    model_.nets.push_back({std::get<0>(net), std::get<1>(net), place->second});
  }
}

std::vector<ModeIndex> PeriodModel::modes(const Assignment& assignment) const {
  std::vector<ModeIndex> result(problem_->task_count());
  for (std::size_t t = 0; t < result.size(); ++t) {
    const Vertex vertex = vertex_of_[problem_->group_of(TaskId(t)).index()];
    result[t] = *problem_->mode_on(TaskId(t), DeviceId(assignment[vertex]));
  }
  return result;
}

std::optional<Assignment> PeriodModel::assignment(const std::vector<ModeIndex>& modes) const {
  constexpr auto kNone = std::numeric_limits<std::uint32_t>::max();
  Assignment result(groups_.size(), kNone);
  for (std::size_t t = 0; t < modes.size(); ++t) {
    const auto devices = problem_->mode(TaskId(t), modes[t]).devices;
    std::uint32_t& device = result[vertex_of_[problem_->group_of(TaskId(t)).index()]];
    const auto here = static_cast<std::uint32_t>(devices.front().index());
    if (devices.size() != 1 || (device != kNone && device != here)) return std::nullopt;
    device = here;
  }
  return result;
}

bool PeriodModel::is_routed(double largest_load) const { return largest_load < kNoRoute; }

}  // namespace opweave::partition
