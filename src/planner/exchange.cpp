#include "opweave/exchange.h"

#include "planner/incumbent.h"

namespace opweave {

void Exchange::offer(Schedule schedule, std::string method) {
  const std::scoped_lock lock(mutex_);
  schedule_.emplace(std::move(schedule), std::move(method));
  deliver();
}

void Exchange::raise_bound(LowerBound bound) {
  const std::scoped_lock lock(mutex_);
  if (!bound_ || bound.value > bound_->value) bound_ = std::move(bound);
  deliver();
}

void Exchange::attach(IncumbentStore& store) {
  const std::scoped_lock lock(mutex_);
  store_ = &store;
  deliver();
}

void Exchange::detach(const IncumbentStore& store) {
  const std::scoped_lock lock(mutex_);
  if (store_ == &store) store_ = nullptr;
}

void Exchange::deliver() {
  if (store_ == nullptr) return;
  if (const auto better = std::exchange(schedule_, std::nullopt)) store_->offer(better->first, better->second);
  if (const auto bound = std::exchange(bound_, std::nullopt)) store_->raise_bound(*bound);
}

}  // namespace opweave
