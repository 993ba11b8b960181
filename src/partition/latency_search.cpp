#include <algorithm>
#include <cmath>
#include <random>

#include "partition/latency.h"
#include "partition/msr_model.h"
#include "partition/topological.h"

namespace opweave::partition {
namespace {

constexpr double kLatencyTolerance = 1e-12;

class LatencySearch {
 public:
  LatencySearch(const MsrInstance& instance, const Budget& budget, std::uint64_t seed, double good_enough)
      : instance_(instance),
        budget_(budget),
        good_enough_(good_enough),
        random_(seed),
        model_(msr_model(instance)),
        neighbours_(model_.model.vertex_count()),
        members_(model_.model.vertex_count()),
        bytes_(instance.accelerators) {
    for (std::uint32_t node = 0; node < instance.nodes.size(); ++node) {
      members_[model_.vertex_of[node]].push_back(node);
      for (const std::uint32_t next : instance.successors[node]) {
        const Vertex a = model_.vertex_of[node];
        const Vertex b = model_.vertex_of[next];
        if (a == b) continue;
        neighbours_[a].push_back(b);
        neighbours_[b].push_back(a);
      }
    }
  }

  LatencyAnswer run() {
    add_starts();
    if (starts_.empty()) return std::move(answer_);
    std::uint64_t moves = 40 * std::uint64_t{members_.size()} + 5000;
    for (std::size_t round = 0; !finished(); ++round) {
      anneal(round < starts_.size() ? starts_[round] : answer_.placement, moves);
      if (round % 4 == 3) moves += moves / 2;
    }
    return std::move(answer_);
  }

 private:
  [[nodiscard]] bool finished() const {
    return answer_.value <= good_enough_ * (1 + kLatencyTolerance) || budget_.expired() ||
           (budget_.work_limit() && answer_.work >= *budget_.work_limit());
  }
  std::size_t pick(std::size_t count) { return static_cast<std::size_t>(random_() % count); }
  double uniform() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  [[nodiscard]] bool may_run(Vertex vertex, std::uint32_t device) const {
    return device >= instance_.accelerators ||
           model_.model.kinds[0].work[vertex] < std::numeric_limits<double>::infinity();
  }

  bool note(const MsrPlacement& placement) {
    const std::optional<double> value = msr_latency(instance_, placement);
    ++answer_.work;
    if (!value) return false;
    if (*value < answer_.value * (1 - kLatencyTolerance) || answer_.placement.empty()) {
      answer_.placement = placement;
      answer_.value = *value;
    }
    return true;
  }

  /// Everything on CPUs, and the greedy of appendix F of the paper: vertices in a topological order fill one
  /// accelerator after another; what fits none goes to CPUs.
  void add_starts() {
    const auto keep = [&](const MsrPlacement& placement) {
      if (msr_infeasibility(instance_, placement).empty() && note(placement)) starts_.push_back(placement);
    };
    const Contraction acyclic = merge_circles(model_.model);
    for (const std::vector<Vertex>& order : topological_orders(acyclic.model)) {
      for (const double share : {1.0, 0.9, 0.75, 0.5}) {
        Assignment assignment(order.size(), instance_.accelerators);
        std::uint32_t device = 0;
        double used = 0;
        for (const Vertex vertex : order) {
          const double bytes = acyclic.model.bytes[vertex];
          if (used > 0 && used + bytes > share * instance_.accelerator_memory_bytes) {
            ++device;
            used = 0;
          }
          const bool fits = device < instance_.accelerators && bytes <= instance_.accelerator_memory_bytes &&
                            acyclic.model.kinds[0].work[vertex] < std::numeric_limits<double>::infinity();
          if (!fits) continue;
          assignment[vertex] = device;
          used += bytes;
        }
        keep(model_.placement(acyclic.expand(assignment)));
      }
    }
    keep(MsrPlacement(instance_.nodes.size(), instance_.accelerators));
    keep(MsrPlacement(instance_.nodes.size(), 0));
    std::stable_sort(starts_.begin(), starts_.end(), [&](const MsrPlacement& a, const MsrPlacement& b) {
      return msr_latency(instance_, a) < msr_latency(instance_, b);
    });
    if (starts_.size() > 3) starts_.resize(3);
  }

  void anneal(const MsrPlacement& start, std::uint64_t moves) {
    placement_ = start;
    std::fill(bytes_.begin(), bytes_.end(), 0);
    for (Vertex vertex = 0; vertex < members_.size(); ++vertex) {
      if (device(vertex) < instance_.accelerators) bytes_[device(vertex)] += model_.model.bytes[vertex];
    }
    double value = *msr_latency(instance_, placement_);
    const double hottest = value * std::pow(10.0, -2.5 + 2.5 * uniform());
    const double coldest = value * 1e-4;
    for (std::uint64_t i = 0; i < moves && !finished(); ++i) {
      journal_.clear();
      propose();
      std::optional<double> next;
      if (!journal_.empty() && fits()) {
        ++answer_.work;
        next = msr_latency(instance_, placement_);
      }
      const double temperature =
          hottest * std::pow(coldest / hottest, static_cast<double>(i) / static_cast<double>(moves));
      if (!next || (*next > value && uniform() >= std::exp((value - *next) / temperature))) {
        while (!journal_.empty()) {
          place(journal_.back().first, journal_.back().second);
          journal_.pop_back();
        }
        continue;
      }
      value = *next;
      if (value >= answer_.value * (1 - kLatencyTolerance)) continue;
      answer_.value = value;
      answer_.placement = placement_;
    }
  }

  [[nodiscard]] std::uint32_t device(Vertex vertex) const { return placement_[members_[vertex].front()]; }
  [[nodiscard]] bool fits() const {
    return std::all_of(bytes_.begin(), bytes_.end(), [&](double b) { return b <= instance_.accelerator_memory_bytes; });
  }

  void place(Vertex vertex, std::uint32_t to) {
    const std::uint32_t from = device(vertex);
    if (from < instance_.accelerators) bytes_[from] -= model_.model.bytes[vertex];
    if (to < instance_.accelerators) bytes_[to] += model_.model.bytes[vertex];
    for (const std::uint32_t node : members_[vertex]) placement_[node] = to;
  }
  void move(Vertex vertex, std::uint32_t to) {
    if (device(vertex) == to || !may_run(vertex, to)) return;
    journal_.emplace_back(vertex, device(vertex));
    place(vertex, to);
  }

  /// Moves a vertex, or a connected part of its device, to where a neighbour is, to an empty accelerator or to a CPU;
  /// now and then a vertex comes back in exchange.
  void propose() {
    const auto vertex = static_cast<Vertex>(pick(members_.size()));
    const std::uint32_t from = device(vertex);
    const std::uint32_t devices = instance_.accelerators + (instance_.cpus > 0 ? 1 : 0);
    std::uint32_t to = static_cast<std::uint32_t>(pick(devices));
    if (!neighbours_[vertex].empty() && uniform() < 0.7)
      to = device(neighbours_[vertex][pick(neighbours_[vertex].size())]);
    if (to == from) return;
    const double kind = uniform();
    std::vector<Vertex> part{vertex};
    const std::size_t most = kind < 0.4 ? 1 : 2 + pick(kind < 0.8 ? 6 : 40);
    move(vertex, to);
    for (std::size_t i = 0; i < part.size() && part.size() < most; ++i) {
      for (const Vertex other : neighbours_[part[i]]) {
        if (part.size() >= most) break;
        if (device(other) != from || uniform() < 0.2) continue;
        move(other, to);
        if (device(other) == to) part.push_back(other);
      }
    }
    if (uniform() < 0.2) {
      const auto other = static_cast<Vertex>(pick(members_.size()));
      if (device(other) == to && std::find(part.begin(), part.end(), other) == part.end()) move(other, from);
    }
  }

  const MsrInstance& instance_;
  const Budget& budget_;
  const double good_enough_;
  std::mt19937_64 random_;
  MsrModel model_;
  std::vector<std::vector<Vertex>> neighbours_;
  std::vector<std::vector<std::uint32_t>> members_;  ///< by vertex: its nodes
  std::vector<MsrPlacement> starts_;
  MsrPlacement placement_;
  std::vector<double> bytes_;  ///< by accelerator
  std::vector<std::pair<Vertex, std::uint32_t>> journal_;
  LatencyAnswer answer_;
};

}  // namespace

LatencyAnswer search_latency(const MsrInstance& instance, const Budget& budget, std::uint64_t seed,
                             double good_enough) {
  return LatencySearch(instance, budget, seed, good_enough).run();
}

}  // namespace opweave::partition
