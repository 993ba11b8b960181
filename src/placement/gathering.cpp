#include "placement/gathering.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "core/union_find.h"
#include "placement/placement_state.h"

namespace opweave {
namespace {

using DeviceSet = std::vector<DeviceId>;

/// Groups times devices beyond which the lists of places would be too long.
constexpr std::size_t kMostPlaces = 20'000'000;

/// What two groups exchange, if they run on different devices.
struct Exchange {
  std::size_t a;
  std::size_t b;
  std::int64_t bytes = 0;
};

class Gathering {
 public:
  Gathering(const Problem& problem, Random& random, const GatheringOptions& options)
      : problem_(problem), random_(random), options_(options), state_(problem), sets_(problem.group_count()) {
    for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) (void)number_of({DeviceId(d)});
    for (std::size_t g = 0; g < problem.group_count(); ++g) clusters_.push_back(cluster_of(GroupId(g)));
    find_exchanges();
  }

  std::optional<std::vector<ModeIndex>> run() {
    join();
    return place();
  }

 private:
  struct Cluster {
    std::vector<GroupId> groups;
    std::vector<std::uint32_t> places;  ///< where all of it may run; ascending
    std::int64_t persistent = 0;        ///< bytes of parameters
    std::int64_t need = 0;              ///< bytes of inputs, outputs and workspace of the neediest task
    std::int64_t work = 0;              ///< shortest durations of all tasks, streams taken as one
  };

  /// Sets of devices by number: single devices by their own, then gangs.
  std::uint32_t number_of(DeviceSet set) {
    const auto [entry, is_new] = numbers_.try_emplace(std::move(set), static_cast<std::uint32_t>(places_.size()));
    if (is_new) places_.push_back(entry->first);
    return entry->second;
  }

  Cluster cluster_of(GroupId group) {
    Cluster cluster;
    cluster.groups = {group};
    for (const DeviceId device : problem_.devices_of(group)) {
      cluster.places.push_back(static_cast<std::uint32_t>(device.index()));
    }
    if (!problem_.op(problem_.tasks_of(group).front()).modes.empty()) {
      for (const Option& option : problem_.options(group)) {
        const std::span<const DeviceId> gang = option.devices;
        if (gang.size() > 1) cluster.places.push_back(number_of({gang.begin(), gang.end()}));
      }
      std::sort(cluster.places.begin(), cluster.places.end());
    }
    for (const ParameterId parameter : problem_.parameters_of(group)) {
      cluster.persistent += problem_.persistent_bytes(parameter).value();
    }
    for (const TaskId task : problem_.tasks_of(group)) {
      cluster.work += problem_.shortest(task).value();
      if (problem_.shortest(task) == Duration()) continue;  // holds nothing
      std::int64_t bytes = problem_.mode(task, 0).workspace.value();
      for (const ValueId value : problem_.inputs(task)) bytes += problem_.size(value).value();
      for (const ValueId value : problem_.outputs(task)) bytes += problem_.size(value).value();
      cluster.need = std::max(cluster.need, bytes);
    }
    remove_full(cluster);
    return cluster;
  }

  /// Drops the places whose memory is too small.
  void remove_full(Cluster& cluster) const {
    std::erase_if(cluster.places, [&](std::uint32_t place) {
      return std::any_of(places_[place].begin(), places_[place].end(), [&](DeviceId device) {
        const auto capacity = problem_.capacity(device);
        return capacity && cluster.persistent + cluster.need > capacity->value();
      });
    });
  }

  void find_exchanges() {
    std::map<std::pair<std::size_t, std::size_t>, std::int64_t> bytes;
    for (std::size_t v = 0; v < problem_.value_count(); ++v) {
      const auto producer = problem_.producer(ValueId(v));
      if (!producer) continue;
      const std::size_t home = problem_.group_of(*producer).index();
      std::set<std::size_t> others;
      for (const TaskId consumer : problem_.consumers(ValueId(v))) others.insert(problem_.group_of(consumer).index());
      for (const std::size_t other : others) {
        if (other != home) bytes[std::minmax(home, other)] += problem_.size(ValueId(v)).value();
      }
    }
    for (const auto& [pair, sum] : bytes) exchanges_.push_back({pair.first, pair.second, sum});
  }

  void join() {
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t i = 0; i < exchanges_.size(); ++i) {
      const double chance = 1 + options_.noise * random_.unit();
      order.emplace_back(-static_cast<double>(exchanges_[i].bytes) * chance, i);
    }
    std::sort(order.begin(), order.end());
    for (const auto& [weight, i] : order) try_to_join(exchanges_[i]);
  }

  void try_to_join(const Exchange& exchange) {
    std::size_t a = sets_.find(exchange.a);
    std::size_t b = sets_.find(exchange.b);
    if (a == b || must_be_apart(a, b)) return;
    Cluster both;
    both.persistent = clusters_[a].persistent + clusters_[b].persistent;
    both.need = std::max(clusters_[a].need, clusters_[b].need);
    both.work = clusters_[a].work + clusters_[b].work;
    if (options_.largest_load && both.work > options_.largest_load->value()) return;
    std::set_intersection(clusters_[a].places.begin(), clusters_[a].places.end(), clusters_[b].places.begin(),
                          clusters_[b].places.end(), std::back_inserter(both.places));
    remove_full(both);
    if (both.places.empty()) return;
    if (clusters_[a].groups.size() < clusters_[b].groups.size()) std::swap(a, b);
    both.groups = std::move(clusters_[a].groups);
    both.groups.insert(both.groups.end(), clusters_[b].groups.begin(), clusters_[b].groups.end());
    clusters_[b] = {};
    sets_.join(b, a);
    clusters_[sets_.find(a)] = std::move(both);
  }

  [[nodiscard]] bool must_be_apart(std::size_t a, std::size_t b) {
    if (clusters_[a].groups.size() > clusters_[b].groups.size()) std::swap(a, b);
    return std::any_of(clusters_[a].groups.begin(), clusters_[a].groups.end(), [&](GroupId group) {
      const auto apart = problem_.apart_from(group);
      return std::any_of(apart.begin(), apart.end(), [&](GroupId other) { return sets_.find(other.index()) == b; });
    });
  }

  std::optional<std::vector<ModeIndex>> place() {
    std::vector<std::size_t> order;
    for (std::size_t g = 0; g < clusters_.size(); ++g) {
      if (!clusters_[g].groups.empty()) order.push_back(g);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const auto weight = [&](std::size_t c) { return std::pair(clusters_[c].persistent, clusters_[c].work); };
      return weight(a) > weight(b);
    });
    std::vector<std::vector<std::pair<GroupId, std::int64_t>>> neighbours(problem_.group_count());
    for (const Exchange& exchange : exchanges_) {
      neighbours[exchange.a].emplace_back(exchange.b, exchange.bytes);
      neighbours[exchange.b].emplace_back(exchange.a, exchange.bytes);
    }
    std::vector<std::int64_t> load(problem_.cluster().device_count(), 0);
    for (const std::size_t c : order) {
      if (!place_one(clusters_[c], neighbours, load)) return std::nullopt;
    }
    return state_.modes();
  }

  bool place_one(const Cluster& cluster, const std::vector<std::vector<std::pair<GroupId, std::int64_t>>>& neighbours,
                 std::vector<std::int64_t>& load) {
    const DeviceSet* best = nullptr;
    std::pair<std::int64_t, std::int64_t> least;
    for (const std::uint32_t number : cluster.places) {
      const DeviceSet& place = places_[number];
      std::int64_t busy = 0;
      for (const DeviceId device : place) busy = std::max(busy, load[device.index()] + cluster.work);
      if (options_.largest_load && busy > options_.largest_load->value()) continue;
      std::int64_t sent = 0;
      bool fits = true;
      for (const GroupId group : cluster.groups) {
        fits = fits && state_.allows(group, place);
        for (const auto& [other, bytes] : neighbours[group.index()]) {
          const auto devices = state_.devices(other);
          if (devices.empty() || std::ranges::equal(devices, place)) continue;
          fits = fits && problem_.cluster().route(devices.front(), place.front()).has_value();
          sent += bytes;
        }
        if (!fits) break;
      }
      if (!fits || (best != nullptr && least <= std::pair(sent, busy))) continue;
      least = {sent, busy};
      best = &place;
    }
    if (best == nullptr) return false;
    for (const GroupId group : cluster.groups) {
      if (!state_.allows(group, *best)) return false;  // only together they are too many
      state_.place(group, *best);
    }
    for (const DeviceId device : *best) load[device.index()] += cluster.work;
    return true;
  }

  const Problem& problem_;
  Random& random_;
  const GatheringOptions options_;
  PlacementState state_;
  std::vector<DeviceSet> places_;
  std::map<DeviceSet, std::uint32_t> numbers_;
  UnionFind sets_;
  std::vector<Cluster> clusters_;  ///< by the set's speaker
  std::vector<Exchange> exchanges_;
};

}  // namespace

std::optional<std::vector<ModeIndex>> gathered_placement(const Problem& problem, Random& random,
                                                         const GatheringOptions& options) {
  if (problem.group_count() * problem.cluster().device_count() > kMostPlaces) return std::nullopt;
  return Gathering(problem, random, options).run();
}

}  // namespace opweave
