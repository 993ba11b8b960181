/// What searches find on their way, offered as often as pays.
#pragma once

#include <string>

#include "planner/incumbent.h"
#include "planner/slice.h"

namespace opweave {

/// Offers the improvements of one search: a check of a long schedule takes a while. In a repeatable slice nothing is
/// offered on the way, since what others find meanwhile must not matter. Used from one thread.
class Offers {
 public:
  Offers(IncumbentStore& incumbent, const Slice& slice, std::string method);

  /// The schedule stays where it is until the next call, or until there is another one.
  void remember(const Schedule& schedule);
  /// Offers what is remembered, if it is time.
  void offer_if_due();
  /// For what is costly to make: true if it is time, whereupon `offered` is called when it has been offered.
  [[nodiscard]] bool is_due() const;
  /// What began at this moment of the budget has been offered.
  void offered(double began);

 private:
  IncumbentStore& incumbent_;
  const Budget budget_;
  const bool is_silent_;
  const std::string method_;
  const Schedule* waiting_ = nullptr;
  double next_ = 0;
};

}  // namespace opweave
