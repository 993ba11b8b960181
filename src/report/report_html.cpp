#include "opweave/report.h"
#include "report/page.h"
#include "report/report_data.h"

namespace opweave {

std::string report_html(const Problem& problem, const Plan& plan, const std::vector<ComparisonRow>& comparison,
                        const ReportNotes& notes) {
  return kPageBeforePlan + report_data(problem, plan, comparison, notes) + kPageAfterPlan;
}

}  // namespace opweave
