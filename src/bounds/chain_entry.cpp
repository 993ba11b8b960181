#include "bounds/chain_entry.h"

#include <algorithm>
#include <ranges>

namespace opweave::bounds {
namespace {

constexpr std::size_t kUnseen = SIZE_MAX;

/// The groups in one order, and the operators that lead from one to the next.
class Chain {
 public:
  /// \param backward  looks at the graph from its end: groups are then in the order in which they are left, last first
  Chain(const Problem& problem, bool backward) : problem_(problem), is_backward_(backward) {
    order_ = problem.graph().topological_order();
    if (backward) std::ranges::reverse(order_);
    is_chain_ = find();
  }

  [[nodiscard]] bool is_chain() const { return is_chain_; }
  [[nodiscard]] const std::vector<std::size_t>& groups() const { return groups_; }
  /// Of each group of the chain, what a microbatch spends in it at least, on this device, before it can go on.
  [[nodiscard]] std::vector<Nanoseconds> passages(DeviceId device) const {
    std::vector<Nanoseconds> spent(order_.size(), 0);
    std::vector<Nanoseconds> result(groups_.size(), 0);
    for (const OperatorId op : order_) {
      const auto mode = problem_.mode_on(task_of(op), device);
      if (!mode) continue;
      Nanoseconds before = 0;
      for_each_before(op, [&](OperatorId other) {
        if (position_of(other) == position_of(op)) before = std::max(before, spent[other.index()]);
      });
      spent[op.index()] = before + problem_.mode(task_of(op), *mode).duration.value();
    }
    for (std::size_t at = 0; at + 1 < groups_.size(); ++at) {
      for_each_before(first_[at + 1], [&](OperatorId other) {
        if (position_of(other) == at) result[at] = std::max(result[at], spent[other.index()]);
      });
    }
    return result;
  }

 private:
  [[nodiscard]] TaskId task_of(OperatorId op) const { return problem_.task_of(op, 0); }
  [[nodiscard]] std::size_t position_of(OperatorId op) const {
    return position_[problem_.group_of(task_of(op)).index()];
  }

  template <class Use>
  void for_each_before(OperatorId op, Use use) const {
    const auto all = is_backward_ ? problem_.successors(task_of(op)) : problem_.predecessors(task_of(op));
    for (const TaskId other : all) use(problem_.task(other).op);
  }

  bool find() {
    position_.assign(problem_.group_count(), kUnseen);
    std::vector<std::size_t> reached(order_.size(), 0);  // how many of the first operators lead to it, itself included
    for (const OperatorId op : order_) {
      std::size_t reach = 0;
      for_each_before(op, [&](OperatorId other) { reach = std::max(reach, reached[other.index()]); });
      const std::size_t group = problem_.group_of(task_of(op)).index();
      if (position_[group] == kUnseen) {
        if (reach != groups_.size()) return false;
        position_[group] = groups_.size();
        groups_.push_back(group);
        first_.push_back(op);
        ++reach;
      }
      if (reach < position_[group] + 1) return false;
      reached[op.index()] = reach;
    }
    return groups_.size() == problem_.group_count();
  }

  const Problem& problem_;
  bool is_backward_;
  std::vector<OperatorId> order_;
  bool is_chain_ = false;
  std::vector<std::size_t> groups_;    // in the order of the chain
  std::vector<std::size_t> position_;  // by group
  std::vector<OperatorId> first_;      // by position
};

}  // namespace

std::vector<std::vector<Nanoseconds>> chain_entries(const Problem& problem, const std::vector<DeviceId>& kinds) {
  if (problem.settings().training.replicas > 1) return {};
  // What happens once in a step, on gangs, or in each microbatch elsewhere, has a chain of its own.
  for (const Operator& op : problem.graph().operators()) {
    if (op.phase == Phase::kOptimizer) return {};
  }
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    for (const Option& option : problem.options(GroupId(g))) {
      if (option.devices.size() != 1) return {};
    }
  }
  const Chain there(problem, false);
  if (!there.is_chain()) return {};
  const Chain back(problem, true);
  const bool returns = back.is_chain() && back.groups() == there.groups();
  std::vector<std::vector<Nanoseconds>> result;
  for (const DeviceId device : kinds) {
    const std::vector<Nanoseconds> ways_there = there.passages(device);
    const std::vector<Nanoseconds> ways_back = returns ? back.passages(device) : std::vector<Nanoseconds>();
    std::vector<Nanoseconds> passages;
    for (std::size_t i = 0; i + 1 < ways_there.size(); ++i) {  // nobody begins behind the last group
      const TaskId task = problem.tasks_of(GroupId(there.groups()[i])).front();
      if (!problem.mode_on(task, device)) continue;
      passages.push_back(ways_there[i] + (returns ? ways_back[i] : 0));
    }
    std::ranges::sort(passages);
    // The devices that begin before have a group each.
    std::vector<Nanoseconds>& entries = result.emplace_back(1, 0);
    for (const Nanoseconds passage : passages) entries.push_back(entries.back() + passage);
  }
  return result;
}

}  // namespace opweave::bounds
