#include "layouts/option_paths.h"

#include <algorithm>
#include <limits>
#include <map>
#include <queue>
#include <string_view>
#include <utility>

namespace opweave {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
/// Paths end here: what is longer is counted as if it were as long, so that sums do not overflow.
constexpr std::int64_t kLongest = 1'000'000'000'000'000'000;

void raise(std::int64_t& path, std::int64_t length) { path = std::max(path, std::min(length, kLongest)); }

/// Work of one stream between a head and a tail.
struct Job {
  std::int64_t head = 0;
  std::int64_t time = 0;
  std::int64_t tail = 0;
};

/// No order of the jobs is shorter than Jackson's, in which jobs may be interrupted: always the one with the longest
/// tail (Jackson 1955; Carlier 1982). O(n log n)
std::int64_t end_with_interruptions(std::vector<Job> jobs) {
  std::ranges::sort(jobs, {}, &Job::head);
  const auto has_shorter_tail = [](const Job& a, const Job& b) { return a.tail < b.tail; };
  std::priority_queue<Job, std::vector<Job>, decltype(has_shorter_tail)> ready(has_shorter_tail);
  std::int64_t now = 0;
  std::int64_t end = 0;
  for (std::size_t next = 0; next < jobs.size() || !ready.empty();) {
    if (ready.empty()) now = std::max(now, jobs[next].head);
    while (next < jobs.size() && jobs[next].head <= now) ready.push(jobs[next++]);
    Job job = ready.top();
    ready.pop();
    const std::int64_t until = next < jobs.size() ? std::min(now + job.time, jobs[next].head) : now + job.time;
    job.time -= until - now;
    now = until;
    if (job.time > 0) {
      ready.push(job);
    } else {
      end = std::max(end, now + job.tail);
    }
  }
  return end;
}

bool adds_to_gradients(const Operator& op) {
  return op.phase == Phase::kWeightGradient || op.phase == Phase::kBackward;
}

}  // namespace

OptionPaths::OptionPaths(MovementCosts& costs)
    : costs_(costs),
      graph_(costs.problem().graph().graph),
      microbatches_(costs.problem().settings().training.microbatches),
      updates_of_(graph_.parameters().size()) {
  for (std::size_t i = 0; i < graph_.operators().size(); ++i) {
    const Operator& op = graph_.operators()[i];
    paths_.emplace_back(costs.alternatives(OperatorId(i)));
    if (!adds_to_gradients(op)) continue;
    for (const ParameterId parameter : op.parameters) updates_of_[parameter.index()].emplace_back(i);
  }
  find_heads();
  find_tails();
}

std::int64_t OptionPaths::length(OperatorId op, std::uint32_t alternative) const {
  return costs_.option(op, alternative).duration.value();
}

std::int64_t OptionPaths::copies(OperatorId op) const {
  return graph_.at(op).phase == Phase::kOptimizer ? 1 : microbatches_;
}

void OptionPaths::find_heads() {
  const auto& choice_of = [&](OperatorId op) { return costs_.problem().choice_of(op); };
  // Optimizer operators come last, whatever their place in the order.
  std::vector<OperatorId> order = graph_.topological_order();
  std::ranges::stable_partition(order, [&](OperatorId op) { return graph_.at(op).phase != Phase::kOptimizer; });
  for (const OperatorId id : order) {
    const Operator& op = graph_.at(id);
    for (std::uint32_t a = 0; a < costs_.alternatives(id); ++a) {
      OptionPath& path = paths_[id.index()][a];
      const auto wait_for = [&](OperatorId earlier, const ReaderEdge* edge) {
        std::int64_t least = kNever;
        for (std::uint32_t b = 0; b < costs_.alternatives(earlier); ++b) {
          const OptionPath& before = paths_[earlier.index()][b];
          if (!before.is_possible || (choice_of(earlier) == choice_of(id) && a != b)) continue;
          std::int64_t moved = 0;
          if (edge != nullptr) {
            const OptionWay way = costs_.way(*edge, b, a);
            if (!way.exists()) continue;
            moved = way.time();
          }
          // Optimizer operators wait for all copies, which run one after the other.
          const std::int64_t runs = op.phase == Phase::kOptimizer ? copies(earlier) : 1;
          least = std::min(least, before.head + runs * length(earlier, b) + moved);
        }
        if (least == kNever) {
          path.is_possible = false;
        } else {
          raise(path.head, least);
        }
      };
      for (const std::uint32_t edge : costs_.into(id)) wait_for(costs_.edges()[edge].maker, &costs_.edges()[edge]);
      for (const OperatorId earlier : op.after) wait_for(earlier, nullptr);
      for (const ParameterId parameter : op.parameters) {
        const ParameterCost& cost = costs_.cost(parameter, a);
        const bool is_forward = op.phase == Phase::kForward || op.phase == Phase::kNone;
        if (op.phase != Phase::kOptimizer) raise(path.head, is_forward ? cost.forward : cost.backward);
      }
      if (op.phase == Phase::kOptimizer) raise_heads_of_step(id, a, path);
    }
  }
}

/// An optimizer operator waits for all updates of its parameters and for their reduction.
void OptionPaths::raise_heads_of_step(OperatorId op, std::uint32_t alternative, OptionPath& path) const {
  for (const ParameterId parameter : graph_.at(op).parameters) {
    const ParameterCost& cost = costs_.cost(parameter, alternative);
    for (const OperatorId update : updates_of_[parameter.index()]) {
      const std::int64_t end = paths_[update.index()][alternative].head + microbatches_ * length(update, alternative);
      raise(path.head, end + cost.reduce_each + cost.reduce_once);
    }
  }
}

void OptionPaths::find_tails() {
  const auto& choice_of = [&](OperatorId op) { return costs_.problem().choice_of(op); };
  const std::vector<OperatorId>& order = graph_.topological_order();
  std::vector<std::vector<OperatorId>> behind(paths_.size());  // control edges
  std::vector<std::vector<OperatorId>> steps_of(graph_.parameters().size());
  for (const OperatorId id : order) {
    for (const OperatorId earlier : graph_.at(id).after) behind[earlier.index()].push_back(id);
    if (graph_.at(id).phase != Phase::kOptimizer) continue;
    for (const ParameterId parameter : graph_.at(id).parameters) steps_of[parameter.index()].push_back(id);
  }
  // Optimizer operators have the last tails, whatever their place in the order.
  std::vector<OperatorId> backward(order.rbegin(), order.rend());
  std::ranges::stable_partition(backward, [&](OperatorId op) { return graph_.at(op).phase == Phase::kOptimizer; });
  for (const OperatorId id : backward) {
    const Operator& op = graph_.at(id);
    for (std::uint32_t a = 0; a < costs_.alternatives(id); ++a) {
      OptionPath& path = paths_[id.index()][a];
      const auto wait_for = [&](OperatorId later, const ReaderEdge* edge) {
        std::int64_t least = kNever;
        for (std::uint32_t b = 0; b < costs_.alternatives(later); ++b) {
          const OptionPath& after = paths_[later.index()][b];
          if (!after.is_possible || (choice_of(later) == choice_of(id) && a != b)) continue;
          std::int64_t moved = 0;
          if (edge != nullptr) {
            const OptionWay way = costs_.way(*edge, a, b);
            if (!way.exists()) continue;
            moved = way.time();
          }
          least = std::min(least, moved + length(later, b) + after.tail);
        }
        if (least == kNever) {
          path.is_possible = false;
        } else {
          raise(path.tail, least);
        }
      };
      for (const std::uint32_t edge : costs_.out_of(id)) wait_for(costs_.edges()[edge].reader, &costs_.edges()[edge]);
      for (const OperatorId later : behind[id.index()]) wait_for(later, nullptr);
      for (const ParameterId parameter : op.parameters) {
        const ParameterCost& cost = costs_.cost(parameter, a);
        if (op.phase == Phase::kOptimizer) raise(path.tail, cost.update);
        if (!adds_to_gradients(op)) continue;
        const std::int64_t reduced = cost.reduce_each + cost.reduce_once;
        raise(path.tail, reduced);
        for (const OperatorId step : steps_of[parameter.index()]) {
          raise(path.tail, reduced + length(step, a) + paths_[step.index()][a].tail);
        }
      }
    }
  }
}

std::optional<std::int64_t> OptionPaths::bound_of(const LayoutChoice& choice, std::uint32_t alternative) const {
  std::map<std::string_view, std::vector<Job>> streams;
  for (const OperatorId op : choice.operators) {
    const OptionPath& path = of(op, alternative);
    if (!path.is_possible) return std::nullopt;
    const Job job{path.head, copies(op) * length(op, alternative), path.tail};
    for (const std::string& stream : graph_.at(op).streams) streams[stream].push_back(job);
  }
  std::int64_t bound = 0;
  for (auto& [stream, jobs] : streams) bound = std::max(bound, end_with_interruptions(std::move(jobs)));
  return bound;
}

std::optional<std::int64_t> OptionPaths::bound() const {
  std::int64_t bound = 0;
  for (const LayoutChoice& choice : costs_.problem().choices()) {
    std::optional<std::int64_t> least;
    for (std::uint32_t a = 0; a < choice.alternatives.size(); ++a) {
      const auto own = bound_of(choice, a);
      if (own) least = std::min(least.value_or(*own), *own);
    }
    if (!least) return std::nullopt;
    bound = std::max(bound, *least);
  }
  return bound;
}

}  // namespace opweave
