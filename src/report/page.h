/// The pages of the reports without their data, embedded at build time from src/report/page.
#pragma once

#include <string>
#include <string_view>

namespace opweave {

/// The plan, as JSON in which no "<" occurs, goes between these two.
extern const char* const kPageBeforePlan;
extern const char* const kPageAfterPlan;
/// So do strategies, and a sweep, between these.
extern const char* const kPageBeforeStrategy;
extern const char* const kPageAfterStrategy;
extern const char* const kPageBeforeSweep;
extern const char* const kPageAfterSweep;

/// The page with its data; "<" in them is escaped, so that no text ends the script element.
[[nodiscard]] std::string filled_page(std::string_view before, std::string_view json, std::string_view after);

}  // namespace opweave
