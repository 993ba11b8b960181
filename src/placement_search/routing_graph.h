/// The disjunctive graph of a routed problem: a choice per group, an order per resource, and the longest paths.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/random.h"
#include "opweave/schedule.h"
#include "placement_search/routing_model.h"

namespace opweave::routing {

/// A task taken out of its place and put into another one.
struct Insertion {
  Node task = kNone;
  std::uint32_t option = 0;
  /// Single resource: the task there behind which it goes; kNone for the front.
  Node behind = kNone;
  /// Several resources: on each, behind the tasks that start before this moment.
  Time moment = 0;
  Time makespan = 0;  ///< of the graph after it; exact for the graph
  Time through = 0;   ///< longest path through the task after it
};

/// Every task starts as early as its predecessors, the lags to them and the order on its resources allow. Memory and
/// contention are not looked at.
class Graph {
 public:
  /// Options and orders of a schedule. \pre it is valid
  Graph(std::shared_ptr<const Model> model, const Schedule& schedule);

  [[nodiscard]] const Model& model() const { return *model_; }
  [[nodiscard]] std::uint32_t option(Node task) const { return option_[model_->group_of(task)]; }
  [[nodiscard]] Time makespan() const { return makespan_; }
  [[nodiscard]] Time start(Node task) const { return head_[task]; }
  [[nodiscard]] Time end(Node task) const { return head_[task] + duration_[task]; }
  /// With transfers when their producers end. Valid where memory and contention do not matter.
  [[nodiscard]] Schedule schedule() const;
  /// All tasks; whatever comes before another one precedes it here.
  [[nodiscard]] std::span<const Node> order() const { return order_; }
  /// One of those that must end just before the task starts; kNone if nothing does.
  [[nodiscard]] Node critical_predecessor(Node task, Random& random) const;

  /// Takes the task out, as far as the next calls of for_each_insertion are concerned.
  /// O(tasks + edges) at most, half of it on average.
  void lift(Node task);
  /// The insertion of the lifted task under an option with the least longest path through it, among those that keep the
  /// graph acyclic and differ from where it is; ties are drawn. O(tasks on the resources of the option).
  [[nodiscard]] std::optional<Insertion> best_insertion(std::uint32_t option, Random& random);
  /// Any of them with the same probability.
  [[nodiscard]] std::optional<Insertion> random_insertion(std::uint32_t option, Random& random);
  /// Puts a task where the insertion says. O(tasks + edges). \pre it was found for this state
  void apply(const Insertion& insertion);

  /// Puts a whole group under an option, each of its tasks where it lengthens the longest path through it least.
  /// False, and the graph is of no use any more, if an input has no route.
  bool reroute(std::uint32_t group, std::uint32_t option);

 private:
  [[nodiscard]] std::size_t slot(Node task, std::size_t k) const { return task * slots_ + k; }
  [[nodiscard]] std::size_t slot_on(Node task, std::uint32_t resource) const;
  [[nodiscard]] std::span<const std::uint32_t> resources(Node task) const {
    return model_->resources(task, option(task));
  }
  void unlink(Node task);
  void link_behind(Node task, std::size_t k, std::uint32_t resource, Node behind);
  /// The task on the resource behind which the lifted task goes if it comes at the moment.
  [[nodiscard]] Node behind_at(std::uint32_t resource, Time moment) const;
  void take_option(std::uint32_t group, std::uint32_t option);
  /// Everything that the group consumes or makes can come to where it is needed.
  [[nodiscard]] bool has_routes(std::uint32_t group) const;
  [[nodiscard]] Time ready_under(Node task, std::uint32_t option) const;
  [[nodiscard]] Time tail_under(Node task, std::uint32_t option) const;
  void sort_and_measure();
  /// Calls offer(behind, moment, through) for every place of the lifted task that keeps the graph acyclic.
  template <class Offer>
  void for_each_place(std::uint32_t option, Offer offer);
  template <class Offer>
  void for_each_place_on_one(std::uint32_t option, Offer offer);
  template <class Offer>
  void for_each_place_on_several(std::uint32_t option, Offer offer);

  std::shared_ptr<const Model> model_;
  std::size_t slots_;
  std::vector<std::uint32_t> option_;  ///< by group
  std::vector<Time> duration_;         ///< by task
  std::vector<Time> arc_lag_;          ///< by arc, in the order of predecessors
  std::vector<Time> out_lag_;          ///< by arc, in the order of successors
  std::vector<Node> first_;            ///< by resource
  std::vector<Node> before_;           ///< by slot: task before on the resource
  std::vector<Node> after_;            ///< by slot
  std::vector<char> is_linked_;        ///< by task
  std::vector<Node> order_;
  std::vector<std::uint32_t> rank_;
  std::vector<Time> head_;
  std::vector<Time> tail_;
  Time makespan_ = 0;

  // With a task lifted:
  Node lifted_ = kNone;
  std::vector<Time> head_without_;
  std::vector<Time> tail_without_;
  std::vector<char> is_ancestor_;  ///< of the lifted task
  std::vector<char> is_descendant_;
  Time makespan_without_ = 0;

  std::vector<std::uint32_t> waiting_;  ///< scratch of sort_and_measure
  std::vector<Time> moments_;           ///< scratch of for_each_place
};

}  // namespace opweave::routing
