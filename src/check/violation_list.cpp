#include "check/violation_list.h"

#include <algorithm>
#include <utility>

namespace opweave::checking {

// No room at all would make every plan look valid.
ViolationList::ViolationList(std::size_t limit) : limit_(std::max<std::size_t>(limit, 1)) {}

std::vector<Violation> ViolationList::take() {
  std::array<std::size_t, kRules> share{};
  std::size_t left = limit_;
  for (bool found_one = true; found_one && left > 0;) {
    found_one = false;
    for (std::size_t rule = 0; rule < kRules && left > 0; ++rule) {
      if (share[rule] == lists_[rule].size()) continue;
      ++share[rule];
      --left;
      found_one = true;
    }
  }
  std::vector<Violation> result;
  for (std::size_t rule = 0; rule < kRules; ++rule) {
    for (std::size_t i = 0; i < share[rule]; ++i) {
      result.push_back({static_cast<Rule>(rule), std::move(lists_[rule][i])});
    }
  }
  return result;
}

}  // namespace opweave::checking
