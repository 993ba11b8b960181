/// What the rules found, kept within the caller's limit.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "opweave/check.h"

namespace opweave::checking {

/// Collects violations. One broken thing can break a rule in a thousand places and another rule in
/// one: every rule keeps its own list, so that none of them is crowded out by the limit.
class ViolationList {
 public:
  explicit ViolationList(std::size_t limit);

  /// Adds make_message(), which is only called where there is room for it.
  template <class MakeMessage>
  void add(Rule rule, MakeMessage make_message) {
    std::vector<std::string>& list = lists_[static_cast<std::size_t>(rule)];
    if (list.size() < limit_) list.push_back(make_message());
  }

  /// At most `limit` violations by rule; where there are more, all broken rules have a share.
  [[nodiscard]] std::vector<Violation> take();

 private:
  static constexpr std::size_t kRules = static_cast<std::size_t>(Rule::kReduction) + 1;

  std::size_t limit_;
  std::array<std::vector<std::string>, kRules> lists_;
};

}  // namespace opweave::checking
