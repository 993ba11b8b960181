#include <algorithm>
#include <cmath>
#include <memory>

#include "core/infinity.h"
#include "opweave/operator_profiles.h"
#include "strategy/profiled_bound.h"
#include "strategy/profiled_stage.h"

namespace opweave {
namespace {

using strategy::ProfiledBound;
using strategy::ProfiledStages;

/// Limits on the longest stage grow from the bound by this share at first, then by twice as much each time.
constexpr double kFirstStep = 0.0005;
/// Values whose longest stages differ by less are one.
constexpr double kLongestStageTolerance = 1e-5;

/// Stages for one number of sequences per microbatch.
class Cut {
 public:
  Cut(const OperatorProfiles& profiles, const ProfileTask& task, std::uint32_t sequences, const ProfiledBound& bound,
      const Budget& budget)
      : profiles_(profiles),
        task_(task),
        sequences_(sequences),
        bound_(bound),
        budget_(budget),
        stages_(profiles, task, sequences) {}

  /// Puts what is better into `answer`.
  void improve(double longest, ProfiledAnswer& answer) {
    const double rounds = std::floor(static_cast<double>(task_.batch) / sequences_) - 1;
    double below = longest;
    double above = kInfinity;
    for (double step = kFirstStep; !std::isfinite(above); step *= 2) {
      const double limit = longest * (1 + step);
      if (limit * rounds >= answer.value_ms || budget_.expired()) return;
      if (try_limit(limit, answer)) {
        above = limit;
      } else {
        below = limit;
      }
    }
    while (above - below > kLongestStageTolerance * above && !budget_.expired()) {
      const double middle = (below + above) / 2;
      (try_limit(middle, answer) ? above : below) = middle;
    }
  }

 private:
  struct Entry {
    double sum = kInfinity;
    std::size_t end = 0;
    std::size_t size = 0;
  };

  /// Are there stages, none longer than the limit? Those with the least sum go into the answer if they are better.
  bool try_limit(double limit, ProfiledAnswer& answer) {
    const std::size_t count = profiles_.operators();
    const std::size_t most = task_.devices;
    const auto from = bound_.devices_from(limit);
    const auto before = bound_.devices_before(limit);
    // By stages behind the first, first operator, devices at most. Only what the bound allows is looked at.
    std::vector table(most, std::vector(count + 1, std::vector<Entry>(most + 1)));
    for (std::size_t behind = 0; behind < most; ++behind) {
      for (std::size_t begin = 0; begin < count; ++begin) {
        if (before[behind][begin] + from[behind][begin] > most || budget_.expired()) continue;
        for (std::size_t end = behind == 0 ? count : begin + 1; end <= count; ++end) {
          const std::uint32_t others = before[behind][begin] + (behind == 0 ? 0 : from[behind - 1][end]);
          for (std::size_t size = 0; size < bound_.sizes().size(); ++size) {
            if (others + bound_.sizes()[size] <= most) extend(table, begin, end, size, behind, limit);
          }
        }
      }
    }
    bool is_possible = false;
    for (std::size_t behind = 0; behind < most; ++behind) {
      if (!std::isfinite(table[behind].front().back().sum)) continue;
      is_possible = true;
      keep(table, behind, answer);
    }
    return is_possible;
  }

  using Table = std::vector<std::vector<std::vector<Entry>>>;

  void extend(Table& table, std::size_t begin, std::size_t end, std::size_t size, std::size_t behind, double limit) {
    if (bound_.stage(begin, end, size, behind) > limit) return;
    const std::uint32_t devices = bound_.sizes()[size];
    if (behind > 0 && !std::isfinite(table[behind - 1][end][task_.devices - devices].sum)) return;
    const double ms = stages_.fastest(begin, end, devices, behind).ms;
    if (ms > limit) return;
    for (std::size_t there = devices; there <= task_.devices; ++there) {
      const double others = behind == 0 ? 0 : table[behind - 1][end][there - devices].sum;
      Entry& entry = table[behind][begin][there];
      if (ms + others < entry.sum) entry = {ms + others, end, size};
    }
  }

  void keep(const Table& table, std::size_t behind, ProfiledAnswer& answer) {
    std::vector<ProfiledStage> stages;
    std::size_t begin = 0;
    std::size_t devices = task_.devices;
    for (std::size_t left = behind + 1; left-- > 0;) {
      const Entry& entry = table[left][begin][devices];
      stages.push_back(stages_.fastest(begin, entry.end, bound_.sizes()[entry.size], left));
      devices -= bound_.sizes()[entry.size];
      begin = entry.end;
    }
    const double value = value_profiled(profiles_, task_, sequences_, stages);
    if (value >= answer.value_ms) return;
    answer.value_ms = value;
    answer.sequences = sequences_;
    answer.stages = std::move(stages);
  }

  const OperatorProfiles& profiles_;
  const ProfileTask& task_;
  std::uint32_t sequences_;
  const ProfiledBound& bound_;
  const Budget& budget_;
  ProfiledStages stages_;
};

}  // namespace

ProfiledAnswer cut_profiled(const OperatorProfiles& profiles, const ProfileTask& task, const Budget& budget) {
  std::uint32_t most = 0;
  for (const auto& [key, table] : profiles.tables) most = std::max(most, key.sequences * task.devices);
  struct Round {
    std::uint32_t sequences;
    std::unique_ptr<const ProfiledBound> bound;
    double longest;
    double least;  ///< of an iteration
  };
  std::vector<Round> rounds;
  ProfiledAnswer answer;
  for (std::uint32_t sequences = 1; sequences <= std::min(most, task.batch); sequences *= 2) {
    if (task.batch % sequences != 0) continue;
    Round round{sequences, std::make_unique<ProfiledBound>(profiles, task, sequences), 0, 0};
    if (round.bound->sizes().empty()) continue;
    round.longest = round.bound->longest();
    round.least = round.longest * (static_cast<double>(task.batch) / sequences - 1) + round.bound->sum();
    rounds.push_back(std::move(round));
    if (budget.expired()) return answer;  // without a bound: some numbers of sequences were not looked at
  }
  std::ranges::sort(rounds, {}, &Round::least);
  if (rounds.empty()) return answer;
  answer.bound_ms = rounds.front().least;
  for (const Round& round : rounds) {
    if (round.least >= answer.value_ms || budget.expired()) break;
    Cut(profiles, task, round.sequences, *round.bound, budget).improve(round.longest, answer);
  }
  return answer;
}

}  // namespace opweave
