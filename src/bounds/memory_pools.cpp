#include "bounds/memory_pools.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace opweave::bounds {
namespace {

// Limits that keep the work near linear for a million operators. Forgetting values, pools or
// far-away ancestors only weakens a relaxation.
constexpr std::size_t kMostSharedPools = 24;
constexpr std::size_t kMostValues = 256;
constexpr double kMostClosureWork = 4e8;

class MemoryPoolBuilder {
 public:
  MemoryPoolBuilder(const Relaxation& relaxation, std::vector<MemoryPool>& pools)
      : r_(relaxation), problem_(relaxation.problem()), pools_(pools) {}

  void build() {
    find_device_pools();
    find_shared_pools();
    std::erase_if(pools_, [](const MemoryPool& pool) { return pool.members.empty(); });
    find_capacities();
    find_values();
    for (MemoryPool& pool : pools_) bound_capacity(pool);
    for (const TaskClass& c : r_.classes()) edges_ += static_cast<double>(c.predecessors.size() + 1);
    all_classes_.resize(r_.classes().size());
    std::iota(all_classes_.begin(), all_classes_.end(), 0U);
    position_.assign(r_.classes().size(), detail::kNoIndex);
    for (MemoryPool& pool : pools_) find_closure(pool);
  }

 private:
  [[nodiscard]] const OptionList& options(Index task_class) const {
    return r_.options(r_.classes()[task_class].tasks.front());
  }
  [[nodiscard]] GroupId group(Index task_class) const {
    return problem_.group_of(TaskId(r_.classes()[task_class].tasks.front()));
  }
  /// \pre for several devices: the pool was marked
  [[nodiscard]] bool is_member(const MemoryPool& pool, Index task_class) const {
    if (pool.kind == MemoryPoolKind::kDevice) return contains(options(task_class).every, pool.devices.front());
    return is_marked_[task_class];
  }
  /// Sets of many devices are compared once per list of options, not once per value.
  void mark_members(const MemoryPool& pool) {
    is_marked_.assign(r_.classes().size(), false);
    for (const Index c : pool.members) is_marked_[c] = true;
  }

  void find_device_pools() {
    pools_.resize(problem_.cluster().device_count());
    for (std::size_t d = 0; d < pools_.size(); ++d) pools_[d].devices = {DeviceId(d)};
    for (Index c = 0; c < r_.classes().size(); ++c) {
      for (const DeviceId device : options(c).every) pools_[device.index()].members.push_back(c);
    }
  }

  /// Sets of devices within which tasks are confined, those with the most work first, and all devices.
  void find_shared_pools() {
    const std::vector<OptionList>& lists = r_.placement().lists();
    std::vector<double> work_of_list(lists.size(), 0);
    for (const TaskClass& task_class : r_.classes()) {
      const Index first = task_class.tasks.front();
      work_of_list[r_.placement().list_of(problem_.group_of(TaskId(first)))] +=
          static_cast<double>(r_.work(first)) * static_cast<double>(task_class.tasks.size());
    }
    std::map<DeviceSet, double> work;
    for (std::size_t i = 0; i < lists.size(); ++i) {
      if (lists[i].sets.size() > 1) work[lists[i].any] += work_of_list[i];
    }
    if (work.empty()) return;
    DeviceSet all;
    for (std::size_t d = 0; d < problem_.cluster().device_count(); ++d) all.emplace_back(d);
    if (all.size() < 2) return;
    work.erase(all);
    std::vector<std::pair<double, DeviceSet>> sets;
    for (const auto& [devices, amount] : work) {
      if (devices.size() > 1) sets.emplace_back(-amount, devices);
    }
    std::sort(sets.begin(), sets.end());
    if (sets.size() > kMostSharedPools) sets.resize(kMostSharedPools);
    sets.emplace_back(0, all);
    for (auto& [amount, devices] : sets) {
      MemoryPool pool;
      pool.kind = MemoryPoolKind::kShared;
      pool.devices = std::move(devices);
      std::map<const OptionList*, bool> known;
      for (Index c = 0; c < r_.classes().size(); ++c) {
        const auto [entry, is_new] = known.try_emplace(&options(c), false);
        if (is_new) entry->second = contains(pool.devices, options(c).any);
        if (entry->second) pool.members.push_back(c);
      }
      pools_.push_back(pool);
      if (pool.devices.size() < 2) continue;
      std::erase_if(pool.members, [&](Index c) { return !options(c).single_devices; });
      pool.kind = MemoryPoolKind::kUnknown;
      pools_.push_back(std::move(pool));
    }
  }

  void find_capacities() {
    std::vector<std::size_t> pool_of_device(problem_.cluster().device_count(), pools_.size());
    std::vector<std::set<ParameterId>> resident(pools_.size());
    std::vector<std::size_t> shared;
    for (std::size_t i = 0; i < pools_.size(); ++i) {
      MemoryPool& pool = pools_[i];
      if (pool.kind == MemoryPoolKind::kDevice) pool_of_device[pool.devices.front().index()] = i;
      if (pool.kind == MemoryPoolKind::kShared) shared.push_back(i);
      std::int64_t sum = 0;
      std::int64_t largest = 0;
      bool limited = true;
      for (const DeviceId device : pool.devices) {
        const auto capacity = problem_.capacity(device);
        limited = limited && capacity.has_value();
        if (!capacity) continue;
        sum += capacity->value();
        largest = std::max(largest, capacity->value());
      }
      if (limited) pool.capacity = pool.kind == MemoryPoolKind::kUnknown ? largest : sum;
    }
    for (std::size_t g = 0; g < problem_.group_count(); ++g) {
      const auto parameters = problem_.parameters_of(GroupId(g));
      if (parameters.empty()) continue;
      const OptionList& list = r_.placement().options(GroupId(g));
      for (const DeviceId device : list.every) {
        const std::size_t pool = pool_of_device[device.index()];
        if (pool < pools_.size()) resident[pool].insert(parameters.begin(), parameters.end());
      }
      for (const std::size_t pool : shared) {
        if (contains(pools_[pool].devices, list.any)) resident[pool].insert(parameters.begin(), parameters.end());
      }
    }
    for (std::size_t i = 0; i < pools_.size(); ++i) {
      if (!pools_[i].capacity) continue;
      for (const ParameterId parameter : resident[i])
        *pools_[i].capacity -= problem_.persistent_bytes(parameter).value();
    }
    pool_of_device_ = std::move(pool_of_device);
  }

  void find_values() {
    DeviceSet touched;
    for (const ValueClass& value : r_.values()) {
      touched.clear();
      const auto touch = [&](Index task_class) {
        const DeviceSet& every = options(task_class).every;
        touched.insert(touched.end(), every.begin(), every.end());
      };
      if (value.producer) touch(*value.producer);
      for (const Index consumer : value.consumers) touch(consumer);
      std::sort(touched.begin(), touched.end());
      touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
      for (const DeviceId device : touched) add_value(pools_[pool_of_device_[device.index()]], value);
    }
    for (MemoryPool& pool : pools_) {
      if (pool.kind != MemoryPoolKind::kDevice) {
        mark_members(pool);
        for (const ValueClass& value : r_.values()) add_value(pool, value);
      }
      add_workspaces(pool);
    }
  }

  [[nodiscard]] bool in_one_group(const std::vector<Index>& classes) const {
    return !classes.empty() &&
           std::all_of(classes.begin(), classes.end(), [&](Index c) { return group(c) == group(classes.front()); });
  }

  void add_value(MemoryPool& pool, const ValueClass& value) const {
    if (!pool.capacity) return;
    HeldValue held{value.bytes, value.count, {}, {}, 0, 0, problem_.tensor_of(value.example), true};
    for (const Index consumer : value.consumers) {
      if (is_member(pool, consumer)) held.last.push_back(consumer);
    }
    bool made_here = value.producer && is_member(pool, *value.producer);
    if (pool.kind == MemoryPoolKind::kUnknown) {
      // Only what a single group uses up is known to stay on one device.
      if (held.last.size() != value.consumers.size() || !in_one_group(held.last)) return;
      made_here = made_here && group(*value.producer) == group(held.last.front());
    }
    held.is_made_here = made_here;
    if (made_here) {
      held.first = {*value.producer};
      if (held.last.empty()) held.last = held.first;
      if (pool.kind == MemoryPoolKind::kDevice) held.trail = trail(pool.devices.front(), value);
    } else {
      // What comes from outside is held without a break only on a device: one that several devices of
      // the pool read may be sent to each of them on its own.
      if (held.last.empty() || (pool.kind == MemoryPoolKind::kShared && !in_one_group(held.last))) return;
      held.first = held.last;
      if (pool.kind == MemoryPoolKind::kDevice) held.lead = lead(pool.devices.front(), value);
    }
    pool.values.push_back(std::move(held));
  }

  /// A workspace is a value that its task alone takes and releases.
  void add_workspaces(MemoryPool& pool) const {
    if (!pool.capacity) return;
    for (const Index c : pool.members) {
      const TaskClass& task_class = r_.classes()[c];
      const std::int64_t bytes = r_.workspace(task_class.tasks.front());
      if (bytes > 0) pool.values.push_back({bytes, static_cast<Index>(task_class.tasks.size()), {c}, {c}, 0, 0});
    }
  }

  /// Least time of a transfer that a consumer elsewhere makes unavoidable, if the device is the only
  /// source and every consumer's set a single device.
  [[nodiscard]] Nanoseconds trail(DeviceId device, const ValueClass& value) const {
    const OptionList& source = options(*value.producer);
    if (source.sets.size() != 1 || source.any.size() != 1) return 0;
    Nanoseconds longest = 0;
    for (const Index consumer : value.consumers) {
      const OptionList& list = options(consumer);
      if (!list.single_devices || contains(list.any, device)) continue;
      longest = std::max(longest, least_transfer(value, source.any, list.any));
    }
    return longest;
  }

  /// Least time of a transfer to the device, if the producer is certainly elsewhere.
  [[nodiscard]] Nanoseconds lead(DeviceId device, const ValueClass& value) const {
    if (!value.producer || contains(options(*value.producer).any, device)) return 0;
    return least_transfer(value, options(*value.producer).any, {device});
  }

  [[nodiscard]] Nanoseconds least_transfer(const ValueClass& value, const DeviceSet& from, const DeviceSet& to) const {
    std::optional<Nanoseconds> least;
    for (const DeviceId source : from) {
      for (const DeviceId target : to) {
        const auto time = problem_.transfer_time(value.example, source, target);
        if (time) least = least ? std::min(*least, time->value()) : time->value();
      }
    }
    return least.value_or(0);
  }

  /// Drops the limit where everything fits at once; else keeps the largest values and rounds the
  /// capacity down to what copies of these sizes can fill.
  void bound_capacity(MemoryPool& pool) const {
    if (!pool.capacity) return;
    std::int64_t total = 0;
    for (const HeldValue& value : pool.values) total += value.bytes * value.count;
    if (total <= *pool.capacity) {
      pool.values.clear();
      pool.capacity.reset();
      return;
    }
    std::stable_sort(pool.values.begin(), pool.values.end(),
                     [](const HeldValue& a, const HeldValue& b) { return a.bytes * a.count > b.bytes * b.count; });
    if (pool.values.size() > kMostValues) pool.values.resize(kMostValues);
    std::int64_t unit = 0;
    for (const HeldValue& value : pool.values) unit = std::gcd(unit, value.bytes);
    // A device holds a multiple of the unit; of several devices together the remainders are not known.
    if (pool.kind != MemoryPoolKind::kShared && unit > 0 && *pool.capacity > 0) *pool.capacity -= *pool.capacity % unit;
  }

  void find_closure(MemoryPool& pool) {
    if (!pool.capacity) return;
    pool.words = (pool.values.size() + 63) / 64;
    const bool whole_graph = edges_ * static_cast<double>(pool.words * pools_.size()) <= kMostClosureWork;
    const std::vector<Index>& considered = whole_graph ? all_classes_ : pool.members;
    for (Index i = 0; i < considered.size(); ++i) position_[considered[i]] = i;

    for (const bool forward : {true, false}) {
      std::vector<std::uint64_t> bits(considered.size() * pool.words, 0);
      for (std::size_t v = 0; v < pool.values.size(); ++v) {
        for (const Index c : forward ? pool.values[v].first : pool.values[v].last) {
          bits[position_[c] * pool.words + v / 64] |= std::uint64_t{1} << (v % 64);
        }
      }
      const std::size_t count = considered.size();
      for (std::size_t step = 0; step < count; ++step) {
        const std::size_t i = forward ? step : count - 1 - step;
        const TaskClass& c = r_.classes()[considered[i]];
        for (const Index other : forward ? c.predecessors : c.successors) {
          if (position_[other] == detail::kNoIndex) continue;
          for (std::size_t w = 0; w < pool.words; ++w) {
            bits[i * pool.words + w] |= bits[position_[other] * pool.words + w];
          }
        }
      }
      if (pool.kind == MemoryPoolKind::kUnknown) keep_own_group(pool, considered, bits);
      std::vector<std::uint64_t>& rows = forward ? pool.taken : pool.kept;
      rows.reserve(pool.members.size() * pool.words);
      for (const Index member : pool.members) {
        const auto row = bits.begin() + static_cast<std::ptrdiff_t>(position_[member] * pool.words);
        rows.insert(rows.end(), row, row + static_cast<std::ptrdiff_t>(pool.words));
      }
    }
    for (const Index c : considered) position_[c] = detail::kNoIndex;
  }

  /// On unknown devices, only the values of a member's own group are known to be where it runs.
  void keep_own_group(const MemoryPool& pool, const std::vector<Index>& classes,
                      std::vector<std::uint64_t>& bits) const {
    for (std::size_t i = 0; i < classes.size(); ++i) {
      for (std::size_t v = 0; v < pool.values.size(); ++v) {
        if (group(pool.values[v].first.front()) == group(classes[i])) continue;
        bits[i * pool.words + v / 64] &= ~(std::uint64_t{1} << (v % 64));
      }
    }
  }

  const Relaxation& r_;
  const Problem& problem_;
  std::vector<MemoryPool>& pools_;
  std::vector<std::size_t> pool_of_device_;
  std::vector<bool> is_marked_;  // by class
  double edges_ = 0;             // of the class graph
  std::vector<Index> all_classes_;
  std::vector<Index> position_;  // of a class among those considered
};

}  // namespace

MemoryPools::MemoryPools(const Relaxation& relaxation) {
  MemoryPoolBuilder(relaxation, pools_).build();
  std::vector<std::vector<Membership>> lists(relaxation.classes().size());
  for (Index pool = 0; pool < pools_.size(); ++pool) {
    for (Index i = 0; i < pools_[pool].members.size(); ++i) lists[pools_[pool].members[i]].push_back({pool, i});
  }
  for (const auto& list : lists) {
    memberships_.items.insert(memberships_.items.end(), list.begin(), list.end());
    memberships_.close_list();
  }
}

}  // namespace opweave::bounds
