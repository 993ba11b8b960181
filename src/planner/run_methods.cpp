#include "planner/run_methods.h"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "planner/side_by_side.h"

namespace opweave {
namespace {

/// Seconds of the first round of a thread.
constexpr double kFirstRound = 0.5;
/// Evaluations of the first part: a search takes as long to begin as some ten of them.
constexpr std::uint64_t kFirstPart = 100;
/// Between the seeds of searches side by side, each of which uses one per slice.
constexpr std::uint64_t kSeedsPerSearch = 1000;

/// A method at work.
struct Entry {
  const MethodRow* row;
  double share;
  std::vector<std::unique_ptr<SearchMethod>> searches;  ///< several on threads of their own
};

class Runner {
 public:
  Runner(std::span<const MethodRow> rows, SearchContext& context, SearchMethod* alone, const Budget& budget,
         IncumbentStore& incumbent)
      : context_(context), alone_(alone), budget_(budget.until(&incumbent.is_final())), incumbent_(incumbent) {
    for (const MethodRow& row : rows) {
      const bool is_forbidden = row.threads == MethodThreads::kOwn && context.options.method == Method::kHeuristic;
      const bool is_wanted = row.phase != MethodPhase::kFirstPlans && !is_forbidden && alone == nullptr;
      if (is_wanted && row.supports(context.traits)) rows_.push_back(&row);
    }
  }

  void run_by_clock() {
    for (const MethodRow* row : rows_) {
      if (row->phase != MethodPhase::kBefore || has_own_thread(*row)) continue;
      const Slice slice{budget_.share(row->share(context_.traits)), std::nullopt, threads_};
      make(*row, 0)->advance(incumbent_, slice);
      if (budget_.expired() || budget_.remaining().value_or(context_.step) < context_.step) return;
    }
    std::vector<Worker> workers = assign();
    side_by_side(workers.size(), [&](std::size_t i) { run_worker(workers[i]); });
  }

  void run_by_work(std::uint64_t work) {
    std::vector<Entry> entries;
    double of_searches = 0;
    for (const MethodRow* row : rows_) {
      Entry entry{row, row->share(context_.traits), {}};
      const std::size_t count = row->threads == MethodThreads::kEach ? Slice{budget_, work}.parallel_searches() : 1;
      for (std::size_t i = 0; i < count; ++i) entry.searches.push_back(make(*row, i));
      if (row->phase == MethodPhase::kTogether && row->threads != MethodThreads::kOwn) of_searches += entry.share;
      entries.push_back(std::move(entry));
    }
    if (of_searches == 0) of_searches = 1;
    for (std::uint64_t part = kFirstPart; part <= work; part *= 2) {
      work -= part;
      if (alone_ != nullptr) advance(*alone_, part);
      for (Entry& entry : entries) {
        const auto evaluations = static_cast<std::uint64_t>(static_cast<double>(part) * entry.share / of_searches);
        if (evaluations >= entry.row->least_evaluations) advance(entry, evaluations);
      }
    }
  }

 private:
  struct Turn {
    SearchMethod* method;
    double share;  ///< of a round, beside those of the others
    unsigned threads;
  };
  /// Methods that share a thread.
  struct Worker {
    std::vector<Turn> turns;
  };

  [[nodiscard]] bool has_own_thread(const MethodRow& row) const {
    return row.threads == MethodThreads::kOwn && threads_ > 1;
  }

  std::unique_ptr<SearchMethod> make(const MethodRow& row, std::size_t search) {
    return row.make(context_, context_.options.seed + kSeedsPerSearch * search);
  }

  /// By the clock: who works on which thread of the last phase.
  std::vector<Worker> assign() {
    if (alone_ != nullptr) return {Worker{{{alone_, 1, threads_}}}};
    std::vector<Turn> solvers;
    for (const MethodRow* row : rows_) {
      if (row->threads != MethodThreads::kOwn || (row->phase != MethodPhase::kTogether && !has_own_thread(*row)))
        continue;
      made_.push_back(make(*row, 0));
      if (!made_.back()->is_done()) solvers.push_back({made_.back().get(), row->share(context_.traits), 1});
    }
    const unsigned searching = threads_ > 1 && !solvers.empty() ? threads_ - 1 : threads_;
    std::vector<Worker> workers(searching);
    for (const MethodRow* row : rows_) {
      if (row->phase != MethodPhase::kTogether || row->threads == MethodThreads::kOwn) continue;
      const std::size_t count = row->threads == MethodThreads::kEach ? searching : 1;
      for (std::size_t i = 0; i < count; ++i) {
        made_.push_back(make(*row, i));
        workers[i].turns.push_back(
            {made_.back().get(), row->share(context_.traits), row->threads == MethodThreads::kAll ? searching : 1});
      }
    }
    std::erase_if(workers, [](const Worker& worker) { return worker.turns.empty(); });
    if (solvers.empty()) return workers;
    if (threads_ > 1 || workers.empty()) workers.emplace_back();
    std::vector<Turn>& turns = workers.back().turns;
    turns.insert(turns.end(), solvers.begin(), solvers.end());
    return workers;
  }

  void run_worker(Worker& worker) {
    for (double round = kFirstRound; !budget_.expired() && !worker.turns.empty(); round *= 2) {
      double all = 0;
      for (const Turn& turn : worker.turns) all += turn.share;
      // A last round that would be cut short is shared out over what is left instead.
      const double left = budget_.remaining().value_or(round);
      if (left < 2 * round) round = left;
      for (const Turn& turn : worker.turns) {
        if (budget_.expired()) return;
        const double seconds = worker.turns.size() == 1 ? left : round * turn.share / all;
        const double rest = budget_.remaining().value_or(seconds);
        turn.method->advance(
            incumbent_, {budget_.share(std::min(1.0, seconds / std::max(1e-9, rest))), std::nullopt, turn.threads});
      }
      std::erase_if(worker.turns, [](const Turn& turn) { return turn.method->is_done(); });
    }
  }

  void advance(SearchMethod& method, std::uint64_t evaluations) {
    if (method.is_done() || incumbent_.is_optimal() || budget_.expired()) return;
    method.advance(incumbent_, {budget_, evaluations, threads_});
  }

  /// Searches side by side begin from the same incumbent, and none sees what the others find meanwhile.
  void advance(Entry& entry, std::uint64_t evaluations) {
    if (entry.searches.size() == 1) return advance(*entry.searches.front(), evaluations);
    if (incumbent_.is_optimal() || budget_.expired()) return;
    std::deque<IncumbentStore> found;
    for (std::size_t i = 0; i < entry.searches.size(); ++i) found.emplace_back(incumbent_, budget_);
    Slice{budget_, evaluations, threads_}.each(entry.searches.size(), [&](std::size_t i, const Slice& slice) {
      if (!entry.searches[i]->is_done()) entry.searches[i]->advance(found[i], slice);
    });
    for (const IncumbentStore& store : found) {
      incumbent_.offer(store.schedule(), store.method());
      for (LowerBound& bound : store.bounds()) incumbent_.raise_bound(std::move(bound));
    }
  }

  SearchContext& context_;
  SearchMethod* const alone_;
  const Budget budget_;
  IncumbentStore& incumbent_;
  const unsigned threads_ = std::max(1U, context_.options.threads);
  std::vector<const MethodRow*> rows_;
  std::vector<std::unique_ptr<SearchMethod>> made_;
};

}  // namespace

void run_methods(std::span<const MethodRow> rows, SearchContext& context, SearchMethod* alone, const Budget& budget,
                 std::optional<std::uint64_t> work, IncumbentStore& incumbent) {
  Runner runner(rows, context, alone, budget, incumbent);
  if (work || !budget.remaining()) {
    runner.run_by_work(work.value_or(kDefaultWork));
  } else {
    runner.run_by_clock();
  }
}

}  // namespace opweave
