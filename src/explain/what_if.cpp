#include "opweave/what_if.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "exact/retime.h"
#include "opweave/error.h"
#include "opweave/plan.h"
#include "opweave/simulate.h"
#include "planner/incumbent.h"

namespace opweave {
namespace {

std::int64_t divided_up(std::int64_t value, double factor) {
  const double exact = std::ceil(static_cast<double>(value) / factor);
  return static_cast<std::int64_t>(std::min(exact, static_cast<double>(kMaxInputValue)));
}
std::int64_t multiplied_down(std::int64_t value, double factor) {
  const double exact = std::floor(static_cast<double>(value) * factor);
  return static_cast<std::int64_t>(std::min(exact, static_cast<double>(kMaxInputValue)));
}

void speed_up(Link& link, double factor) {
  link.latency = Duration(divided_up(link.latency.value(), factor));
  if (link.bandwidth_bytes_per_s) {
    link.bandwidth_bytes_per_s = std::max<std::int64_t>(1, multiplied_down(*link.bandwidth_bytes_per_s, factor));
  }
}

/// A whole number below 2^53, uniform to about 2^-53: the same with every standard library.
double uniform(std::mt19937_64& engine) { return static_cast<double>(engine() >> 11U) * 0x1.0p-53; }

}  // namespace

Cluster with_link_speed(const Cluster& cluster, double factor) {
  ClusterParts parts = cluster.parts();
  for (Link& link : parts.links) speed_up(link, factor);
  if (parts.default_link) speed_up(*parts.default_link, factor);
  return Cluster::create(std::move(parts));
}

Cluster with_host_link_speed(const Cluster& cluster, double factor) {
  ClusterParts parts = cluster.parts();
  bool has_hosts = false;
  for (DeviceType& type : parts.types) {
    if (!type.host_link) continue;
    has_hosts = true;
    type.host_link->latency = Duration(divided_up(type.host_link->latency.value(), factor));
    std::optional<std::int64_t>& bandwidth = type.host_link->bandwidth_bytes_per_s;
    if (bandwidth) bandwidth = std::max<std::int64_t>(1, multiplied_down(*bandwidth, factor));
  }
  if (!has_hosts) throw InputError("no type of device has a host_link");
  return Cluster::create(std::move(parts));
}

Problem with_memory(const Problem& problem, double factor) {
  ClusterParts parts = problem.cluster().parts();
  for (Device& device : parts.devices) {
    if (device.memory) device.memory = Bytes(multiplied_down(device.memory->value(), factor));
  }
  ProblemSettings settings = problem.settings();
  if (settings.memory_limit) settings.memory_limit = Bytes(multiplied_down(settings.memory_limit->value(), factor));
  return Problem::create(problem.graph(), Cluster::create(std::move(parts)), std::move(settings));
}

Cluster with_more_devices(const Cluster& cluster, std::uint32_t count) {
  ClusterParts parts = cluster.parts();
  const Device model = parts.devices.back();
  const std::vector<Link> links = parts.links;
  std::set<std::string> taken(parts.switches.begin(), parts.switches.end());
  for (const Device& device : parts.devices) taken.insert(device.name);
  for (const Link& link : links) taken.insert(link.name);
  const auto fresh = [&taken](const std::string& name) {
    for (std::uint32_t number = 2;; ++number) {
      std::string candidate = fmt::format("{} ({})", name, number);
      if (taken.insert(candidate).second) return candidate;
    }
  };
  for (std::uint32_t i = 0; i < count; ++i) {
    Device device = model;
    device.name = fresh(model.name);
    for (const Link& link : links) {
      if (link.a != model.name && link.b != model.name) continue;
      Link copy = link;
      copy.name = fresh(link.name);
      (link.a == model.name ? copy.a : copy.b) = device.name;
      parts.links.push_back(std::move(copy));
    }
    parts.devices.push_back(std::move(device));
  }
  return Cluster::create(std::move(parts));
}

ComputationGraph with_faster(const ComputationGraph& graph, std::string_view which, double factor) {
  std::vector<Operator> operators = graph.operators();
  bool found = false;
  for (Operator& op : operators) {
    if (op.name != which && op.kind != which) continue;
    found = true;
    for (MeasuredDuration& measured : op.durations) {
      measured.duration = Duration(divided_up(measured.duration.value(), factor));
    }
    for (ModeSpec& mode : op.modes) mode.duration = Duration(divided_up(mode.duration.value(), factor));
    if (op.flops) *op.flops /= factor;
    if (op.bytes_accessed) *op.bytes_accessed /= factor;
  }
  if (!found) throw InputError(fmt::format("the graph has no operator of name or kind \"{}\"", which));
  return ComputationGraph::create(graph.name(), std::move(operators), graph.tensors(), graph.parameters(),
                                  graph.training());
}

Replay replay(const Problem& problem, const Schedule& schedule) {
  const SimulationResult result =
      simulate(problem, execution_order(problem, schedule), {problem.settings().contention, 1, {}});
  if (!result.deadlock.empty()) throw InputError("the order cannot run: " + result.deadlock);
  Replay played{result.makespan, true};
  const PlanStatistics figures = statistics(problem, result.schedule, result.task_ends);
  for (std::size_t d = 0; d < figures.devices.size(); ++d) {
    const auto capacity = problem.capacity(DeviceId(d));
    if (capacity && figures.devices[d].peak_memory > *capacity) played.fits_memory = false;
  }
  return played;
}

std::optional<Schedule> carried_over(const Problem& problem, const Schedule& schedule) {
  std::optional<Schedule> result = exact::retime(problem, exact::rough(schedule));
  return result && is_valid(problem, *result) ? std::move(result) : std::nullopt;
}

Robustness robustness(const Problem& problem, const Schedule& schedule, double spread, std::uint32_t samples,
                      std::uint64_t seed, const Budget& budget) {
  const ExecutionOrder order = execution_order(problem, schedule);
  std::mt19937_64 engine(seed);
  std::vector<Duration> makespans;
  SimulationOptions options;
  options.contention = problem.settings().contention;
  options.durations.resize(problem.task_count());
  for (std::uint32_t sample = 0; sample < samples && !(sample > 0 && budget.expired()); ++sample) {
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      const auto planned = static_cast<double>(problem.mode(TaskId(t), order.modes[t]).duration.value());
      const double factor = 1 + spread * (2 * uniform(engine) - 1);
      options.durations[t] = Duration(std::llround(planned * factor));
    }
    makespans.push_back(simulate(problem, order, options).makespan);
  }
  Robustness result{spread, static_cast<std::uint32_t>(makespans.size()), {}, {}, {}};
  if (makespans.empty()) return result;
  std::ranges::sort(makespans);
  // The smallest sample that at least this share of all samples does not exceed.
  const auto quantile = [&](std::size_t percent) { return makespans[(makespans.size() * percent + 99) / 100 - 1]; };
  result.median = quantile(50);
  result.percentile95 = quantile(95);
  result.worst = makespans.back();
  return result;
}

}  // namespace opweave
