#include "order_search/order_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "list_scheduling/placed_problem.h"
#include "order_search/order_search_bands.h"
#include "order_search/order_search_moves.h"
#include "order_search/order_search_network.h"
#include "order_search/order_search_parts.h"
#include "order_search/order_search_timing.h"

namespace opweave {
namespace order_search {
namespace {

/// Evaluations when the caller sets no limit at all.
constexpr std::uint64_t kDefaultEvaluations = 1'000'000;
/// The clock is read once per so many timed nodes: an evaluation of a large order takes a while.
constexpr std::uint64_t kNodesPerClockReading = 200'000;
/// Share of the effort with weight gradients as fillers, and how hot the search begins anew when they are ordered too.
constexpr double kShareWithFillers = 0.75;
constexpr double kReheat = 0.2;
/// Last temperature of every annealing, in mean durations.
constexpr double kColdest = 0.01;

/// Relative frequency of each kind of change.
struct Frequency {
  Move move;
  std::uint32_t weight;
};
constexpr Frequency kFrequencies[] = {{Move::kCriticalEarlier, 30}, {Move::kCriticalLater, 25}, {Move::kNode, 10},
                                      {Move::kChunk, 15},           {Move::kMicrobatch, 8},     {Move::kSegment, 6},
                                      {Move::kTimeSpan, 6},         {Move::kTwins, 2}};
/// In a single microbatch there are no others to move.
constexpr Frequency kFrequenciesOfOne[] = {{Move::kCriticalEarlier, 40}, {Move::kCriticalLater, 40}, {Move::kNode, 20}};

/// One annealing run from given starts.
class Annealing {
 public:
  struct Temperature {
    double first;
    double last;
  };

  Annealing(const Network& network, std::span<const Time> starts, std::uint64_t seed)
      : network_(network), timing_(network, kMeanEndWeight), orders_(network, starts, seed) {}

  /// False if the order of the starts does not fit in memory the way Timing counts it.
  bool begin() {
    if (!timing_.evaluate(orders_.order(), 0) || !settle()) return false;
    take();
    return true;
  }

  [[nodiscard]] Time makespan() const { return current_.makespan; }
  [[nodiscard]] std::span<const Time> ends() const { return timing_.ends(); }

  /// Proposes changes until `progress` (asked before each, 0 .. 1, rising) reaches 1.
  template <class Progress, class OnAccept>
  void run(const Temperature& temperature, Progress progress, OnAccept on_accept) {
    const std::span<const Frequency> frequencies = network_.copy_count > 1
                                                       ? std::span<const Frequency>(kFrequencies)
                                                       : std::span<const Frequency>(kFrequenciesOfOne);
    std::uint32_t total = 0;
    for (const Frequency& frequency : frequencies) total += frequency.weight;
    const double cooling = std::log(temperature.last / temperature.first);
    Random& random = orders_.random();
    for (double done = progress(); done < 1; done = progress()) {
      const double now = temperature.first * std::exp(cooling * done);
      std::uint32_t draw = random.below(total);
      const Frequency* chosen = frequencies.data();
      while (draw >= chosen->weight) draw -= (chosen++)->weight;
      if (!orders_.propose(chosen->move, timing_)) continue;
      bool taken = timing_.evaluate(orders_.order(), orders_.first_change());
      if (taken) {
        const double worse = timing_.cost().value - current_.value;
        taken = (worse <= 0 || random.unit() < std::exp(-worse / now)) && settle();
      }
      if (taken) {
        take();
        on_accept();
      } else {
        timing_.reject();
        orders_.reject();
      }
    }
  }

 private:
  /// Weight of the mean device end beside the makespan.
  static constexpr double kMeanEndWeight = 0.5;

  /// Sorts the proposed order by its starts. That keeps the order on every resource and so, mostly, the times; where
  /// memory is counted across resources they may change, and now and then the sorted order does not fit.
  bool settle() { return !orders_.sort(timing_) || timing_.evaluate(orders_.order(), orders_.first_change()); }

  void take() {
    current_ = timing_.cost();
    timing_.accept();
    orders_.accept(timing_);
  }

  const Network& network_;
  Timing timing_;
  Orders orders_;
  Cost current_;
};

/// Starts of the nodes in a schedule of the same placement.
std::vector<Time> starts_of(const PlacedProblem& placed, const Network& network, const Schedule& schedule) {
  const std::vector<Time> of_items = placed.starts(schedule);
  std::vector<Time> starts(network.node_count);
  for (Node node = 0; node < network.node_count; ++node) starts[node] = of_items[network.activity_of_node[node]];
  return starts;
}

/// Share of the limits that is used up; whichever limit is nearer counts.
class Progress {
 public:
  Progress(const Budget& budget, std::uint64_t max_evaluations, std::size_t nodes)
      : budget_(budget), most_(max_evaluations), clock_interval_(1 + kNodesPerClockReading / (1 + nodes)) {}

  /// Asked before every evaluation.
  double next() {
    ++evaluations_;
    const bool unlimited = most_ == std::numeric_limits<std::uint64_t>::max();
    if (evaluations_ % clock_interval_ == 0) {
      if (budget_.expired()) return 1;
      if (const std::optional<double> limit = budget_.time_limit_seconds()) {
        if (!began_) began_ = budget_.elapsed();
        time_share_ = (budget_.elapsed() - *began_) / std::max(1e-9, *limit - *began_);
      }
    }
    if (unlimited && budget_.time_limit_seconds()) return time_share_;
    const std::uint64_t most = unlimited ? kDefaultEvaluations : most_;
    return std::max(time_share_,
                    static_cast<double>(evaluations_) / static_cast<double>(std::max<std::uint64_t>(1, most)));
  }

 private:
  const Budget& budget_;
  const std::uint64_t most_;
  const std::uint64_t clock_interval_;
  std::uint64_t evaluations_ = 0;
  std::optional<double> began_;
  double time_share_ = 0;
};

double mean_duration(const PlacedProblem& placed) {
  double mean = 0;
  for (ActivityId task = 0; task < placed.task_count(); ++task) mean += static_cast<double>(placed.duration(task));
  return std::max(1.0, mean / static_cast<double>(placed.task_count()));
}

class Search {
 public:
  Search(const Problem& problem, const Schedule& start, const Budget& budget, const OrderSearchOptions& options,
         const std::function<void(const Schedule&)>& on_improvement)
      : problem_(problem), budget_(budget), options_(options), on_improvement_(on_improvement), best_(start) {
    best_makespan_ = start.makespan(problem).value();
  }

  /// On a large problem every part of the preparation takes a while: the clock is read after each.
  Schedule run() {
    if (budget_.expired()) return best_;
    const std::optional<PlacedProblem> placed = PlacedProblem::create(problem_, best_.modes());
    if (!placed || placed->task_count() == 0 || budget_.expired()) return best_;
    progress_.emplace(budget_, options_.max_evaluations, placed->activity_count());
    const double mean = mean_duration(*placed);
    double done = 0;
    whole_ = build_network(*placed, 1, options_.likeness);
    if (budget_.expired()) return best_;
    parts_ = equal_parts(whole_, starts_of(*placed, whole_, best_));
    Network& network = parts_ ? parts_->part : whole_;
    if (std::ranges::count(network.fills_gaps, true) > 0) {
      if (anneal(*placed, network, {options_.initial_temperature * mean, kColdest * mean}, done, kShareWithFillers)) {
        done = kShareWithFillers;
      }
      network.order_fillers();
    }
    anneal(*placed, network, {done > 0 ? kReheat * mean : options_.initial_temperature * mean, kColdest * mean}, done,
           1.0);
    return best_;
  }

 private:
  /// Anneals from the best schedule while the progress of the whole search goes from one share to another. False if
  /// its order does not fit in memory the way Timing counts it.
  bool anneal(const PlacedProblem& placed, const Network& network, Annealing::Temperature temperature, double from,
              double to) {
    std::vector<Time> starts = starts_of(placed, whole_, best_);
    if (parts_) starts = parts_->taken(starts);
    if (budget_.expired()) return false;
    Annealing annealing(network, starts, options_.seed);
    if (budget_.expired() || !annealing.begin()) return false;
    const auto keep = [&] {
      if (annealing.makespan() >= best_makespan_) return;
      best_makespan_ = annealing.makespan();
      best_ = placed.schedule(parts_ ? activity_starts(placed, whole_, parts_->spread(annealing.ends()))
                                     : activity_starts(placed, whole_, annealing.ends()));
      if (on_improvement_) on_improvement_(best_);
    };
    keep();
    const auto share = [&] { return (progress_->next() - from) / (to - from); };
    annealing.run(temperature, share, keep);
    return true;
  }

  const Problem& problem_;
  const Budget& budget_;
  const OrderSearchOptions& options_;
  const std::function<void(const Schedule&)>& on_improvement_;
  Schedule best_;
  Time best_makespan_ = 0;
  Network whole_;
  std::optional<EqualParts> parts_;  ///< then one of them is searched for all
  std::optional<Progress> progress_;
};

}  // namespace

void improve_within_bands(const PlacedProblem& placed, const Network& with_fillers, const Network& plain,
                          std::vector<Time>& starts, const Budget& budget, const OrderSearchOptions& options,
                          const OnOrder& on_order) {
  Progress progress(budget, options.max_evaluations, plain.node_count);
  const double mean = mean_duration(placed);
  const auto anneal = [&](const Network& network, double initial, double from, double to) {
    Annealing annealing(network, starts, options.seed);
    if (!annealing.begin()) return false;
    const auto show = [&] { on_order(annealing.ends(), annealing.makespan()); };
    show();
    annealing.run(
        {initial * mean, kColdest * mean}, [&] { return (progress.next() - from) / (to - from); }, show);
    return true;
  };
  const bool has_fillers = std::ranges::count(with_fillers.fills_gaps, true) > 0;
  const bool began = has_fillers && anneal(with_fillers, options.initial_temperature, 0, kShareWithFillers);
  anneal(plain, began ? kReheat : options.initial_temperature, began ? kShareWithFillers : 0, 1);
}

}  // namespace order_search

Schedule improve_order(const Problem& problem, const Schedule& start, const Budget& budget,
                       const OrderSearchOptions& options, const std::function<void(const Schedule&)>& on_improvement) {
  return order_search::Search(problem, start, budget, options, on_improvement).run();
}

}  // namespace opweave
