#include "partition/local_search.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace opweave::partition {
namespace {

/// Sums are built anew after so many moves, before rounding shows.
constexpr std::uint64_t kRefresh = 1U << 16;

class Annealer {
 public:
  Annealer(const LoadModel& model, const std::vector<Assignment>& starts, const Budget& budget,
           const SearchOptions& options)
      : model_(model), budget_(budget), options_(options), random_(options.seed), starts_(starts) {
    for (const Assignment& start : starts) note(start, LoadState(model, start).largest_load());
    mark_.resize(model.vertex_count());
  }

  SearchAnswer run() {
    std::uint64_t moves = 200 * std::uint64_t{model_.vertex_count()} + 20'000;
    for (std::uint64_t round = 0; !finished(); ++round) {
      anneal(round < starts_.size() ? starts_[round] : answer_.assignment, moves);
      if (round % 4 == 3) moves += moves / 2;
    }
    return std::move(answer_);
  }

 private:
  [[nodiscard]] bool finished() {
    return answer_.value <= options_.good_enough * (1 + kTolerance) || budget_.expired() ||
           (budget_.work_limit() && answer_.work >= *budget_.work_limit());
  }
  std::size_t pick(std::size_t count) { return static_cast<std::size_t>(random_() % count); }
  double uniform() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  void note(const Assignment& assignment, double value) {
    if (value >= answer_.value * (1 - kTolerance) && !answer_.assignment.empty()) return;
    answer_.assignment = assignment;
    answer_.value = value;
    if (options_.on_improvement) options_.on_improvement(assignment, value);
  }

  void anneal(const Assignment& start, std::uint64_t moves) {
    LoadState state(model_, start);
    // Aiming far below the best makes the search shorten everything, aiming just below it the longest alone.
    const double ambition = std::pow(10.0, -3 + 2.2 * uniform());
    double target = std::max(answer_.value * (1 - ambition), options_.good_enough);
    const double pull = uniform() < 0.5 ? 0.001 : 0.05 * uniform();
    state.aim(target, pull);
    const double hottest = answer_.value * std::pow(10.0, -2.5 + 1.5 * uniform());
    const double coldest = answer_.value * 3e-5;
    for (std::uint64_t i = 0; i < moves; ++i) {
      if ((++answer_.work & 1023U) == 0 && finished()) return;
      if (answer_.work % kRefresh == 0) {
        state = LoadState(model_, state.assignment());
        state.aim(target, pull);
      }
      const double temperature =
          hottest * std::pow(coldest / hottest, static_cast<double>(i) / static_cast<double>(moves));
      const double before = state.energy();
      const double excess = state.excess_bytes();
      const std::int64_t clashes = state.clashes();
      if (!propose(state)) continue;
      const double rise = state.energy() - before;
      const bool is_bad = state.excess_bytes() > excess || state.clashes() > clashes ||
                          (rise > 0 && uniform() >= std::exp(-rise / temperature));
      if (is_bad || (options_.accepts && !options_.accepts(state.assignment()))) {
        state.revert();
        continue;
      }
      state.commit();
      if (state.excess_bytes() > 0 || state.clashes() > 0) continue;
      const double value = state.largest_load();
      if (value >= answer_.value * (1 - kTolerance)) continue;
      note(state.assignment(), LoadState(model_, state.assignment()).largest_load());
      if (finished()) return;
      target = std::max(answer_.value * (1 - ambition), options_.good_enough);
      state.aim(target, pull);
    }
  }

  /// Makes a random change; false if there was nothing to change.
  bool propose(LoadState& state) {
    const Vertex vertex = static_cast<Vertex>(pick(model_.vertex_count()));
    const std::uint32_t from = state.device(vertex);
    const std::uint32_t to = pick_device(state, vertex);
    if (to == from) return false;
    const double kind = uniform();
    if (kind < 0.45) return shift(state, vertex, to);
    if (kind < 0.7) return exchange(state, vertex, to);
    shift_part(state, vertex, to);
    if (kind > 0.9) {
      const Vertex other = find_on(state, to);
      if (other < model_.vertex_count() && mark_[other] == 0) shift_part(state, other, from);
    }
    for (const Vertex moved : part_) mark_[moved] = 0;
    const bool any = !part_.empty();
    part_.clear();
    return any;
  }

  bool shift(LoadState& state, Vertex vertex, std::uint32_t to) {
    if (!state.may_run(vertex, to)) return false;
    state.move(vertex, to);
    return true;
  }

  bool exchange(LoadState& state, Vertex vertex, std::uint32_t to) {
    const std::uint32_t from = state.device(vertex);
    const Vertex other = find_on(state, to);
    if (other == model_.vertex_count() || !state.may_run(vertex, to) || !state.may_run(other, from)) return false;
    state.move(vertex, to);
    state.move(other, from);
    return true;
  }

  /// A vertex on the device, found by chance; vertex_count() if there is none.
  Vertex find_on(const LoadState& state, std::uint32_t device) {
    const std::size_t count = model_.vertex_count();
    const std::size_t first = pick(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t vertex = first + i < count ? first + i : first + i - count;
      if (state.device(static_cast<Vertex>(vertex)) == device) return static_cast<Vertex>(vertex);
    }
    return static_cast<Vertex>(count);
  }

  /// Where a neighbour is, mostly; else anywhere.
  std::uint32_t pick_device(const LoadState& state, Vertex vertex) {
    const auto& nets = state.nets_of(vertex);
    if (!nets.empty() && uniform() < 0.6) {
      const LoadModel::Net& net = model_.nets[nets[pick(nets.size())]];
      const std::size_t pin = pick(net.readers.size() + 1);
      return state.device(pin == 0 ? net.source : net.readers[pin - 1]);
    }
    return static_cast<std::uint32_t>(pick(model_.devices));
  }

  /// Moves a connected part of what lies on the vertex's device, grown over nets from the vertex.
  void shift_part(LoadState& state, Vertex vertex, std::uint32_t to) {
    const std::uint32_t from = state.device(vertex);
    const std::size_t first = part_.size();
    const std::size_t most = 2 + pick(uniform() < 0.7 ? 5 : 30);
    if (!state.may_run(vertex, to)) return;
    part_.push_back(vertex);
    mark_[vertex] = 1;
    for (std::size_t i = first; i < part_.size() && part_.size() - first < most; ++i) {
      for (const std::uint32_t n : state.nets_of(part_[i])) {
        const LoadModel::Net& net = model_.nets[n];
        for (std::size_t pin = 0; pin <= net.readers.size() && part_.size() - first < most; ++pin) {
          const Vertex other = pin == 0 ? net.source : net.readers[pin - 1];
          if (mark_[other] != 0 || state.device(other) != from || !state.may_run(other, to)) continue;
          if (uniform() < 0.25) continue;
          mark_[other] = 1;
          part_.push_back(other);
        }
      }
    }
    for (std::size_t i = first; i < part_.size(); ++i) state.move(part_[i], to);
  }

  const LoadModel& model_;
  const Budget& budget_;
  const SearchOptions& options_;
  std::mt19937_64 random_;
  std::vector<Assignment> starts_;
  SearchAnswer answer_;
  std::vector<Vertex> part_;
  std::vector<std::uint8_t> mark_;
};

}  // namespace

SearchAnswer improve_assignment(const LoadModel& model, const std::vector<Assignment>& starts, const Budget& budget,
                                const SearchOptions& options) {
  return Annealer(model, starts, budget, options).run();
}

}  // namespace opweave::partition
