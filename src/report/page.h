/// The pages of the reports without their data, embedded at build time from src/report/page.
#pragma once

namespace opweave {

/// The plan, as JSON in which no "<" occurs, goes between these two.
extern const char* const kPageBeforePlan;
extern const char* const kPageAfterPlan;
/// So do strategies between these two.
extern const char* const kPageBeforeStrategy;
extern const char* const kPageAfterStrategy;

}  // namespace opweave
