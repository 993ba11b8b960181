#include "placement_search/routing_search.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "core/random.h"
#include "placement_search/routing_graph.h"
#include "placement_search/routing_limits.h"
#include "placement_search/routing_timing.h"

namespace opweave {
namespace {

using routing::ExactTiming;
using routing::Graph;
using routing::Insertion;
using routing::kNone;
using routing::Model;
using routing::Node;
using routing::PlacementLimits;
using routing::Time;

/// Tasks of a critical path that are tried in one step; of longer paths, so many are drawn.
constexpr std::size_t kMostLifted = 48;
/// Options of a task that are tried in one step; of more, so many are drawn.
constexpr std::uint32_t kMostOptions = 24;
/// Candidates whose exact times are found in one step, where the graph alone does not give them.
constexpr std::size_t kTimedCandidates = 4;
/// Steps without a new best of the round before the search goes back and is shaken.
constexpr std::uint64_t kPatience = 400;
/// Tasks put somewhere at random to leave a local optimum: at first, and at most.
constexpr std::uint32_t kLeastShake = 2;
constexpr std::uint32_t kMostShake = 12;

/// A change that a step may make: one task, or a group as a whole.
struct Candidate {
  Insertion insertion;
  std::uint32_t group = kNone;  ///< of a change of the whole group
  Time makespan = 0;
  Time through = 0;

  [[nodiscard]] std::pair<Time, Time> cost() const { return {makespan, through}; }
};

}  // namespace

class RoutingSearch::Implementation {
 public:
  Implementation(std::shared_ptr<const Model> model, const Schedule& start, std::uint64_t seed)
      : model_(std::move(model)),
        random_(seed),
        timing_(model_->problem()),
        graph_(model_, start),
        round_best_(graph_),
        base_(graph_),
        limits_(model_, options_of(graph_)),
        tabu_until_(model_->entry_count(), 0),
        best_(start),
        best_makespan_(start.makespan(model_->problem()).value()) {
    seen_.assign(model_->group_count(), 0);
    begin_round();
    base_value_ = round_value_ = value_;
  }

  void advance(std::uint64_t evaluations, const std::function<bool()>& should_stop,
               const std::function<void(const Schedule&)>& on_improvement) {
    on_improvement_ = &on_improvement;
    keep();
    while (evaluations_ < evaluations && !should_stop()) step();
    on_improvement_ = nullptr;
  }

  void adopt(const Schedule& schedule) {
    const Time makespan = schedule.makespan(model_->problem()).value();
    if (makespan >= best_makespan_) return;
    best_ = schedule;
    best_makespan_ = makespan;
    graph_ = Graph(model_, schedule);
    begin_round();
    base_ = graph_;
    base_value_ = value_;
    shake_ = kLeastShake;
  }

  [[nodiscard]] std::uint64_t evaluations() const { return evaluations_; }
  [[nodiscard]] const Schedule& best() const { return best_; }
  [[nodiscard]] Time makespan() const { return best_makespan_; }

 private:
  static std::vector<std::uint32_t> options_of(const Graph& graph) {
    std::vector<std::uint32_t> options;
    for (std::uint32_t g = 0; g < graph.model().group_count(); ++g) {
      options.push_back(graph.option(static_cast<Node>(graph.model().tasks_of(g).front().index())));
    }
    return options;
  }

  /// Makespan of a graph as everything decides; nothing if it does not fit in memory.
  std::optional<Time> value_of(const Graph& graph) {
    if (!model_->needs_exact_timing()) return graph.makespan();
    ++evaluations_;
    return timing_.evaluate(graph);
  }

  /// Takes the present graph as the one to beat.
  void begin_round() {
    limits_ = PlacementLimits(model_, options_of(graph_));
    // A start that fits may exceed the memory when it is timed anew, because that counts on the safe side.
    value_ = value_of(graph_).value_or(std::numeric_limits<Time>::max());
    round_best_ = graph_;
    round_value_ = value_;
    steps_in_vain_ = 0;
    keep();
  }

  /// Remembers the present graph if it is the best ever.
  void keep() {
    if (value_ >= best_makespan_) return;
    best_makespan_ = value_;
    if (model_->needs_exact_timing()) {
      if (!timing_.evaluate(graph_)) return;
      best_ = timing_.schedule();
    } else {
      best_ = graph_.schedule();
    }
    if (on_improvement_ != nullptr && *on_improvement_) (*on_improvement_)(best_);
  }

  void step() {
    ++steps_;
    trace_critical_path();
    collect_candidates();
    const bool moved = model_->needs_exact_timing() ? take_best_timed() : take_best();
    if (moved) keep();
    if (moved && value_ < round_value_) {
      round_value_ = value_;
      round_best_ = graph_;
      steps_in_vain_ = 0;
    } else if (++steps_in_vain_ > kPatience || !moved) {
      restart();
    }
  }

  void trace_critical_path() {
    path_.clear();
    Node last = kNone;
    std::uint32_t found = 0;
    for (const Node node : graph_.order()) {
      if (graph_.end(node) == graph_.makespan() && random_.below(++found) == 0) last = node;
    }
    for (Node node = last; node != kNone; node = graph_.critical_predecessor(node, random_)) path_.push_back(node);
    path_length_ = path_.size();
    if (path_.size() > kMostLifted) {
      for (std::size_t i = 0; i < kMostLifted; ++i) {
        std::swap(path_[i], path_[i + random_.below(path_.size() - i)]);
      }
      path_.resize(kMostLifted);
    }
    if (!model_->needs_exact_timing()) return;
    // Memory and links may make others critical than the graph knows.
    for (std::size_t i = 0; i < 4; ++i) path_.push_back(random_.below(model_->task_count()));
  }

  void collect_candidates() {
    candidates_.clear();
    for (const Node task : path_) {
      const std::uint32_t group = model_->group_of(task);
      const bool is_alone = model_->tasks_of(group).size() == 1;
      graph_.lift(task);
      ++evaluations_;
      if (is_alone) {
        for_some_options(group, [&](std::uint32_t option) {
          if (limits_.allows(group, option)) add(graph_.best_insertion(option, random_));
        });
      } else {
        add(graph_.best_insertion(graph_.option(task), random_));
      }
    }
    add_group_change();
  }

  template <class Visit>
  void for_some_options(std::uint32_t group, Visit visit) {
    const std::uint32_t count = model_->option_count(group);
    if (count <= kMostOptions) {
      for (std::uint32_t option = 0; option < count; ++option) visit(option);
    } else {
      for (std::uint32_t i = 0; i < kMostOptions; ++i) visit(random_.below(count));
    }
  }

  void add(const std::optional<Insertion>& insertion) {
    if (insertion) candidates_.push_back({*insertion, kNone, insertion->makespan, insertion->through});
  }

  /// One group of several tasks on the critical path, on other devices. Costs as much as all the other candidates, so
  /// one per step.
  void add_group_change() {
    std::uint32_t found = 0;
    std::uint32_t group = kNone;
    for (const Node task : path_) {
      const std::uint32_t g = model_->group_of(task);
      if (model_->tasks_of(g).size() == 1 || model_->option_count(g) == 1 || seen_[g] == steps_) continue;
      seen_[g] = steps_;
      if (random_.below(++found) == 0) group = g;
    }
    if (group == kNone) return;
    const auto first = static_cast<Node>(model_->tasks_of(group).front().index());
    std::uint32_t option = random_.below(model_->option_count(group) - 1);
    if (option >= graph_.option(first)) ++option;
    if (!limits_.allows(group, option)) return;
    evaluations_ += model_->tasks_of(group).size();
    rerouted_ = graph_;
    if (!rerouted_->reroute(group, option)) return;
    Candidate candidate;
    candidate.group = group;
    candidate.insertion.task = first;
    candidate.insertion.option = option;
    candidate.makespan = candidate.through = rerouted_->makespan();
    candidates_.push_back(candidate);
  }

  [[nodiscard]] bool is_tabu(const Candidate& candidate) const {
    return tabu_until_[model_->entry(candidate.insertion.task, candidate.insertion.option)] >= steps_;
  }

  /// The task may not come back to the devices that it leaves for about as many steps as there are alternatives.
  void forbid_return(const Candidate& candidate) {
    const Node task = candidate.insertion.task;
    const std::uint32_t options = model_->option_count(model_->group_of(task));
    tabu_until_[model_->entry(task, graph_.option(task))] =
        steps_ + std::min<std::size_t>(path_length_, kMostLifted) + options + random_.below(8);
  }

  void apply(const Candidate& candidate, Graph& graph) {
    if (candidate.group == kNone) {
      graph.apply(candidate.insertion);
    } else {
      graph = *rerouted_;
    }
  }

  void take_options(const Candidate& candidate) {
    limits_.move(model_->group_of(candidate.insertion.task), candidate.insertion.option);
  }

  bool take_best() {
    const Candidate* best = nullptr;
    std::uint32_t ties = 0;
    for (const Candidate& candidate : candidates_) {
      if (is_tabu(candidate) && candidate.makespan >= best_makespan_) continue;
      if (best != nullptr && candidate.cost() > best->cost()) continue;
      ties = best == nullptr || candidate.cost() < best->cost() ? 1 : ties + 1;
      if (random_.below(ties) == 0) best = &candidate;
    }
    if (best == nullptr && !candidates_.empty()) best = &candidates_[random_.below(candidates_.size())];
    if (best == nullptr) return false;
    forbid_return(*best);
    take_options(*best);
    apply(*best, graph_);
    value_ = graph_.makespan();
    return true;
  }

  /// The best few by the graph are timed exactly, and the best of them is taken.
  bool take_best_timed() {
    std::erase_if(candidates_, [&](const Candidate& candidate) {
      return is_tabu(candidate) && candidate.makespan >= best_makespan_;
    });
    const std::size_t timed = std::min(candidates_.size(), 2 * kTimedCandidates);
    std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(timed), candidates_.end(),
                      [](const Candidate& a, const Candidate& b) { return a.cost() < b.cost(); });
    const Candidate* chosen = nullptr;
    std::size_t fitting = 0;
    for (std::size_t i = 0; i < timed && fitting < kTimedCandidates; ++i) {
      Graph changed = graph_;
      apply(candidates_[i], changed);
      const std::optional<Time> value = value_of(changed);
      if (!value) continue;
      ++fitting;
      if (chosen != nullptr && *value >= value_) continue;
      chosen = &candidates_[i];
      value_ = *value;
    }
    if (chosen == nullptr) return false;
    forbid_return(*chosen);
    take_options(*chosen);
    apply(*chosen, graph_);
    return true;
  }

  /// Back to a good graph, which is then shaken: the more, the longer nothing better came of it.
  void restart() {
    shake_ = round_value_ < base_value_ || shake_ == kMostShake ? kLeastShake : shake_ + 1;
    if (round_value_ <= base_value_) {
      base_ = round_best_;
      base_value_ = round_value_;
    }
    graph_ = base_;
    limits_ = PlacementLimits(model_, options_of(graph_));
    std::ranges::fill(tabu_until_, 0);
    for (std::uint32_t i = 0; i < shake_; ++i) shake();
    begin_round();
  }

  void shake() {
    trace_critical_path();
    if (path_.empty()) return;
    const Node task = path_[random_.below(path_.size())];
    const std::uint32_t group = model_->group_of(task);
    std::uint32_t option = graph_.option(task);
    if (model_->tasks_of(group).size() == 1) {
      const std::uint32_t drawn = random_.below(model_->option_count(group));
      if (limits_.allows(group, drawn)) option = drawn;
    }
    graph_.lift(task);
    ++evaluations_;
    const std::optional<Insertion> insertion = graph_.random_insertion(option, random_);
    if (!insertion) return;
    limits_.move(group, option);
    graph_.apply(*insertion);
  }

  std::shared_ptr<const Model> model_;
  Random random_;
  ExactTiming timing_;
  Graph graph_;
  Time value_ = 0;  ///< of graph_
  Graph round_best_;
  Time round_value_ = 0;
  Graph base_;  ///< what rounds begin from
  Time base_value_ = 0;
  PlacementLimits limits_;
  std::vector<std::uint64_t> tabu_until_;  ///< by entry of the model
  Schedule best_;
  Time best_makespan_ = 0;
  std::uint64_t evaluations_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t steps_in_vain_ = 0;
  std::uint32_t shake_ = kLeastShake;
  std::vector<Node> path_;
  std::size_t path_length_ = 0;
  std::vector<Candidate> candidates_;
  std::optional<Graph> rerouted_;
  std::vector<std::uint64_t> seen_;  ///< by group: step in which it was last considered as a whole
  const std::function<void(const Schedule&)>* on_improvement_ = nullptr;
};

RoutingSearch::RoutingSearch(std::shared_ptr<const Model> model, const Schedule& start, std::uint64_t seed)
    : implementation_(std::make_unique<Implementation>(std::move(model), start, seed)) {}

RoutingSearch::~RoutingSearch() = default;

void RoutingSearch::advance(std::uint64_t evaluations, const std::function<bool()>& should_stop,
                            const std::function<void(const Schedule&)>& on_improvement) {
  implementation_->advance(evaluations, should_stop, on_improvement);
}

void RoutingSearch::adopt(const Schedule& schedule) { implementation_->adopt(schedule); }
std::uint64_t RoutingSearch::evaluations() const { return implementation_->evaluations(); }
const Schedule& RoutingSearch::best() const { return implementation_->best(); }
Duration RoutingSearch::makespan() const { return Duration(implementation_->makespan()); }

}  // namespace opweave
