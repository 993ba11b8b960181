#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "bounds/bound_context.h"

namespace opweave::bounds {
namespace {

__extension__ using Wide = __int128;

constexpr double kMostEntries = 2e6;  // group x device set x stream
constexpr int kRounds = 60;
constexpr double kScale = 1 << 20;  // of the integer weights

/// The linear program that spreads the work of groups over streams of devices as evenly as possible,
/// from the side of its dual: any weights y >= 0 of the machines prove
///   T >= (sum over groups of the least weighted work of a device set + sum of y (head + tail)) / sum of y.
/// Good weights are found by multiplicative updates (Arora, Hazan, Kale 2012).
class WeightedLoad {
 public:
  explicit WeightedLoad(const BoundContext& context)
      : r_(context.relaxation),
        problem_(r_.problem()),
        streams_(problem_.cluster().stream_names().size()),
        machines_(problem_.cluster().device_count() * streams_) {
    collect_items();
    if (usable_) find_ends(context.ends);
  }

  /// False if there is nothing to gain over equal weights, or too much to look at.
  [[nodiscard]] bool usable() const { return usable_ && unequal_; }

  struct Result {
    Nanoseconds value = 0;
    std::vector<std::int64_t> weights;
  };

  [[nodiscard]] Result best(const Budget& budget) const {
    Result result;
    std::vector<double> weight(machines_, 0);
    const auto try_weights = [&](const std::vector<double>& w) {
      const double largest = *std::max_element(w.begin(), w.end());
      if (largest <= 0) return;
      std::vector<std::int64_t> integer(machines_, 0);
      for (std::size_t i = 0; i < machines_; ++i) {
        integer[i] = used_[i] ? static_cast<std::int64_t>(w[i] / largest * kScale) : 0;
      }
      const Nanoseconds value = evaluate(integer, nullptr);
      if (value > result.value) result = {value, std::move(integer)};
    };
    for (std::size_t s = 0; s <= streams_; ++s) {  // each stream alone, then all together
      for (std::size_t i = 0; i < machines_; ++i) weight[i] = used_[i] && (s == streams_ || i % streams_ == s) ? 1 : 0;
      std::vector<double> sum(machines_, 0);
      for (int round = 0; round < kRounds && !budget.expired(); ++round) {
        try_weights(weight);
        const double largest = *std::max_element(weight.begin(), weight.end());
        if (largest <= 0) break;
        std::vector<std::int64_t> integer(machines_);
        for (std::size_t i = 0; i < machines_; ++i) {
          integer[i] = static_cast<std::int64_t>(weight[i] / largest * kScale);
          sum[i] += weight[i] / largest;
        }
        std::vector<Nanoseconds> load(machines_, 0);
        (void)evaluate(integer, &load);
        const Nanoseconds most = *std::max_element(load.begin(), load.end());
        if (most == 0) break;
        for (std::size_t i = 0; i < machines_; ++i) {
          weight[i] = weight[i] / largest * (1 + 0.3 * static_cast<double>(load[i]) / static_cast<double>(most));
        }
      }
      try_weights(sum);
    }
    return result;
  }

 private:
  /// Groups alike: the work on each stream of a device, per device set.
  struct Item {
    std::int64_t count = 0;
    const OptionList* options = nullptr;
    std::vector<Nanoseconds> load;  ///< set-major, streams_ per set
  };

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
      if (entries > kMostEntries) return;
      Item item{1, &options, std::vector<Nanoseconds>(options.sets.size() * streams_, 0)};
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
    // Without a choice the streams one by one say more, and with equal choices equal weights are best.
    if (std::all_of(items_.begin(), items_.end(), [](const Item& item) { return item.options->sets.size() == 1; })) {
      return;
    }
    for (const Item& item : items_) {
      unequal_ = unequal_ || item.options != items_.front().options;
      for (std::size_t i = streams_; i < item.load.size(); ++i) {
        unequal_ = unequal_ || item.load[i] != item.load[i - streams_];
      }
    }
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

  /// The bound that the weights prove; adds the loads of the least weighted sets.
  Nanoseconds evaluate(const std::vector<std::int64_t>& weight, std::vector<Nanoseconds>* load) const {
    Wide total = 0;
    Wide sum = 0;
    for (std::size_t i = 0; i < machines_; ++i) {
      sum += weight[i];
      if (used_[i]) total += Wide{weight[i]} * (Wide{head_[i]} + tail_[i]);
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
        }
        if (least < 0 || cost < least) {
          least = cost;
          chosen = i;
        }
      }
      total += least * item.count;
      if (load == nullptr) continue;
      for (const DeviceId device : item.options->sets[chosen]) {
        for (std::size_t s = 0; s < streams_; ++s) {
          (*load)[device.index() * streams_ + s] += item.load[chosen * streams_ + s] * item.count;
        }
      }
    }
    return static_cast<Nanoseconds>((total + sum - 1) / sum);
  }

  const Relaxation& r_;
  const Problem& problem_;
  const std::size_t streams_;
  const std::size_t machines_;  // device-major
  bool usable_ = false;
  bool unequal_ = false;
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
  const auto weighted = std::count_if(best.weights.begin(), best.weights.end(), [](std::int64_t w) { return w > 0; });
  return LowerBound{"subset-load", Duration(best.value), fmt::format("{} weighted streams of devices", weighted)};
}

}  // namespace opweave::bounds
