#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "bounds/bound_context.h"
#include "bounds/device_order.h"

namespace opweave::bounds {
namespace {

/// Steps of one question about one device, for each copy that runs there: a microsecond each. Where the bound is soon
/// found if it is of use, few are enough; then again with more.
constexpr std::size_t kFewSteps[] = {32, 256};
/// Steps of one question about several devices, or about one that needs more.
constexpr std::size_t kSteps = 150'000;
/// The same for all questions until one raises the bound, and for all.
constexpr std::size_t kVainSteps = 150'000;
constexpr std::size_t kAllSteps = 1'500'000;
/// The last three grow with the time that there is, from this many seconds up, at most so many times.
constexpr double kSeconds = 0.5;
constexpr double kMostEffort = 6;
/// The bound is searched in steps of this part of it, down to this part.
constexpr Nanoseconds kFirstStep = 64;
constexpr Nanoseconds kLastStep = 4096;
/// Of following precedences, in steps: one per so many.
constexpr std::size_t kEdgesPerStep = 100;

/// A stream of a device with limited memory.
struct Place {
  const MemoryPool* pool;
  StreamId stream;
  std::vector<Index> classes;  ///< that take time there
};
using Places = std::vector<const Place*>;

std::vector<Place> find_places(const BoundContext& context) {
  const Relaxation& relaxation = context.relaxation;
  const Problem& problem = relaxation.problem();
  std::vector<Place> places;
  for (const MemoryPool& pool : context.pools.pools()) {
    if (pool.kind != MemoryPoolKind::kDevice || !pool.capacity) continue;
    for (std::size_t s = 0; s < problem.cluster().stream_names().size(); ++s) {
      Place place{&pool, StreamId(s), {}};
      std::size_t most_copies = 0;
      for (const Index member : pool.members) {
        const std::vector<Index>& tasks = relaxation.classes()[member].tasks;
        const bool is_here = (problem.streams(TaskId(tasks.front())) >> s & 1U) != 0;
        if (!is_here || relaxation.duration(tasks.front()) == 0) continue;  // occupies nothing
        place.classes.push_back(member);
        most_copies = std::max(most_copies, tasks.size());
      }
      if (place.classes.empty() || place.classes.size() > DeviceOrder::kMostOperators) continue;
      if (most_copies > DeviceOrder::kMostCopies) continue;
      places.push_back(std::move(place));
    }
  }
  return places;
}

/// The work of some places, and what lies between as time that passes.
class WorkBuilder {
 public:
  explicit WorkBuilder(const BoundContext& context)
      : context_(context),
        relaxation_(context.relaxation),
        operator_of_(relaxation_.classes().size(), detail::kNoIndex),
        distance_(relaxation_.task_count(), kUnreached) {}

  DeviceWork build(const Places& places) {
    work_ = {};
    work_.streams = static_cast<Index>(places.size());
    add_operators(places);
    for (Index from = 0; from < classes_.size(); ++from) add_lags(from);
    for (Index p = 0; p < places.size(); ++p) add_values(*places[p]->pool, p);
    for (const Index c : classes_) operator_of_[c] = detail::kNoIndex;
    return std::move(work_);
  }
  /// Precedences that were followed so far.
  [[nodiscard]] std::size_t edges() const { return edges_; }

 private:
  static constexpr Nanoseconds kUnreached = -1;

  [[nodiscard]] const std::vector<Index>& tasks(Index op) const { return relaxation_.classes()[classes_[op]].tasks; }

  void add_operators(const Places& places) {
    std::vector<std::pair<Index, Index>> members;  // by class, which is a topological order
    for (Index p = 0; p < places.size(); ++p) {
      for (const Index c : places[p]->classes) members.emplace_back(c, p);
    }
    std::sort(members.begin(), members.end());
    classes_.clear();
    for (const auto& [task_class, place] : members) {
      operator_of_[task_class] = static_cast<Index>(classes_.size());
      classes_.push_back(task_class);
      DeviceWork::Operator& op = work_.operators.emplace_back();
      op.stream = place;
      op.duration = relaxation_.duration(tasks(operator_of_[task_class]).front());
      for (const Index task : tasks(operator_of_[task_class])) {
        op.heads.push_back(context_.ends.head[task]);
        op.tails.push_back(context_.ends.tail[task]);
      }
    }
  }

  /// Longest paths from an operator to those that come next, in the first microbatch: the others are like it.
  /// Ascending ids are a topological order.
  void add_lags(Index from) {
    const Index source = tasks(from).front();
    Index end = source;
    for (Index op = 0; op < classes_.size(); ++op) end = std::max(end, tasks(op).front());
    std::vector<Index> reached = {source};
    distance_[source] = 0;
    for (Index task = source; task <= end; ++task) {
      if (distance_[task] == kUnreached) continue;
      const Index op = operator_of_[relaxation_.class_of(task)];
      if (task != source && op != detail::kNoIndex) {
        if (tasks(op).size() == tasks(from).size()) work_.operators[op].after.push_back({from, distance_[task]});
        continue;
      }
      const Nanoseconds ended = task == source ? 0 : distance_[task] + relaxation_.duration(task);
      for (const Edge& edge : relaxation_.after(task)) {
        ++edges_;
        if (edge.task > end) continue;
        if (distance_[edge.task] == kUnreached) reached.push_back(edge.task);
        distance_[edge.task] = std::max(distance_[edge.task], ended + edge.delay);
      }
    }
    for (const Index task : reached) distance_[task] = kUnreached;
  }

  void add_values(const MemoryPool& pool, Index place) {
    work_.capacities.push_back(*pool.capacity);
    for (std::size_t v = 0; v < pool.values.size(); ++v) {
      DeviceWork::Value value{place, pool.values[v].bytes, {}, {}};
      for (Index op = 0; op < classes_.size(); ++op) {
        if (work_.operators[op].stream != place || tasks(op).size() != pool.values[v].count) continue;
        const std::size_t member = pool.member(classes_[op]);
        if (pool.taken_by(member, v)) value.takers.push_back(op);
        if (pool.kept_by(member, v)) value.keepers.push_back(op);
      }
      if (!value.takers.empty() && !value.keepers.empty()) work_.values.push_back(std::move(value));
    }
  }

  const BoundContext& context_;
  const Relaxation& relaxation_;
  DeviceWork work_;
  std::vector<Index> classes_;      // by operator
  std::vector<Index> operator_of_;  // by class
  std::vector<Nanoseconds> distance_;
  std::size_t edges_ = 0;
};

/// Devices one by one, then the one that says most with its neighbours, as long as that raises the bound.
class Climb {
 public:
  explicit Climb(const BoundContext& context)
      : context_(context),
        builder_(context),
        places_(find_places(context)),
        known_(context.known),
        effort_(
            static_cast<std::size_t>(std::clamp(context.budget.remaining().value_or(0) / kSeconds, 1.0, kMostEffort))) {
  }

  std::optional<LowerBound> run() {
    Places best;
    std::vector<Single> singles = build_singles();
    for (const std::size_t* few = std::begin(kFewSteps); few <= std::end(kFewSteps); ++few) {
      for (Single& single : singles) {
        if (single.verdict == Verdict::kFits) continue;  // what fits into a makespan fits into all above
        const std::size_t most = few == std::end(kFewSteps) ? effort_ * kSteps : *few * single.order.copies();
        single.verdict = raise(single.order, most);
        if (single.verdict == Verdict::kRaised) best = {single.place};
      }
    }
    for (Places from = best; !from.empty();) from = extend(from, best);
    if (best.empty()) return std::nullopt;
    return LowerBound{"device-order", Duration(known_),
                      fmt::format("{}: no order of their work, with their memory and the time that passes elsewhere, "
                                  "is shorter",
                                  names(best))};
  }

 private:
  enum class Verdict : std::uint8_t {
    kUnknown,
    kFits,    ///< the places prove nothing more than is known
    kRaised,  ///< they did prove more
  };

  struct Single {
    const Place* place;
    DeviceOrder order;
    Nanoseconds lags;  ///< in all
    Verdict verdict = Verdict::kUnknown;
  };

  /// One place each. Where less time passes elsewhere, fewer copies are under way, and a question takes fewer steps.
  std::vector<Single> build_singles() {
    std::vector<Single> singles;
    for (const Place& place : places_) {
      if (is_spent()) break;
      DeviceWork work = builder_.build({&place});
      Nanoseconds lags = 0;
      for (const DeviceWork::Operator& o : work.operators) {
        for (const DeviceWork::Lag& lag : o.after) lags += lag.delay;
      }
      steps_ = builder_.edges() / kEdgesPerStep;
      singles.push_back({&place, DeviceOrder(std::move(work)), lags});
    }
    std::stable_sort(singles.begin(), singles.end(), [](const Single& a, const Single& b) { return a.lags < b.lags; });
    return singles;
  }

  /// The places with a neighbour that raises the bound, the last one that does; else with all neighbours, which may
  /// hold each other up; nothing when that is too much. Places that raised the bound are noted as the best.
  Places extend(const Places& from, Places& best) {
    const auto ask = [&](const Places& places) {
      if (operators(places) > DeviceOrder::kMostOperators || is_spent()) return Verdict::kUnknown;
      DeviceOrder order(builder_.build(places));
      const Verdict verdict = raise(order, effort_ * kSteps);
      if (verdict == Verdict::kRaised) best = places;
      return verdict;
    };
    Places raised;
    Places with_all = from;
    for (const Place& place : places_) {
      if (!is_beside(place, from)) continue;
      with_all.push_back(&place);
      Places with_one = from;
      with_one.push_back(&place);
      if (ask(with_one) == Verdict::kRaised) raised = with_one;
    }
    if (!raised.empty()) return raised;
    if (with_all.size() < from.size() + 2 || ask(with_all) == Verdict::kUnknown) return {};
    return with_all;
  }

  [[nodiscard]] static std::size_t operators(const Places& places) {
    std::size_t result = 0;
    for (const Place* place : places) result += place->classes.size();
    return result;
  }

  /// Raises the bound as far as the order proves, in growing, then halved steps.
  Verdict raise(DeviceOrder& order, std::size_t most) {
    if (is_spent()) return Verdict::kUnknown;
    const auto ask = [&](Nanoseconds limit) {
      const std::optional<Nanoseconds> value = order.least_from(limit, most, context_.budget);
      steps_ += order.steps();
      // Where there is no order at all, there is no plan, which is not for a bound to say.
      if (!value || value == DeviceOrder::kNoOrder) return Verdict::kUnknown;
      if (*value == limit) return Verdict::kFits;
      known_ = *value;
      return Verdict::kRaised;
    };
    if (const Verdict first = ask(known_); first != Verdict::kRaised) return first;
    const Nanoseconds last_step = std::max<Nanoseconds>(1, known_ / kLastStep);
    Nanoseconds step = std::max<Nanoseconds>(1, known_ / kFirstStep);
    Nanoseconds beyond = 0;  // where nothing is proven
    while (!is_spent()) {
      const Nanoseconds limit = known_ + step;
      if (ask(limit) != Verdict::kRaised) beyond = limit;
      if (beyond != 0) step = (beyond - known_) / 2;
      if (step < last_step) break;
    }
    // Where durations are round the next possible value is not far.
    for (Nanoseconds before = 0; before + last_step < known_ && !is_spent();) {
      before = known_;
      if (ask(known_) != Verdict::kRaised) break;
    }
    return Verdict::kRaised;
  }

  [[nodiscard]] bool is_spent() const {
    return steps_ >= effort_ * (known_ > context_.known ? kAllSteps : kVainSteps) || context_.budget.expired();
  }

  /// Whether a task there comes right before or after one of the others.
  [[nodiscard]] bool is_beside(const Place& place, const Places& others) const {
    if (std::find(others.begin(), others.end(), &place) != others.end()) return false;
    const auto holds_any = [&](const std::vector<Index>& classes) {
      return std::any_of(classes.begin(), classes.end(), [&](Index c) {
        return std::any_of(others.begin(), others.end(), [&](const Place* other) {
          return std::binary_search(other->classes.begin(), other->classes.end(), c);
        });
      });
    };
    return std::any_of(place.classes.begin(), place.classes.end(), [&](Index c) {
      const TaskClass& task_class = context_.relaxation.classes()[c];
      return holds_any(task_class.predecessors) || holds_any(task_class.successors);
    });
  }

  [[nodiscard]] std::string names(const Places& places) const {
    std::string result;
    for (const Place* place : places) {
      result +=
          (result.empty() ? "" : "; ") + describe(context_.relaxation.problem(), place->pool->devices, place->stream);
    }
    return result;
  }

  const BoundContext& context_;
  WorkBuilder builder_;
  const std::vector<Place> places_;
  Nanoseconds known_;
  const std::size_t effort_;
  std::size_t steps_ = 0;
};

}  // namespace

std::optional<LowerBound> device_order_bound(const BoundContext& context) { return Climb(context).run(); }

}  // namespace opweave::bounds
