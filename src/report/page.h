/// The page of the report without its plan, embedded at build time from src/report/page.
#pragma once

namespace opweave {

/// The plan, as JSON in which no "<" occurs, goes between these two.
extern const char* const kPageBeforePlan;
extern const char* const kPageAfterPlan;

}  // namespace opweave
