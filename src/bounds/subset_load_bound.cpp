#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "bounds/bound_context.h"

namespace opweave::bounds {
namespace {

__extension__ using Wide = __int128;

constexpr double kMostSets = 2e6;  // group x device set x stream
constexpr int kFewestRounds = 60;
constexpr int kMostRounds = 600;      // where a round is short
constexpr double kMostSetWork = 2e7;  // entries in all rounds
constexpr double kScale = 1 << 30;    // of the integer weights
constexpr double kMostUnit = 1e9;     // of a weight: products with bytes stay far from 128 bits

/// The linear program that spreads the work of groups over streams of devices as evenly as possible, with the memory of
/// their parameters, from the side of its dual: any weights y >= 0 of the machines and z >= 0 of the memories prove
///   T >= (sum over groups of the least weighted work and bytes of a device set + sum of y (head + tail)
///         - sum of z x capacity) / sum of y.
/// Good weights are found by multiplicative updates (Arora, Hazan, Kale 2012).
class WeightedLoad {
 public:
  explicit WeightedLoad(const BoundContext& context)
      : r_(context.relaxation),
        problem_(r_.problem()),
        known_(std::max<Nanoseconds>(context.known, 1)),
        devices_(problem_.cluster().device_count()),
        streams_(problem_.cluster().stream_names().size()),
        machines_(devices_ * streams_) {
    count_readers();
    collect_items();
    if (usable_) find_ends(context.ends);
  }

  /// False if there is nothing to gain over equal weights, or too much to look at.
  [[nodiscard]] bool usable() const { return usable_ && (unequal_ || memory_binds_); }

  [[nodiscard]] std::size_t machines() const { return machines_; }

  using Weights = std::vector<std::int64_t>;
  struct Result {
    Nanoseconds value = 0;
    Weights weights;  ///< of the machines, then of the memories per byte
  };

  [[nodiscard]] Result best(const Budget& budget) const {
    Result result;
    for (const bool with_memory : {false, true}) {
      if (with_memory && !memory_binds_) break;
      for (std::size_t s = 0; s <= streams_; ++s) {  // each stream alone, then all together
        improve(s, with_memory, budget, result);
      }
    }
    return result;
  }

 private:
  /// Groups alike: the work on each stream of a device, per device set.
  struct Item {
    std::int64_t count = 0;
    std::int64_t bytes = 0;  ///< of parameters, on each device of the set
    const OptionList* options = nullptr;
    std::vector<Nanoseconds> load;  ///< set-major, streams_ per set
  };

  /// Multiplicative updates from equal weights of one stream, or of all, and perhaps of all memories.
  void improve(std::size_t stream, bool with_memory, const Budget& budget, Result& result) const {
    const std::size_t rows = machines_ + (with_memory ? devices_ : 0);
    std::vector<double> weight(rows, 0);
    for (std::size_t i = 0; i < rows; ++i) {
      weight[i] =
          i >= machines_ ? is_limited(i - machines_) : used_[i] && (stream == streams_ || i % streams_ == stream);
    }
    std::vector<double> sum(rows, 0);
    for (int round = 0; round < rounds_ && !budget.expired(); ++round) {
      const double largest = *std::max_element(weight.begin(), weight.end());
      if (largest <= 0) return;
      for (std::size_t i = 0; i < rows; ++i) sum[i] += weight[i] / largest;
      const Weights integer = prices(weight, result.value);
      std::vector<double> load(machines_ + devices_, 0);
      keep_better(integer, evaluate(integer, &load), result);
      for (std::size_t d = 0; d < rows - machines_; ++d) load[machines_ + d] *= time_per_byte(d, result.value);
      const double most = *std::max_element(load.begin(), load.begin() + static_cast<std::ptrdiff_t>(rows));
      if (most <= 0) break;
      const double step = round < kFewestRounds ? 0.3 : 0.3 * kFewestRounds / round;
      for (std::size_t i = 0; i < rows; ++i) weight[i] = weight[i] / largest * (1 + step * load[i] / most);
    }
    const Weights integer = prices(sum, result.value);
    keep_better(integer, evaluate(integer, nullptr), result);
  }

  static void keep_better(const Weights& weights, Nanoseconds value, Result& result) {
    if (value > result.value) result = {value, weights};
  }

  [[nodiscard]] bool is_limited(std::size_t device) const {
    return problem_.capacity(DeviceId(device)).value_or(Bytes()) > Bytes();
  }

  /// A full memory counts like a stream that is busy all the time, as far as that is known.
  [[nodiscard]] double time_per_byte(std::size_t device, Nanoseconds value) const {
    if (!is_limited(device)) return 0;
    return static_cast<double>(std::max(known_, value)) /
           static_cast<double>(problem_.capacity(DeviceId(device))->value());
  }

  [[nodiscard]] Weights prices(const std::vector<double>& weight, Nanoseconds value) const {
    const double largest = *std::max_element(weight.begin(), weight.end());
    Weights result(machines_ + devices_, 0);
    if (largest <= 0) return result;
    for (std::size_t i = 0; i < weight.size(); ++i) {
      const double unit = i < machines_ ? (used_[i] ? 1 : 0) : time_per_byte(i - machines_, value);
      result[i] = static_cast<std::int64_t>(std::min(weight[i] / largest * unit, kMostUnit) * kScale);
    }
    return result;
  }

  void count_readers() {
    readers_.assign(problem_.graph().parameters().size(), 0);
    for (std::size_t g = 0; g < problem_.group_count(); ++g) {
      for (const ParameterId parameter : problem_.parameters_of(GroupId(g))) ++readers_[parameter.index()];
    }
  }

  /// A device that has several replicas of a parameter keeps it once.
  [[nodiscard]] std::int64_t bytes_of(GroupId group) const {
    std::int64_t bytes = 0;
    for (const ParameterId parameter : problem_.parameters_of(group)) {
      bytes += problem_.persistent_bytes(parameter).value() / readers_[parameter.index()];
    }
    return bytes;
  }

  void collect_items() {
    std::map<std::pair<std::size_t, const OptionList*>, std::size_t> alone;  // by variant: groups of one task
    double entries = 0;
    for (std::size_t g = 0; g < problem_.group_count(); ++g) {
      const auto tasks = problem_.tasks_of(GroupId(g));
      const OptionList& options = r_.placement().options(GroupId(g));
      if (tasks.size() == 1) {
        const Task& task = problem_.task(tasks.front());
        const std::size_t variant = task.op.index() * problem_.settings().training.replicas + task.replica;
        const auto [entry, is_new] = alone.try_emplace({variant, &options}, items_.size());
        if (!is_new) {
          ++items_[entry->second].count;
          continue;
        }
      }
      entries += static_cast<double>(options.sets.size() * streams_);
      if (entries > kMostSets) return;
      Item item{1, bytes_of(GroupId(g)), &options, std::vector<Nanoseconds>(options.sets.size() * streams_, 0)};
      std::map<std::size_t, std::vector<Nanoseconds>> known;  // durations by variant
      for (const TaskId task : tasks) {
        const Task& t = problem_.task(task);
        auto [entry, is_new] = known.try_emplace(t.op.index() * problem_.settings().training.replicas + t.replica);
        if (is_new) entry->second = durations(task, options);
        for (std::size_t i = 0; i < options.sets.size(); ++i) {
          for (std::size_t s = 0; s < streams_; ++s) {
            if ((problem_.streams(task) >> s & 1U) != 0) item.load[i * streams_ + s] += entry->second[i];
          }
        }
      }
      items_.push_back(std::move(item));
    }
    usable_ = true;
    rounds_ = std::clamp(static_cast<int>(kMostSetWork / std::max(entries, 1.0)), kFewestRounds, kMostRounds);
    // Without a choice the streams one by one say more, and with equal choices equal weights are best.
    if (std::all_of(items_.begin(), items_.end(), [](const Item& item) { return item.options->sets.size() == 1; })) {
      return;
    }
    for (const Item& item : items_) {
      memory_binds_ = memory_binds_ || item.bytes > 0;
      unequal_ = unequal_ || item.options != items_.front().options;
      for (std::size_t i = streams_; i < item.load.size(); ++i) {
        unequal_ = unequal_ || item.load[i] != item.load[i - streams_];
      }
    }
    // Where devices are equal in all this, an equal share for each is best, and it fits if anything does.
    bool capacities_differ = false;
    bool any_limited = false;
    for (std::size_t d = 0; d < devices_; ++d) {
      capacities_differ = capacities_differ || problem_.capacity(DeviceId(d)) != problem_.capacity(DeviceId(0));
      any_limited = any_limited || is_limited(d);
    }
    memory_binds_ = memory_binds_ && any_limited && (capacities_differ || unequal_);
  }

  [[nodiscard]] std::vector<Nanoseconds> durations(TaskId task, const OptionList& options) const {
    std::vector<Nanoseconds> result(options.sets.size(), std::numeric_limits<Nanoseconds>::max());
    DeviceSet devices;
    for (ModeIndex m = 0; m < problem_.mode_count(task); ++m) {
      const Mode mode = problem_.mode(task, m);
      devices.assign(mode.devices.begin(), mode.devices.end());
      const auto found = std::lower_bound(options.sets.begin(), options.sets.end(), devices);
      if (found == options.sets.end() || *found != devices) continue;
      Nanoseconds& least = result[static_cast<std::size_t>(found - options.sets.begin())];
      least = std::min(least, mode.duration.value());
    }
    return result;
  }

  /// Least head and tail of what may run on each machine.
  void find_ends(const Ends& ends) {
    constexpr Nanoseconds kNever = std::numeric_limits<Nanoseconds>::max();
    used_.assign(machines_, false);
    head_.assign(machines_, kNever);
    tail_.assign(machines_, kNever);
    std::map<std::pair<const OptionList*, std::uint32_t>, std::pair<Nanoseconds, Nanoseconds>> least;
    for (Index task = 0; task < r_.task_count(); ++task) {
      auto& [head, tail] =
          least.try_emplace({&r_.options(task), problem_.streams(TaskId(task))}, kNever, kNever).first->second;
      head = std::min(head, ends.head[task]);
      tail = std::min(tail, ends.tail[task]);
    }
    for (const auto& [key, ends_of_key] : least) {
      for (const DeviceId device : key.first->any) {
        for (std::size_t s = 0; s < streams_; ++s) {
          if ((key.second >> s & 1U) == 0) continue;
          const std::size_t machine = device.index() * streams_ + s;
          used_[machine] = true;
          head_[machine] = std::min(head_[machine], ends_of_key.first);
          tail_[machine] = std::min(tail_[machine], ends_of_key.second);
        }
      }
    }
  }

  /// The bound that the weights prove; adds the work and bytes of the least weighted sets.
  Nanoseconds evaluate(const Weights& weight, std::vector<double>* load) const {
    Wide total = 0;
    Wide sum = 0;
    for (std::size_t i = 0; i < machines_; ++i) {
      sum += weight[i];
      if (used_[i]) total += Wide{weight[i]} * (Wide{head_[i]} + tail_[i]);
    }
    for (std::size_t d = 0; d < devices_; ++d) {
      if (weight[machines_ + d] > 0) total -= Wide{weight[machines_ + d]} * problem_.capacity(DeviceId(d))->value();
    }
    if (sum == 0) return 0;
    for (const Item& item : items_) {
      Wide least = -1;
      std::size_t chosen = 0;
      for (std::size_t i = 0; i < item.options->sets.size(); ++i) {
        Wide cost = 0;
        for (const DeviceId device : item.options->sets[i]) {
          for (std::size_t s = 0; s < streams_; ++s) {
            cost += Wide{weight[device.index() * streams_ + s]} * item.load[i * streams_ + s];
          }
          cost += Wide{weight[machines_ + device.index()]} * item.bytes;
        }
        if (least < 0 || cost < least) {
          least = cost;
          chosen = i;
        }
      }
      total += least * item.count;
      if (load == nullptr) continue;
      const auto count = static_cast<double>(item.count);
      for (const DeviceId device : item.options->sets[chosen]) {
        for (std::size_t s = 0; s < streams_; ++s) {
          (*load)[device.index() * streams_ + s] += count * static_cast<double>(item.load[chosen * streams_ + s]);
        }
        (*load)[machines_ + device.index()] += count * static_cast<double>(item.bytes);
      }
    }
    return total <= 0 ? 0 : static_cast<Nanoseconds>((total + sum - 1) / sum);
  }

  const Relaxation& r_;
  const Problem& problem_;
  const Nanoseconds known_;
  const std::size_t devices_;
  const std::size_t streams_;
  const std::size_t machines_;  // device-major
  bool usable_ = false;
  int rounds_ = kFewestRounds;
  bool unequal_ = false;
  bool memory_binds_ = false;          // there is memory to run out of, and something to fill it
  std::vector<std::int64_t> readers_;  // groups by parameter
  std::vector<Item> items_;
  std::vector<bool> used_;
  std::vector<Nanoseconds> head_;
  std::vector<Nanoseconds> tail_;
};

}  // namespace

std::optional<LowerBound> subset_load_bound(const BoundContext& context) {
  const WeightedLoad load(context);
  if (!load.usable()) return std::nullopt;
  const WeightedLoad::Result best = load.best(context.budget);
  if (best.weights.empty()) return std::nullopt;
  const auto memories = best.weights.begin() + static_cast<std::ptrdiff_t>(load.machines());
  const auto is_weighted = [](std::int64_t weight) { return weight > 0; };
  const auto streams = std::count_if(best.weights.begin(), memories, is_weighted);
  const auto limits = std::count_if(memories, best.weights.end(), is_weighted);
  return LowerBound{"subset-load", Duration(best.value),
                    fmt::format("{} weighted streams of devices", streams) +
                        (limits > 0 ? fmt::format(", {} weighted memories", limits) : "")};
}

}  // namespace opweave::bounds
