#include "training/cut_search.h"

#include <algorithm>

namespace opweave::detail {
namespace {

/// Steps below one choice of where the rounds begin, and such choices, at first; then all are searched to the end.
constexpr std::int64_t kFirstSteps = 5'000;
constexpr std::int64_t kFirstRounds = 64;

std::int64_t sum_up(std::int64_t a, std::int64_t b) { return a > kNoLimit - b ? kNoLimit : a + b; }

}  // namespace

std::size_t CutSearch::KeyHash::operator()(const std::vector<std::uint32_t>& key) const {
  std::uint64_t hash = 0x9E3779B97F4A7C15ULL;
  for (const std::uint32_t value : key) hash = (hash ^ value) * 0x100000001B3ULL + (hash >> 29);
  return static_cast<std::size_t>(hash);
}

CutSearch::Answer CutSearch::run(const CutLimits& limits, Want want, std::int64_t& steps, const Visitor& visit) {
  limits_ = limits;
  steps_ = &steps;
  visit_ = &visit;
  const auto capacity = capacity_.of_groups(limits);
  if (!capacity) return Answer::kAll;
  capacity_after_.assign(loads_.groups(), 0);
  for (std::uint32_t group = loads_.groups() - 1; group-- > 0;) {
    capacity_after_[group] = sum_up(capacity_after_[group + 1], (*capacity)[group + 1]);
  }
  if (loads_.weight(0, loads_.layers()) > sum_up(capacity_after_[0], capacity->front())) return Answer::kAll;
  bounds_.assign(loads_.stages() + 1, 0);
  rest_.assign(loads_.fronts().size(), {0, 0});
  rest_.back().end = loads_.layers();
  // A choice of rounds may hold nothing and take long to prove it, while the next one has a cut at once.
  if (want == Want::kOne && loads_.fronts().size() > 1) {
    round_steps_ = kFirstSteps;
    rounds_left_ = kFirstRounds;
    cut_short_ = false;
    if (choose_begin(1)) return Answer::kStopped;
    if (!cut_short_) return Answer::kAll;
  }
  round_steps_ = kNoLimit;
  rounds_left_ = kNoLimit;
  cut_short_ = false;
  if (choose_begin(1)) return Answer::kStopped;
  return cut_short_ ? Answer::kUnknown : Answer::kAll;
}

bool CutSearch::round_fits(const Interval& interval, std::uint32_t stages) const {
  if (interval.end < interval.begin + stages) return false;
  if (!loads_.one_kind() || limits_.stage >= kNoLimit / stages) return true;
  return loads_.weight(interval.begin, interval.end) <= limits_.stage * stages;
}

/// Chooses the first layer of a round, nearest to an equal share first.
bool CutSearch::choose_begin(std::size_t round) {
  const auto& fronts = loads_.fronts();
  if (round == fronts.size()) {
    if (!round_fits(rest_.back(), fronts.back().stages)) return false;
    return search_rounds();
  }
  const std::uint32_t from = rest_[round - 1].begin;
  std::uint32_t later_stages = 0;
  for (std::size_t later = round; later < fronts.size(); ++later) later_stages += fronts[later].stages;
  const std::uint32_t least = from + fronts[round - 1].stages;
  const std::uint32_t most = loads_.layers() - later_stages;
  if (least > most) return false;
  const std::uint32_t here = fronts[round - 1].stages;
  const double wanted = static_cast<double>(loads_.weight_before()[from]) +
                        static_cast<double>(loads_.weight(from, loads_.layers())) * here / (here + later_stages);
  const auto& before = loads_.weight_before();
  const auto first = static_cast<std::uint32_t>(
      std::lower_bound(before.begin() + least, before.begin() + most, static_cast<std::int64_t>(wanted)) -
      before.begin());
  for (std::uint32_t distance = 0; distance <= most - least; ++distance) {
    for (const bool up : {true, false}) {
      if (distance == 0 && !up) continue;
      if (up ? distance > most - first : distance > first - least) continue;
      const std::uint32_t begin = up ? first + distance : first - distance;
      if (--*steps_ <= 0 || rounds_left_ < 0) {
        cut_short_ = true;
        return false;
      }
      rest_[round - 1] = {from, begin};
      rest_[round].begin = begin;
      if (!round_fits(rest_[round - 1], here)) continue;
      if (choose_begin(round + 1)) return true;
    }
  }
  return false;
}

bool CutSearch::search_rounds() {
  if (--rounds_left_ < 0) {
    cut_short_ = true;
    return false;
  }
  failed_.clear();
  left_ = loads_.weight(0, loads_.layers());
  round_limit_ = round_steps_ == kNoLimit ? 0 : std::max<std::int64_t>(0, *steps_ - round_steps_);
  const std::vector<Interval> rounds = rest_;
  const bool stop = choose_stage(0, 0, {0, 0, 0});
  rest_ = rounds;
  return stop;
}

std::uint32_t CutSearch::fronts_in(std::uint32_t group) const {
  std::uint32_t count = 0;
  for (const CutFront& front : loads_.fronts()) count += group < front.stages ? 1U : 0U;
  return count;
}

std::vector<std::uint32_t> CutSearch::state(std::uint32_t group) const {
  std::vector<std::uint32_t> result = {group};
  for (std::size_t front = 0; front < rest_.size(); ++front) {
    result.push_back(loads_.fronts()[front].downwards ? rest_[front].end : rest_[front].begin);
  }
  return result;
}

CutSearch::Interval CutSearch::part_of(std::size_t front, std::uint32_t layers) const {
  const Interval rest = rest_[front];
  return loads_.fronts()[front].downwards ? Interval{rest.end - layers, rest.end}
                                          : Interval{rest.begin, rest.begin + layers};
}

/// Most layers with which the group keeps to the limits: more layers only take longer.
std::uint32_t CutSearch::fullest(std::uint32_t group, std::size_t front, std::uint32_t most,
                                 const CutLoads::Share& load) const {
  std::uint32_t low = 0;
  while (low < most) {
    const std::uint32_t middle = low + (most - low + 1) / 2;
    const Interval taken = part_of(front, middle);
    const CutLoads::Share part = loads_.share(group, front, taken.begin, taken.end);
    if (part.longest > limits_.stage || part.first > limits_.load - load.first ||
        part.second > limits_.load - load.second) {
      most = middle - 1;
    } else {
      low = middle;
    }
  }
  return low;
}

/// Chooses how many layers the group's stage in one round has. True to stop everything.
bool CutSearch::choose_stage(std::uint32_t group, std::size_t front, const CutLoads::Share& load) {
  const std::uint32_t fronts = fronts_in(group);
  if (front == fronts) return next_group(group);
  const std::uint32_t stages_after = loads_.fronts()[front].stages - 1 - group;
  const std::uint32_t available = rest_[front].end - rest_[front].begin;
  if (available <= stages_after) return false;
  const std::uint32_t most = fullest(group, front, available - stages_after, load);
  if (stages_after == 0) return most == available && take(group, front, most, load);
  if (front + 1 == fronts) {
    // The fullest first: what a device does not take others must.
    for (std::uint32_t layers = most; layers >= 1; --layers) {
      const Interval taken = part_of(front, layers);
      if (left_ - loads_.weight(taken.begin, taken.end) > capacity_after_[group]) return false;
      if (take(group, front, layers, load)) return true;
      if (out_of_steps()) return false;
    }
    return false;
  }
  if (most == 0) return false;
  // Near the share of this device first.
  const std::uint32_t share = (available + stages_after / 2) / (stages_after + 1);
  const std::uint32_t first = std::clamp(share, 1U, most);
  for (std::uint32_t distance = 0; distance < most; ++distance) {
    if (distance <= most - first && take(group, front, first + distance, load)) return true;
    if (distance > 0 && first > distance && take(group, front, first - distance, load)) return true;
    if (out_of_steps()) return false;
  }
  return false;
}

bool CutSearch::take(std::uint32_t group, std::size_t front, std::uint32_t layers, const CutLoads::Share& load) {
  --*steps_;
  if (out_of_steps()) {
    cut_short_ = true;
    return false;
  }
  const CutFront& of = loads_.fronts()[front];
  const Interval rest = rest_[front];
  const Interval taken = part_of(front, layers);
  const CutLoads::Share part = loads_.share(group, front, taken.begin, taken.end);
  const std::int64_t weight = loads_.weight(taken.begin, taken.end);
  rest_[front] = of.downwards ? Interval{rest.begin, taken.begin} : Interval{taken.end, rest.end};
  const std::uint32_t stages_after = of.stages - 1 - group;
  bool stop = false;
  if (stages_after == 0 || round_fits(rest_[front], stages_after)) {
    left_ -= weight;
    bounds_[of.stage(group)] = taken.begin;
    stop = choose_stage(group, front + 1, {load.first + part.first, load.second + part.second, 0});
    left_ += weight;
  }
  rest_[front] = rest;
  return stop;
}

bool CutSearch::next_group(std::uint32_t group) {
  if (group + 1 == loads_.groups()) {
    ++found_;
    bounds_.back() = loads_.layers();
    return !(*visit_)(bounds_);
  }
  if (left_ > capacity_after_[group]) return false;
  std::vector<std::uint32_t> key = state(group);
  if (failed_.contains(key)) return false;
  const std::uint64_t found_before = found_;
  if (choose_stage(group + 1, 0, {0, 0, 0})) return true;
  if (found_ == found_before && !out_of_steps()) failed_.insert(std::move(key));
  return false;
}

}  // namespace opweave::detail
