/// Ways to spoil a valid plan with layouts, each with the rule that it breaks.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "opweave/check_layouts.h"
#include "opweave/layouts.h"

namespace opweave::testing {

/// One kind of corruption.
struct LayoutSpoiler {
  Rule rule;         ///< that must be among the violations
  const char* text;  ///< that a message of this rule must contain
  std::function<void(LayoutPlan&)> spoil;
};

/// `check` accepts the valid plan, and names the right rule for each that is spoiled.
inline void expect_each_named(const LayoutProblem& problem, const LayoutPlan& valid,
                              const std::vector<LayoutSpoiler>& spoilers) {
  const auto accepted = check(problem.graph(), problem.cluster(), valid);
  ASSERT_TRUE(accepted.empty()) << to_string(accepted.front().rule) << ": " << accepted.front().message;
  int number = 0;
  for (const LayoutSpoiler& spoiler : spoilers) {
    LayoutPlan plan = valid;
    spoiler.spoil(plan);
    bool found = false;
    std::string said;
    for (const Violation& violation : check(problem.graph(), problem.cluster(), plan)) {
      found = found || (violation.rule == spoiler.rule && violation.message.find(spoiler.text) != std::string::npos);
      said += std::string(to_string(violation.rule)) + ": " + violation.message + "; ";
    }
    EXPECT_TRUE(found) << "kind " << number << " (" << to_string(spoiler.rule) << ", " << spoiler.text << "): " << said;
    ++number;
  }
}

}  // namespace opweave::testing
