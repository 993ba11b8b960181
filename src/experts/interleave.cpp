#include "experts/interleave.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <tuple>

namespace opweave::detail {

namespace {

// Partial schedules kept per number of operators placed. 200 finds the optimum of every pair of up
// to 40 operators tried, within milliseconds.
constexpr std::size_t kBeamWidth = 200;
constexpr std::size_t kStreams = 32;

enum Chain : std::uint8_t { kForwardChain, kBackwardChain, kDeferredChain };
constexpr std::size_t kChains = 3;

/// A partial schedule: how many operators of each chain are placed, and what that leaves free when.
struct State {
  std::array<std::uint32_t, kChains> placed{};
  std::array<std::int64_t, kChains> chain_end{};
  std::array<std::int64_t, kStreams> stream_end{};
  std::size_t parent = 0;
  Chain last_chain = kForwardChain;
  std::int64_t last_start = 0;
  // Order of preference: no schedule that grows out of this state ends before `bound`.
  std::int64_t bound = 0;
  std::int64_t urgency = 0;
};

class Beam {
 public:
  explicit Beam(const PairWork& work) : work_(work) {
    chains_[kForwardChain] = work.forward;
    chains_[kBackwardChain] = work.backward;
    for (const DeferredOperator& deferred : work.deferred) chains_[kDeferredChain].push_back(deferred.op);
    for (std::size_t chain = 0; chain < kChains; ++chain) {
      total_ += chains_[chain].size();
      rest_[chain].assign(chains_[chain].size() + 1, 0);
      stream_rest_[chain].assign(chains_[chain].size() + 1, {});
      for (std::size_t index = chains_[chain].size(); index-- > 0;) {
        const PairOperator& op = chains_[chain][index];
        rest_[chain][index] = rest_[chain][index + 1] + op.duration.value();
        stream_rest_[chain][index] = stream_rest_[chain][index + 1];
        for (std::uint32_t mask = op.streams; mask != 0; mask &= mask - 1) {
          stream_rest_[chain][index][static_cast<std::size_t>(std::countr_zero(mask))] += op.duration.value();
        }
      }
    }
  }

  Interleaving run() {
    levels_.push_back({State{}});
    while (levels_.size() <= total_) extend();
    const auto best = std::min_element(levels_.back().begin(), levels_.back().end(), better);
    return trace(*best);
  }

 private:
  static bool better(const State& a, const State& b) {
    return std::tie(a.bound, a.urgency, a.placed, a.chain_end, a.stream_end) <
           std::tie(b.bound, b.urgency, b.placed, b.chain_end, b.stream_end);
  }

  void extend() {
    std::vector<State> next;
    const std::vector<State>& states = levels_.back();
    for (std::size_t index = 0; index < states.size(); ++index) {
      for (const Chain chain : {kForwardChain, kBackwardChain, kDeferredChain}) {
        if (can_place(states[index], chain)) next.push_back(place(states[index], index, chain));
      }
    }
    std::sort(next.begin(), next.end(), better);
    std::vector<State> kept;
    for (const State& state : next) {
      if (kept.size() == kBeamWidth) break;
      const bool dominated = std::any_of(kept.begin(), kept.end(), [&](const State& other) {
        return other.placed == state.placed && not_later(other.chain_end, state.chain_end) &&
               not_later(other.stream_end, state.stream_end);
      });
      if (!dominated) kept.push_back(state);
    }
    levels_.push_back(std::move(kept));
  }

  template <std::size_t N>
  static bool not_later(const std::array<std::int64_t, N>& a, const std::array<std::int64_t, N>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), std::less_equal<>());
  }

  [[nodiscard]] bool can_place(const State& state, Chain chain) const {
    const std::uint32_t index = state.placed[chain];
    if (index == chains_[chain].size()) return false;
    return chain != kDeferredChain || work_.deferred[index].released_by <= state.placed[kBackwardChain];
  }

  State place(const State& state, std::size_t state_index, Chain chain) const {
    const std::uint32_t index = state.placed[chain];
    const PairOperator& op = chains_[chain][index];
    std::int64_t start = chain == kDeferredChain ? release(state, work_.deferred[index]) : state.chain_end[chain];
    for (std::uint32_t mask = op.streams; mask != 0; mask &= mask - 1) {
      start = std::max(start, state.stream_end[static_cast<std::size_t>(std::countr_zero(mask))]);
    }
    State result = state;
    const std::int64_t end = start + op.duration.value();
    for (std::uint32_t mask = op.streams; mask != 0; mask &= mask - 1) {
      result.stream_end[static_cast<std::size_t>(std::countr_zero(mask))] = end;
    }
    ++result.placed[chain];
    result.chain_end[chain] = std::max(state.chain_end[chain], end);  // deferred operators may overlap
    result.parent = state_index;
    result.last_chain = chain;
    result.last_start = start;
    result.bound = 0;
    result.urgency = 0;
    for (std::size_t c = 0; c < kChains; ++c) {
      // Deferred operators need not follow each other, so only the end of those placed counts.
      const std::int64_t rest = c == kDeferredChain ? 0 : rest_[c][result.placed[c]];
      result.bound = std::max(result.bound, result.chain_end[c] + rest);
      if (c != kDeferredChain) result.urgency += result.chain_end[c] + rest;
    }
    for (std::size_t stream = 0; stream < kStreams; ++stream) {
      std::int64_t rest = 0;
      for (std::size_t c = 0; c < kChains; ++c) rest += stream_rest_[c][result.placed[c]][stream];
      if (rest > 0) result.bound = std::max(result.bound, result.stream_end[stream] + rest);
    }
    return result;
  }

  /// End of the backward operator that a deferred one waits for.
  [[nodiscard]] std::int64_t release(const State& state, const DeferredOperator& deferred) const {
    if (deferred.released_by == 0) return 0;
    const State* at = &state;
    for (std::size_t level = levels_.size() - 1; level > 0; --level) {
      if (at->last_chain == kBackwardChain && at->placed[kBackwardChain] == deferred.released_by) break;
      at = &levels_[level - 1][at->parent];
    }
    return at->chain_end[kBackwardChain];
  }

  Interleaving trace(const State& last) const {
    Interleaving result;
    result.forward.resize(chains_[kForwardChain].size());
    result.backward.resize(chains_[kBackwardChain].size());
    result.deferred.resize(chains_[kDeferredChain].size());
    const std::array<std::vector<Duration>*, kChains> starts = {&result.forward, &result.backward, &result.deferred};
    const State* at = &last;
    for (std::size_t level = levels_.size() - 1; level > 0; --level) {
      (*starts[at->last_chain])[at->placed[at->last_chain] - 1] = Duration(at->last_start);
      at = &levels_[level - 1][at->parent];
    }
    result.duration = Duration(std::max({last.chain_end[0], last.chain_end[1], last.chain_end[2]}));
    return result;
  }

  const PairWork& work_;
  std::array<std::vector<PairOperator>, kChains> chains_;
  std::size_t total_ = 0;
  std::array<std::vector<std::int64_t>, kChains> rest_;
  std::array<std::vector<std::array<std::int64_t, kStreams>>, kChains> stream_rest_;
  std::vector<std::vector<State>> levels_;
};

}  // namespace

Interleaving interleave(const PairWork& work) { return Beam(work).run(); }

}  // namespace opweave::detail
