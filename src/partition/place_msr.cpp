#include <algorithm>

#include "opweave/msr.h"
#include "partition/cover_bound.h"
#include "partition/cut_program.h"
#include "partition/latency.h"
#include "partition/local_search.h"
#include "partition/msr_model.h"
#include "partition/ordered.h"

namespace opweave {
namespace {

using namespace partition;

/// Values that differ by less than this share are the same: they are sums of rounded decimals.
constexpr double kMsrTolerance = 1e-9;

void settle(MsrAnswer& answer) {
  if (answer.placement.empty()) return;
  // Proofs compare sums added in another order, so a bound may come out a rounding error above the value.
  answer.proven = answer.bound >= answer.value * (1 - kMsrTolerance);
  if (answer.proven) answer.bound = answer.value;
}

MsrAnswer place_for_latency(const MsrInstance& instance, const Budget& budget, const MsrOptions& options) {
  MsrAnswer answer;
  answer.bound = latency_bound(instance, budget);
  answer.bound_name = "path";
  LatencyAnswer found = search_latency(instance, budget, options.seed, answer.bound);
  answer.placement = std::move(found.placement);
  answer.value = answer.placement.empty() ? 0 : found.value;
  answer.method = "search";
  answer.work = found.work;
  settle(answer);
  return answer;
}

class ThroughputPlacer {
 public:
  ThroughputPlacer(const MsrInstance& instance, const Budget& budget, const MsrOptions& options)
      : instance_(instance), budget_(budget), options_(options), model_(msr_model(instance)) {}

  MsrAnswer place() {
    const LoadBound simple = simple_bound(model_.model);
    answer_.bound = simple.value;
    answer_.bound_name = simple.name;
    const bool only_ordered = options_.contiguity == Contiguity::kOrdered;
    // Lined-up placements are the start of the search for others; most graphs need a small share of its time.
    OrderedAnswer ordered = best_ordered(model_.model, only_ordered ? budget_ : budget_.share(0.2));
    answer_.work = ordered.work;
    if (ordered.assignment) adopt(*ordered.assignment, "ordered");
    if (only_ordered) {
      answer_.proven = ordered.proven;
      if (ordered.proven && ordered.assignment) {
        answer_.bound = answer_.value;
        answer_.bound_name = "ideals";
      }
      return std::move(answer_);
    }
    if (!ordered.assignment && !find_any()) return std::move(answer_);
    // Often an optimum is found early, and the proof ends the search.
    search(budget_.share(0.1), options_.seed);
    if (!answer_.proven) solve_program(budget_.share(0.5));
    if (!answer_.proven) raise_bound(budget_.share(0.6));
    if (!answer_.proven && !budget_.expired()) {
      search(budget_, options_.seed + 1);
      settle(answer_);
    }
    return std::move(answer_);
  }

 private:
  void adopt(const Assignment& assignment, const char* method) {
    MsrPlacement placement = model_.placement(assignment);
    const double value = msr_max_load(instance_, placement);
    if (!answer_.placement.empty() && value >= answer_.value) return;
    answer_.placement = std::move(placement);
    answer_.value = value;
    answer_.method = method;
    samples_.push_back(assignment);
  }

  /// Nothing that is lined up fits: vertices from the largest, each where most memory is left.
  bool find_any() {
    const CutModel& model = model_.model;
    std::vector<Vertex> order(model.vertex_count());
    for (Vertex vertex = 0; vertex < order.size(); ++vertex) order[vertex] = vertex;
    std::stable_sort(order.begin(), order.end(), [&](Vertex a, Vertex b) { return model.bytes[a] > model.bytes[b]; });
    std::vector<double> left;
    for (std::size_t device = 0; device < model.device_count(); ++device)
      left.push_back(model.kind_of(device).capacity);
    Assignment assignment(order.size());
    for (const Vertex vertex : order) {
      std::optional<std::size_t> best;
      for (std::size_t device = 0; device < left.size(); ++device) {
        const bool runs = model.kind_of(device).work[vertex] < std::numeric_limits<double>::infinity();
        if (runs && model.bytes[vertex] <= left[device] && (!best || left[device] > left[*best])) best = device;
      }
      if (!best) return false;
      left[*best] -= model.bytes[vertex];
      assignment[vertex] = static_cast<std::uint32_t>(*best);
    }
    if (options_.contiguity == Contiguity::kConvex && !is_convex(assignment)) return false;
    adopt(assignment, "largest first");
    return true;
  }

  [[nodiscard]] bool is_convex(const Assignment& assignment) const {
    return msr_contiguity(instance_, model_.placement(assignment)) != Contiguity::kNone;
  }

  void search(const Budget& budget, std::uint64_t seed) {
    const LoadModel model = load_model(model_.model);
    SearchOptions search;
    search.seed = seed;
    search.good_enough = answer_.bound;
    search.on_improvement = [this](const Assignment& assignment, double) { adopt(assignment, "search"); };
    if (options_.contiguity == Contiguity::kConvex) {
      search.accepts = [this](const Assignment& assignment) { return is_convex(assignment); };
    }
    const std::vector<Assignment> starts = {samples_.back()};
    answer_.work += improve_assignment(model, starts, budget, search).work;
  }

  void solve_program(const Budget& budget) {
    CutProgramOptions program;
    program.bound = answer_.bound;
    program.seed = options_.seed;
    program.on_improvement = [this](const Assignment& assignment) {
      if (options_.contiguity == Contiguity::kNone || is_convex(assignment)) adopt(assignment, "cp-sat");
    };
    note({solve_cut_program(model_.model, samples_.back(), budget, program), "cp-sat"});
  }

  void note(const LoadBound& bound) {
    if (bound.value > answer_.bound) {
      answer_.bound = bound.value;
      answer_.bound_name = bound.name;
    }
    settle(answer_);
  }

  void raise_bound(const Budget& budget) {
    CoverOptions cover;
    cover.upper = answer_.value;
    cover.samples = samples_;
    note(cover_bound(model_.model, cover, budget));
  }

  const MsrInstance& instance_;
  const Budget& budget_;
  const MsrOptions& options_;
  MsrModel model_;
  std::vector<Assignment> samples_;  ///< each better than the one before
  MsrAnswer answer_;
};

}  // namespace

MsrAnswer place_msr(const MsrInstance& instance, const Budget& budget, const MsrOptions& options) {
  if (options.objective == MsrObjective::kLatency) return place_for_latency(instance, budget, options);
  return ThroughputPlacer(instance, budget, options).place();
}

}  // namespace opweave
