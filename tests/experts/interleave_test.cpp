#include "experts/interleave.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace opweave::detail {
namespace {

PairOperator compute(std::int64_t ns) { return {1, Duration(ns)}; }
PairOperator comm(std::int64_t ns) { return {2, Duration(ns)}; }

struct Run {
  PairOperator op;
  Duration start;
};

std::vector<Run> runs(const PairWork& work, const Interleaving& result) {
  std::vector<Run> list;
  for (std::size_t i = 0; i < work.forward.size(); ++i) list.push_back({work.forward[i], result.forward[i]});
  for (std::size_t i = 0; i < work.backward.size(); ++i) list.push_back({work.backward[i], result.backward[i]});
  for (std::size_t i = 0; i < work.deferred.size(); ++i) list.push_back({work.deferred[i].op, result.deferred[i]});
  return list;
}

void expect_valid(const PairWork& work, const Interleaving& result) {
  const auto all = runs(work, result);
  Duration end;
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_GE(all[i].start, Duration(0));
    end = std::max(end, all[i].start + all[i].op.duration);
    for (std::size_t j = 0; j < i; ++j) {
      if ((all[i].op.streams & all[j].op.streams) == 0) continue;
      ASSERT_TRUE(all[i].start >= all[j].start + all[j].op.duration ||
                  all[j].start >= all[i].start + all[i].op.duration)
          << "two operators on one stream overlap";
    }
  }
  for (std::size_t i = 1; i < work.forward.size(); ++i) {
    ASSERT_GE(result.forward[i], result.forward[i - 1] + work.forward[i - 1].duration);
  }
  for (std::size_t i = 1; i < work.backward.size(); ++i) {
    ASSERT_GE(result.backward[i], result.backward[i - 1] + work.backward[i - 1].duration);
  }
  for (std::size_t i = 0; i < work.deferred.size(); ++i) {
    const std::uint32_t release = work.deferred[i].released_by;
    if (release == 0) continue;
    ASSERT_GE(result.deferred[i], result.backward[release - 1] + work.backward[release - 1].duration);
  }
  ASSERT_EQ(result.duration, end);
}

/// Least end over all orders of starting, operators appended to their streams; deferred operators in any order.
Duration brute_force(const PairWork& work) {
  struct Search {
    const PairWork& work;
    Duration best{std::int64_t{1} << 60};
    std::vector<Duration> backward_ends{};
    std::uint32_t deferred_done = 0;

    void extend(std::size_t f, std::vector<Duration> streams, Duration forward_end, Duration end) {
      const std::size_t b = backward_ends.size();
      if (f == work.forward.size() && b == work.backward.size() &&
          deferred_done + 1 == std::uint32_t{1} << work.deferred.size()) {
        best = std::min(best, end);
        return;
      }
      const auto place = [&](const PairOperator& op, Duration from, auto next) {
        auto after = streams;
        Duration start = from;
        for (std::size_t s = 0; s < 2; ++s) {
          if ((op.streams >> s & 1) != 0) start = std::max(start, streams[s]);
        }
        for (std::size_t s = 0; s < 2; ++s) {
          if ((op.streams >> s & 1) != 0) after[s] = start + op.duration;
        }
        next(after, start + op.duration);
      };
      if (f < work.forward.size()) {
        place(work.forward[f], forward_end,
              [&](const auto& after, Duration at) { extend(f + 1, after, at, std::max(end, at)); });
      }
      if (b < work.backward.size()) {
        place(work.backward[b], b == 0 ? Duration(0) : backward_ends.back(), [&](const auto& after, Duration at) {
          backward_ends.push_back(at);
          extend(f, after, forward_end, std::max(end, at));
          backward_ends.pop_back();
        });
      }
      for (std::size_t d = 0; d < work.deferred.size(); ++d) {
        const std::uint32_t release = work.deferred[d].released_by;
        if ((deferred_done >> d & 1) != 0 || release > b) continue;
        place(work.deferred[d].op, release == 0 ? Duration(0) : backward_ends[release - 1],
              [&](const auto& after, Duration at) {
                deferred_done |= std::uint32_t{1} << d;
                extend(f, after, forward_end, std::max(end, at));
                deferred_done &= ~(std::uint32_t{1} << d);
              });
      }
    }
  };
  Search search{work};
  search.extend(0, {Duration(0), Duration(0)}, Duration(0), Duration(0));
  return search.best;
}

TEST(Interleave, empty_pair_takes_no_time) { EXPECT_EQ(interleave({}).duration, Duration(0)); }

TEST(Interleave, one_stream_leaves_nothing_to_gain) {
  const PairWork work{{compute(3), compute(4)}, {compute(5)}, {{compute(6), 1}}};
  const Interleaving result = interleave(work);
  expect_valid(work, result);
  EXPECT_EQ(result.duration, Duration(18));
}

TEST(Interleave, communication_hides_behind_the_computation_of_the_other_chain) {
  // compute: F1 0-5, I2 5-10, F.. : 5 + 5 of compute and 5 + 5 of communication, fully overlapped.
  const PairWork work{{compute(5), comm(5)}, {comm(5), compute(5)}, {}};
  const Interleaving result = interleave(work);
  expect_valid(work, result);
  EXPECT_EQ(result.duration, Duration(10));
}

TEST(Interleave, operator_that_holds_both_streams_overlaps_with_nothing) {
  const PairWork work{{{3, Duration(7)}}, {comm(5), compute(5)}, {}};
  const Interleaving result = interleave(work);
  expect_valid(work, result);
  EXPECT_EQ(result.duration, Duration(17));
}

TEST(Interleave, deferred_operators_wait_for_their_release_only) {
  // The deferred 4 fits while communication runs: 3 + max(10, 4) + 2.
  const PairWork work{{}, {compute(3), comm(10), compute(2)}, {{compute(4), 1}}};
  const Interleaving result = interleave(work);
  expect_valid(work, result);
  EXPECT_EQ(result.duration, Duration(15));
  EXPECT_EQ(result.deferred[0], Duration(3));
}

TEST(Interleave, finds_the_optimum_of_small_pairs) {
  std::mt19937 random(7);
  const auto below = [&](std::uint32_t limit) { return static_cast<std::uint32_t>(random() % limit); };
  const auto any_operator = [&] { return PairOperator{1 + below(10) / 4, Duration(below(12))}; };
  int optimal = 0;
  constexpr int kCases = 300;
  for (int n = 0; n < kCases; ++n) {
    PairWork work;
    for (std::uint32_t i = below(5); i > 0; --i) work.forward.push_back(any_operator());
    for (std::uint32_t i = below(5); i > 0; --i) work.backward.push_back(any_operator());
    const auto releases = static_cast<std::uint32_t>(work.backward.size());
    std::vector<std::uint32_t> released_by;
    for (std::uint32_t i = below(3); i > 0; --i) released_by.push_back(below(releases + 1));
    std::sort(released_by.begin(), released_by.end());
    for (const std::uint32_t release : released_by) work.deferred.push_back({any_operator(), release});
    const Interleaving result = interleave(work);
    expect_valid(work, result);
    const Duration best = brute_force(work);
    ASSERT_GE(result.duration, best);
    optimal += result.duration == best ? 1 : 0;
  }
  // Deferred operators run in the order of their release here and in any order there.
  EXPECT_GE(optimal, kCases * 98 / 100) << optimal;
}

TEST(Interleave, transformer_pair_is_bound_by_its_computation) {
  // Four layers of attention (compute), dispatch (comm), mlp (compute), combine (comm), in 10 us, as
  // measured on a cluster with expert parallelism (docs/experts.md).
  PairWork work;
  std::vector<std::int64_t> weight_gradients;
  for (int layer = 0; layer < 4; ++layer) {
    for (const PairOperator& op : {compute(437), comm(435), compute(460), comm(599)}) work.forward.push_back(op);
    for (const PairOperator& op : {comm(341), compute(531), comm(637), compute(934)}) work.backward.push_back(op);
    const auto done = static_cast<std::uint32_t>(4 * layer);
    work.deferred.push_back({compute(354), done + 2});
    work.deferred.push_back({compute(239), done + 4});
  }
  const Interleaving result = interleave(work);
  expect_valid(work, result);
  // 4 x (4.37 + 4.60 + 5.31 + 9.34 + 3.54 + 2.39) ms of computation against 4 x 20.12 ms of communication.
  EXPECT_EQ(result.duration, Duration(11820));
}

}  // namespace
}  // namespace opweave::detail
