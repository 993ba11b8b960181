#include "bounds/relaxation.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <unordered_map>

namespace opweave::bounds {

class RelaxationBuilder {
 public:
  RelaxationBuilder(Relaxation& result, const Problem& problem)
      : r_(result),
        problem_(problem),
        replicas_(problem.settings().training.replicas),
        variant_count_(problem.graph().operators().size() * replicas_) {}

  void build() {
    measure_tasks();
    connect();
    find_classes();
    connect_classes();
    find_values();
  }

 private:
  /// One operator in one replica: its copies share modes and durations.
  [[nodiscard]] std::size_t variant(std::size_t t) const {
    const Task& task = problem_.task(TaskId(t));
    return task.op.index() * replicas_ + task.replica;
  }
  [[nodiscard]] Index list_of(std::size_t t) const { return r_.placement_.list_of(problem_.group_of(TaskId(t))); }

  void measure_tasks() {
    struct Measure {
      Index list = detail::kNoIndex;
      Nanoseconds duration = 0;
      Nanoseconds work = 0;
      Index widest = 1;
      std::int64_t workspace = 0;
    };
    std::vector<Measure> measured(variant_count_);
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      Measure& m = measured[variant(t)];
      const Index list = list_of(t);
      if (m.list != list) {
        constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
        m = {list, kMost, kMost, 1, kMost};
        measure(TaskId(t), r_.placement_.lists()[list], m);
        if (m.duration == 0) m.workspace = 0;
      }
      r_.duration_.push_back(m.duration);
      r_.work_.push_back(m.work);
      r_.widest_.push_back(m.widest);
      r_.workspace_.push_back(m.workspace);
    }
  }

  template <class Measure>
  void measure(TaskId task, const OptionList& options, Measure& m) const {
    // The common case without a look at a thousand devices.
    if (problem_.op(task).modes.empty() && options.sets.size() == problem_.mode_count(task)) {
      m.duration = m.work = problem_.shortest(task).value();
      m.workspace = problem_.mode(task, 0).workspace.value();
      return;
    }
    DeviceSet devices;
    for (ModeIndex i = 0; i < problem_.mode_count(task); ++i) {
      const Mode mode = problem_.mode(task, i);
      devices.assign(mode.devices.begin(), mode.devices.end());
      if (!std::binary_search(options.sets.begin(), options.sets.end(), devices)) continue;
      const auto width = static_cast<std::int64_t>(devices.size());
      m.duration = std::min(m.duration, mode.duration.value());
      m.work = std::min(m.work, mode.duration.value() * width);
      m.widest = std::max(m.widest, static_cast<Index>(width));
      m.workspace = std::min(m.workspace, mode.workspace.value());
    }
  }

  // Precedences.

  void connect() {
    std::vector<std::size_t> after_count(problem_.task_count() + 1, 0);
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      for (const TaskId before : problem_.control_predecessors(TaskId(t))) {
        r_.before_.items.push_back({static_cast<Index>(before.index()), 0});
      }
      for (const ValueId value : problem_.inputs(TaskId(t))) {
        const auto producer = problem_.producer(value);
        if (!producer) continue;
        const auto before = static_cast<Index>(producer->index());
        r_.before_.items.push_back({before, delay(value, before, static_cast<Index>(t))});
      }
      r_.before_.close_list();
      for (const Edge& edge : r_.before_[t]) ++after_count[edge.task + 1];
    }
    std::partial_sum(after_count.begin(), after_count.end(), after_count.begin());
    r_.after_.offsets = after_count;
    r_.after_.items.resize(after_count.back());
    std::vector<std::size_t> next(after_count.begin(), after_count.end() - 1);
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      for (const Edge& edge : r_.before_[t]) {
        r_.after_.items[next[edge.task]++] = {static_cast<Index>(t), edge.delay};
      }
    }
  }

  Nanoseconds delay(ValueId value, Index from, Index to) {
    const GroupId source = problem_.group_of(TaskId(from));
    const GroupId target = problem_.group_of(TaskId(to));
    if (source == target) return 0;
    const auto others = problem_.apart_from(source);
    const bool apart = std::binary_search(others.begin(), others.end(), target);
    const Index a = r_.placement_.list_of(source);
    const Index b = r_.placement_.list_of(target);
    if (!apart && may_meet(a, b)) return 0;
    const Key key{problem_.tensor_of(value).index(), a, b, apart};
    const auto known = delays_.find(key);
    if (known != delays_.end()) return known->second;
    const std::optional<Nanoseconds> least = least_transfer(value, a, b, apart);
    if (!least) {
      r_.unreachable_.push_back(
          fmt::format("tensor \"{}\" must go from operator \"{}\" to operator \"{}\", but no route joins a device of "
                      "the one with a device of the other",
                      problem_.graph().at(problem_.tensor_of(value)).name, problem_.op(TaskId(from)).name,
                      problem_.op(TaskId(to)).name));
    }
    return delays_[key] = least.value_or(0);
  }

  /// Whether two groups can be placed so that the first leaves its outputs where the second runs.
  bool may_meet(Index a, Index b) {
    if (a == b) return true;
    const auto [entry, is_new] = meets_.try_emplace({a, b}, false);
    if (is_new) {
      const OptionList& from = r_.placement_.lists()[a];
      const OptionList& to = r_.placement_.lists()[b];
      if (from.single_devices && to.single_devices) {
        entry->second = !disjoint(from.any, to.any);
      } else {
        for (const DeviceSet& target : to.sets) {
          entry->second = entry->second || std::any_of(from.sets.begin(), from.sets.end(),
                                                       [&](const DeviceSet& set) { return contains(set, target); });
        }
      }
    }
    return entry->second;
  }

  /// Least time until the value is on every device of some set of `b`, made on some set of `a`.
  [[nodiscard]] std::optional<Nanoseconds> least_transfer(ValueId value, Index a, Index b, bool apart) const {
    std::optional<Nanoseconds> least;
    for (const DeviceSet& from : r_.placement_.lists()[a].sets) {
      for (const DeviceSet& to : r_.placement_.lists()[b].sets) {
        if (apart && !disjoint(from, to)) continue;
        std::optional<Nanoseconds> last = 0;  // when the last device of `to` has it
        for (const DeviceId target : to) {
          std::optional<Nanoseconds> first;
          for (const DeviceId source : from) {
            const auto time = problem_.transfer_time(value, source, target);
            if (time) first = first ? std::min(*first, time->value()) : time->value();
          }
          last = first && last ? std::optional(std::max(*last, *first)) : std::nullopt;
        }
        if (last) least = least ? std::min(*least, *last) : *last;
      }
    }
    return least;
  }

  // Classes.

  /// Operators joined by precedences within a microbatch, and whether all copies of all of them are
  /// interchangeable: on the same devices for the same time whatever the placement.
  std::vector<bool> interchangeable_variants() {
    std::vector<std::size_t> parent(variant_count_);
    std::iota(parent.begin(), parent.end(), std::size_t{0});
    const auto find = [&](std::size_t v) {
      while (parent[v] != v) v = parent[v] = parent[parent[v]];
      return v;
    };
    std::vector<bool> alike(variant_count_, true);
    std::vector<GroupId> group(variant_count_);
    std::vector<bool> seen(variant_count_, false);
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      const std::size_t v = variant(t);
      if (is_optimizer(t)) continue;
      if (!seen[v]) {
        seen[v] = true;
        group[v] = problem_.group_of(TaskId(t));
        for (const Edge& edge : r_.before_[t]) parent[find(variant(edge.task))] = find(v);
      } else if (group[v] != problem_.group_of(TaskId(t)) && problem_.mode_count(TaskId(t)) > 1) {
        alike[v] = false;
      }
    }
    std::vector<bool> component(variant_count_, true);
    for (std::size_t v = 0; v < variant_count_; ++v) {
      if (!alike[v]) component[find(v)] = false;
    }
    std::vector<bool> result(variant_count_);
    for (std::size_t v = 0; v < variant_count_; ++v) result[v] = component[find(v)];
    return result;
  }

  [[nodiscard]] bool is_optimizer(std::size_t t) const { return problem_.op(TaskId(t)).phase == Phase::kOptimizer; }

  void find_classes() {
    const std::vector<bool> alike = interchangeable_variants();
    std::vector<Index> class_of_variant(variant_count_, detail::kNoIndex);
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      const std::size_t v = variant(t);
      Index c = class_of_variant[v];
      if (c == detail::kNoIndex || !alike[v] || is_optimizer(t)) {
        c = static_cast<Index>(r_.classes_.size());
        class_of_variant[v] = c;
        r_.classes_.emplace_back();
      }
      r_.class_of_.push_back(c);
      r_.rank_.push_back(static_cast<Index>(r_.classes_[c].tasks.size()));
      r_.classes_[c].tasks.push_back(static_cast<Index>(t));
    }
  }

  void connect_classes() {
    for (Index c = 0; c < r_.classes_.size(); ++c) {
      std::vector<Index>& list = r_.classes_[c].predecessors;
      for (const Edge& edge : r_.before_[r_.classes_[c].tasks.front()]) list.push_back(r_.class_of_[edge.task]);
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
      for (const Index before : list) r_.classes_[before].successors.push_back(c);
    }
  }

  void find_values() {
    for (std::size_t v = 0; v < problem_.value_count(); ++v) {
      const ValueId value(v);
      if (problem_.size(value) == Bytes()) continue;
      const auto consumers = problem_.consumers(value);
      const auto producer = problem_.producer(value);
      if (!producer && consumers.empty()) continue;
      // Tasks of microbatches come before those of optimizers, so the first consumer leads the copies.
      const std::size_t leader = (producer ? *producer : consumers.front()).index();
      if (r_.rank_[leader] != 0) continue;
      ValueClass c;
      c.example = value;
      c.bytes = problem_.size(value).value();
      c.count = static_cast<Index>(r_.classes_[r_.class_of_[leader]].tasks.size());
      if (producer) c.producer = r_.class_of_[leader];
      for (const TaskId consumer : consumers) {
        // Readers of one graph input need not be joined by precedences: where only one of them runs in
        // the order of microbatches, the copies do not correspond, and the other is forgotten.
        const Index reader = r_.class_of_[consumer.index()];
        if (r_.classes_[reader].tasks.size() == c.count || is_optimizer(consumer.index()))
          c.consumers.push_back(reader);
      }
      std::sort(c.consumers.begin(), c.consumers.end());
      c.consumers.erase(std::unique(c.consumers.begin(), c.consumers.end()), c.consumers.end());
      r_.values_.push_back(std::move(c));
    }
  }

  using Key = std::tuple<std::size_t, Index, Index, bool>;

  Relaxation& r_;
  const Problem& problem_;
  const std::size_t replicas_;
  const std::size_t variant_count_;
  std::map<Key, Nanoseconds> delays_;
  std::map<std::pair<Index, Index>, bool> meets_;
};

Relaxation::Relaxation(const Problem& problem) : problem_(problem), placement_(problem) {
  RelaxationBuilder(*this, problem).build();
}

}  // namespace opweave::bounds
