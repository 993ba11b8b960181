#include <fmt/format.h>

#include <map>

#include "bounds/bound_context.h"
#include "bounds/jackson.h"

namespace opweave::bounds {
namespace {

/// What carries one transfer at a time.
struct Channel {
  enum class Kind : std::uint8_t { kSend, kReceive, kLink, kPair };
  Kind kind;
  std::size_t first;       ///< device, link, or the pair's source
  std::size_t second = 0;  ///< direction of a link, or the pair's destination
  auto operator<=>(const Channel&) const = default;
};

std::string name_of(const Cluster& cluster, const Channel& channel) {
  switch (channel.kind) {
    case Channel::Kind::kSend:
      return fmt::format("sends of device \"{}\"", cluster.at(DeviceId(channel.first)).name);
    case Channel::Kind::kReceive:
      return fmt::format("receives of device \"{}\"", cluster.at(DeviceId(channel.first)).name);
    case Channel::Kind::kLink:
      return fmt::format("link \"{}\"", cluster.links()[channel.first].name);
    case Channel::Kind::kPair:
      break;
  }
  return fmt::format("default link from \"{}\" to \"{}\"", cluster.at(DeviceId(channel.first)).name,
                     cluster.at(DeviceId(channel.second)).name);
}

std::vector<Channel> channels(const Problem& problem, DeviceId from, DeviceId to) {
  if (problem.settings().contention == Contention::kEndpoint) {
    return {{Channel::Kind::kSend, from.index()}, {Channel::Kind::kReceive, to.index()}};
  }
  const auto route = problem.cluster().route(from, to);
  if (!route) return {};
  if (route->hops.empty()) return {{Channel::Kind::kPair, from.index(), to.index()}};
  std::vector<Channel> result;
  for (const Hop& hop : route->hops) {
    const bool backward = problem.cluster().links()[hop.link.index()].full_duplex && !hop.forward;
    result.push_back({Channel::Kind::kLink, hop.link.index(), backward ? 1U : 0U});
  }
  return result;
}

}  // namespace

std::optional<LowerBound> transfer_load_bound(const BoundContext& context) {
  const Relaxation& relaxation = context.relaxation;
  const Problem& problem = relaxation.problem();
  if (problem.settings().contention == Contention::kNone) return std::nullopt;
  std::map<Channel, std::vector<Job>> jobs;
  std::map<DeviceId, Nanoseconds> tail_at;  // per destination of one value
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const ValueId value(v);
    const auto producer = problem.producer(value);
    if (!producer) continue;
    const auto maker = static_cast<Index>(producer->index());
    const OptionList& made_on = relaxation.options(maker);
    if (made_on.sets.size() != 1 || made_on.any.size() != 1) continue;
    const DeviceId source = made_on.any.front();
    tail_at.clear();
    for (const TaskId consumer : problem.consumers(value)) {
      const auto task = static_cast<Index>(consumer.index());
      for (const DeviceId device : relaxation.options(task).every) {
        if (device == source) continue;
        Nanoseconds& tail = tail_at[device];
        tail = std::max(tail, relaxation.duration(task) + context.ends.tail[task]);
      }
    }
    for (const auto& [device, tail] : tail_at) {
      const auto time = problem.transfer_time(value, source, device);
      if (!time || *time == Duration()) continue;
      const Job job{context.ends.head[maker] + relaxation.duration(maker), time->value(), tail};
      for (const Channel& channel : channels(problem, source, device)) jobs[channel].push_back(job);
    }
  }
  std::optional<LowerBound> best;
  for (auto& [channel, list] : jobs) {
    const Duration value(jackson_bound(std::move(list)));
    if (!best || value > best->value) best = {"transfer-load", value, name_of(problem.cluster(), channel)};
    if (context.budget.expired()) break;
  }
  return best;
}

}  // namespace opweave::bounds
