#include <fmt/format.h>

#include <algorithm>

#include "bounds/bound_context.h"
#include "bounds/interval_work.h"

namespace opweave::bounds {
namespace {

__extension__ using Wide = __int128;

/// Two intervals at the ends of a plan and the bound that they prove.
struct Ramp {
  Nanoseconds value = 0;
  IntervalWork::Sample head{0, 0};
  IntervalWork::Sample tail{0, 0};
};

/// Intervals of lengths h and t in which at most A and B of the work W can be done: if W > A + B they
/// do not cover the plan, and between them m machines do the rest: T >= h + t + (W - A - B) / m.
Ramp best_ramp(std::vector<IntervalWork::Sample> heads, std::vector<IntervalWork::Sample> tails, Nanoseconds total,
               std::int64_t machines) {
  heads.push_back({0, 0});
  tails.push_back({0, 0});
  const auto by_work = [](const IntervalWork::Sample& a, const IntervalWork::Sample& b) { return a.most < b.most; };
  std::sort(heads.begin(), heads.end(), by_work);
  std::sort(tails.begin(), tails.end(), by_work);
  const auto idle = [machines](const IntervalWork::Sample& s) { return Wide{machines} * s.length - s.most; };
  // Heads by rising work: the tails that still leave work between shrink to a prefix.
  std::vector<std::size_t> best_tail(tails.size());  // most idle time among the first tails
  for (std::size_t i = 1; i < tails.size(); ++i) {
    best_tail[i] = idle(tails[i]) > idle(tails[best_tail[i - 1]]) ? i : best_tail[i - 1];
  }
  Ramp best;
  std::size_t usable = tails.size();
  for (const IntervalWork::Sample& head : heads) {
    while (usable > 0 && tails[usable - 1].most >= total - head.most) --usable;
    if (usable == 0) break;
    const IntervalWork::Sample& tail = tails[best_tail[usable - 1]];
    const Wide sum = idle(head) + idle(tail) + total;
    const auto value = static_cast<Nanoseconds>((sum + machines - 1) / machines);
    if (value > best.value) best = {value, head, tail};
  }
  return best;
}

}  // namespace

std::string describe(const Problem& problem, const DeviceSet& devices, StreamId stream) {
  const std::string& name = problem.cluster().stream_names()[stream.index()];
  if (devices.size() > 1) return fmt::format("{} devices, stream \"{}\"", devices.size(), name);
  return fmt::format("device \"{}\", stream \"{}\"", problem.cluster().at(devices.front()).name, name);
}

std::optional<LowerBound> memory_ramp_bound(const BoundContext& context) {
  const Relaxation& relaxation = context.relaxation;
  const Problem& problem = relaxation.problem();
  std::optional<LowerBound> best;
  for (const MemoryPool& pool : context.pools.pools()) {
    if (!pool.capacity || pool.kind == MemoryPoolKind::kUnknown) continue;
    if (context.modes != nullptr && pool.kind != MemoryPoolKind::kDevice) continue;
    for (std::size_t s = 0; s < problem.cluster().stream_names().size(); ++s) {
      const StreamId stream(s);
      const IntervalWork head(relaxation, pool, stream, Direction::kForward, context.ends.head, context.modes);
      if (head.total() == 0) continue;
      const IntervalWork tail(relaxation, pool, stream, Direction::kBackward, context.ends.tail, context.modes);
      const Ramp ramp =
          best_ramp(head.samples(context.budget), tail.samples(context.budget), head.total(), head.machines());
      if (!best || ramp.value > best->value.value()) {
        best = {"memory-ramp", Duration(ramp.value),
                fmt::format("{}: of {} ns of work at most {} ns in the first {} ns and {} ns in the last {} ns",
                            describe(problem, pool.devices, stream), head.total(), ramp.head.most, ramp.head.length,
                            ramp.tail.most, ramp.tail.length)};
      }
    }
    if (context.budget.expired()) break;
  }
  return best;
}

}  // namespace opweave::bounds
