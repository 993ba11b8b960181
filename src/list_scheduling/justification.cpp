#include "list_scheduling/justification.h"

#include <algorithm>
#include <utility>

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/reference_order.h"

namespace opweave {
namespace {

/// What the starts are when the time runs the other way.
std::vector<std::int64_t> reversed(const PlacedProblem& placed, const std::vector<std::int64_t>& starts) {
  const std::int64_t end = length(placed, starts);
  std::vector<std::int64_t> result(starts.size());
  for (ActivityId activity = 0; activity < placed.activity_count(); ++activity)
    result[activity] = end - starts[activity] - placed.duration(activity);
  return result;
}

/// The schedule again, in its own order, with nothing waiting that could run. As it is where it does not fit run
/// serially.
std::vector<std::int64_t> tightened(const PlacedProblem& placed, std::vector<std::int64_t> starts) {
  const ReferenceOrder reference = reference_order(placed, starts);
  return reference.fits ? list_schedule(placed, reference, starts) : std::move(starts);
}

}  // namespace

std::int64_t length(const PlacedProblem& placed, const std::vector<std::int64_t>& starts) {
  std::int64_t end = 0;
  for (ActivityId activity = 0; activity < placed.activity_count(); ++activity)
    end = std::max(end, starts[activity] + placed.duration(activity));
  return end;
}

std::vector<std::int64_t> justify(const PlacedProblem& placed, std::vector<std::int64_t> starts, const Budget& budget) {
  const PlacedProblem mirror = placed.mirrored();
  std::int64_t best = length(placed, starts);
  double last_pass = 0;
  while (!budget.expired() && budget.remaining().value_or(last_pass) >= last_pass) {
    const double began = budget.elapsed();
    std::vector<std::int64_t> next = tightened(mirror, reversed(placed, starts));
    next = tightened(placed, reversed(placed, next));
    last_pass = budget.elapsed() - began;
    const std::int64_t now = length(placed, next);
    if (now >= best) break;
    best = now;
    starts = std::move(next);
  }
  return starts;
}

}  // namespace opweave
