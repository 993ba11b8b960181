#include "planner/routing_method.h"

#include <limits>

#include "planner/offers.h"

namespace opweave {
namespace {

constexpr const char* kRoutingName = "routing search";
/// Tasks of the largest problem whose placement the routing search looks at.
constexpr std::size_t kMostRoutingTasks = 4000;
/// Share of a thread, beside the others.
constexpr double kRoutingShare = 0.5;

}  // namespace

bool RoutingMethod::supports(const ProblemTraits& traits) {
  return traits.microbatches == 1 && traits.has_open_placement && traits.tasks <= kMostRoutingTasks &&
         traits.routing_model() != nullptr;
}

double RoutingMethod::share(const ProblemTraits&) { return kRoutingShare; }

void RoutingMethod::advance(IncumbentStore& incumbent, const Slice& slice) {
  if (!search_) search_.emplace(model_, incumbent.schedule(), seed_);
  if (*incumbent.makespan() < search_->makespan()) search_->adopt(incumbent.schedule());
  const Duration bound = incumbent.lower_bound();
  Offers offers(incumbent, slice, kRoutingName);
  const auto should_stop = [&] {
    offers.offer_if_due();
    return slice.budget.expired() || (slice.is_repeatable() && search_->makespan() <= bound);
  };
  search_->advance(slice.evaluations ? search_->evaluations() + *slice.evaluations : slice.most_evaluations(),
                   should_stop, [&](const Schedule& schedule) { offers.remember(schedule); });
  incumbent.offer(search_->best(), kRoutingName);
}

}  // namespace opweave
