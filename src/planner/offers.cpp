#include "planner/offers.h"

#include <algorithm>
#include <utility>

namespace opweave {
namespace {

/// Seconds between two offers of a search, and the most of its time that may go to offers.
constexpr double kInterval = 0.2;
constexpr double kOfferShare = 0.1;

}  // namespace

Offers::Offers(IncumbentStore& incumbent, const Slice& slice, std::string method)
    : incumbent_(incumbent), budget_(slice.budget), is_silent_(slice.is_repeatable()), method_(std::move(method)) {}

bool Offers::is_due() const { return !is_silent_ && budget_.elapsed() >= next_; }

void Offers::offered(double began) {
  const double now = budget_.elapsed();
  next_ = now + std::max(kInterval, (now - began) / kOfferShare);
}

void Offers::remember(const Schedule& schedule) {
  waiting_ = &schedule;
  offer_if_due();
}

void Offers::offer_if_due() {
  if (waiting_ == nullptr || !is_due()) return;
  const double began = budget_.elapsed();
  incumbent_.offer(*waiting_, method_);
  waiting_ = nullptr;
  offered(began);
}

}  // namespace opweave
