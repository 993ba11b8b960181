#include <algorithm>

#include "list_scheduling/list_schedule.h"
#include "opweave/partition.h"
#include "partition/local_search.h"
#include "partition/period_bound.h"
#include "partition/period_model.h"
#include "placement/placement.h"

namespace opweave {
namespace {

using namespace partition;

/// Parts of the capacities that parameters may take: where a placement leaves too little memory for what is computed,
/// the next part is tried.
constexpr double kMemoryShares[] = {1, 0.9, 0.75, 0.5, 0.25};

class PeriodSearch {
 public:
  PeriodSearch(const Problem& problem, const Budget& budget, const PeriodOptions& options)
      : problem_(problem),
        budget_(budget),
        options_(options),
        joined_(PeriodModel::create(problem, true)),
        apart_(PeriodModel::create(problem, false)) {}

  PeriodAnswer run() {
    bound_ = period_load_bound(problem_, std::numeric_limits<double>::infinity(), budget_);
    for (const PlacementGuess& guess : guess_placements(problem_)) note(guess.modes, guess.method);
    schedule_best();
    for (const double share : kMemoryShares) {
      if (is_proven() || budget_.expired()) break;
      const std::size_t known = candidates_.size();
      if (joined_) search(*joined_, share, budget_.share(0.5));
      if (apart_) search(*apart_, share, budget_.share(0.3));
      schedule_best();
      // What was found fits, or nothing was found: less memory would only restrict the search.
      if (schedule_ && (candidates_.size() == known || scheduled_ >= known)) break;
    }
    if (schedule_ && !is_proven()) {
      const LoadBound better = period_load_bound(problem_, load_, budget_);
      if (better.value > bound_.value) bound_ = better;
    }
    return answer();
  }

 private:
  /// A placement and its largest load (ns).
  struct Candidate {
    std::vector<ModeIndex> modes;
    double load;
    std::string method;
    bool is_tried = false;
  };

  [[nodiscard]] bool is_proven() const {
    return schedule_ && period_of(problem_, bound_.value) >= period_of(problem_, load_);
  }

  void note(const std::vector<ModeIndex>& modes, const std::string& method) {
    const std::optional<PeriodModel>& model = apart_ ? apart_ : joined_;
    const auto assignment = model ? model->assignment(modes) : std::nullopt;
    if (!assignment) return;
    const double load = LoadState(model->model(), *assignment).largest_load();
    if (model->is_routed(load)) candidates_.push_back({modes, load, method});
  }

  /// Improves the candidates.
  void search(const PeriodModel& period, double memory_share, const Budget& budget) {
    LoadModel model = period.model();
    for (double& capacity : model.capacity) capacity *= memory_share;
    std::vector<Assignment> starts;
    for (const Candidate& candidate : candidates_) {
      auto assignment = period.assignment(candidate.modes);
      if (!assignment) continue;
      const LoadState state(model, *assignment);
      if (state.excess_bytes() == 0 && state.clashes() == 0) starts.push_back(std::move(*assignment));
    }
    if (starts.empty()) return;
    SearchOptions search;
    search.seed = options_.seed;
    search.good_enough = bound_.value;
    const SearchAnswer found = improve_assignment(model, starts, budget, search);
    work_ += found.work;
    const bool is_better = std::none_of(candidates_.begin(), candidates_.end(),
                                        [&](const Candidate& known) { return known.load <= found.value; });
    if (is_better) candidates_.push_back({period.modes(found.assignment), found.value, "period search"});
  }

  /// Schedules the candidate of least load that has a schedule within memory.
  void schedule_best() {
    std::vector<std::size_t> order(candidates_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return candidates_[a].load < candidates_[b].load; });
    for (const std::size_t i : order) {
      Candidate& candidate = candidates_[i];
      if (schedule_ && candidate.load >= load_) return;
      if (candidate.is_tried) continue;
      candidate.is_tried = true;
      // Order does not change the period; a short makespan is welcome all the same.
      auto schedule = shortest_list_schedule(problem_, candidate.modes, budget_);
      if (!schedule) continue;
      schedule_ = std::move(schedule);
      load_ = candidate.load;
      method_ = candidate.method;
      scheduled_ = i;
      return;
    }
  }

  PeriodAnswer answer() {
    PeriodAnswer result;
    result.bound = {bound_.name, period_of(problem_, bound_.value), {}};
    result.work = work_;
    if (!schedule_) return result;
    result.period = statistics(problem_, *schedule_).period;
    result.schedule = std::move(schedule_);
    result.proven = result.bound.value >= result.period;
    result.method = method_;
    return result;
  }

  const Problem& problem_;
  const Budget& budget_;
  const PeriodOptions& options_;
  std::optional<PeriodModel> joined_;  ///< copies that nothing binds stay together
  std::optional<PeriodModel> apart_;   ///< they may part
  LoadBound bound_;
  std::vector<Candidate> candidates_;
  std::optional<Schedule> schedule_;
  double load_ = std::numeric_limits<double>::infinity();
  std::string method_;
  std::size_t scheduled_ = 0;  ///< index of the candidate that was scheduled
  std::uint64_t work_ = 0;
};

}  // namespace

PeriodAnswer minimise_period(const Problem& problem, const Budget& budget, const PeriodOptions& options) {
  return PeriodSearch(problem, budget, options).run();
}

}  // namespace opweave
