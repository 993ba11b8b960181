#include "planner/search_lanes.h"

#include <limits>
#include <utility>

#include "order_search/order_search.h"

namespace opweave {
namespace {

/// Tasks of the largest problem whose placement the routing search looks at.
constexpr std::size_t kMostRoutedTasks = 4000;
/// Seconds between two offers of one lane: an offer costs a full check.
constexpr double kOfferInterval = 0.2;
/// Temperature at which the order search begins, in mean durations: it refines what is good already.
constexpr double kHeat = 1;

/// Offers improvements, but not more often than pays.
class Offers {
 public:
  Offers(IncumbentStore& incumbent, const Budget& budget, std::string method)
      : incumbent_(incumbent), budget_(budget), method_(std::move(method)) {}

  /// The schedule stays where it is until the next call.
  void remember(const Schedule& schedule) {
    waiting_ = &schedule;
    offer_if_due();
  }
  void offer_if_due() {
    if (waiting_ == nullptr || budget_.elapsed() < next_) return;
    incumbent_.offer(*waiting_, method_);
    waiting_ = nullptr;
    next_ = budget_.elapsed() + kOfferInterval;
  }

 private:
  IncumbentStore& incumbent_;
  const Budget& budget_;
  std::string method_;
  const Schedule* waiting_ = nullptr;
  double next_ = 0;
};

}  // namespace

bool RoutingLane::supports(const ProblemTraits& traits) {
  return traits.microbatches == 1 && traits.has_open_placement && traits.tasks <= kMostRoutedTasks;
}

RoutingLane::RoutingLane(std::shared_ptr<const routing::Model> model, std::uint64_t seed, IncumbentStore& incumbent)
    : incumbent_(incumbent), search_(std::move(model), incumbent.schedule(), seed) {}

void RoutingLane::advance(const Budget& budget) {
  if (incumbent_.makespan() < search_.makespan()) search_.adopt(incumbent_.schedule());
  Offers offers(incumbent_, budget, kRoutingSearch);
  const auto should_stop = [&] {
    offers.offer_if_due();
    return budget.expired();
  };
  search_.advance(std::numeric_limits<std::uint64_t>::max(), should_stop,
                  [&](const Schedule& schedule) { offers.remember(schedule); });
  incumbent_.offer(search_.best(), kRoutingSearch);
}

void OrderLane::advance(const Budget& budget) {
  Offers offers(incumbent_, budget, kOrderSearch);
  const Schedule found = improve_order(problem_, incumbent_.schedule(), budget,
                                       {seed_++, std::numeric_limits<std::uint64_t>::max(), kHeat},
                                       [&](const Schedule& schedule) { offers.remember(schedule); });
  incumbent_.offer(found, kOrderSearch);
}

}  // namespace opweave
