// The table of methods: what a new one takes, and what the page of the architecture says of it.
#include "planner/method_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "planner/minimise_makespan.h"
#include "support/files.h"
#include "support/job_shop.h"
#include "support/pipelines.h"

namespace opweave {
namespace {

/// All that a method takes, beside its row.
class Idle final : public SearchMethod {
 public:
  static bool supports(const ProblemTraits&) { return true; }
  static double share(const ProblemTraits&) { return 0.1; }

  Idle(SearchContext&, std::uint64_t) {}
  void advance(IncumbentStore& incumbent, const Slice& slice) override {
    EXPECT_TRUE(incumbent.makespan());
    ++(slice.is_repeatable() ? repeatable_slices : timed_slices);
  }

  static inline int timed_slices = 0;
  static inline int repeatable_slices = 0;
};

TEST(MethodTable, one_row_makes_a_method_run_by_the_clock_and_under_a_work_limit) {
  const std::vector<Problem> problems = {
      testing::random_job_shop(2, 10, 8, 3),                                                           // routed
      testing::stage_pipeline({PipelineShape::kLinear, 4, 8, 1, 1.2, .8, .1, {2.5, 2.5, 2.5, 2.5}})};  // orders alone
  constexpr MethodRow kRows[] = {
      method_row<Idle>("idle", MethodPhase::kFirstPlans, MethodThreads::kAll),
      method_row<Idle>("idle", MethodPhase::kBefore, MethodThreads::kOwn),
      method_row<Idle>("idle", MethodPhase::kTogether, MethodThreads::kEach),
  };
  for (const Problem& problem : problems) {
    for (const MethodRow& row : kRows) {
      std::vector<MethodRow> rows(search_methods().begin(), search_methods().end());
      // First in its phase, before a quick machine has proven that nothing is left to find; behind the first plan.
      rows.insert(row.phase == MethodPhase::kFirstPlans ? rows.end() : rows.begin(), row);
      SCOPED_TRACE(to_string(row.phase));
      for (const Budget& budget : {Budget(0.7, std::nullopt), Budget(std::nullopt, 400)}) {
        Idle::timed_slices = 0;
        Idle::repeatable_slices = 0;
        const Finding finding = minimise_makespan(problem, budget, {}, std::nullopt, nullptr, rows);
        EXPECT_TRUE(finding.schedule);
        const bool by_clock = budget.remaining().has_value();
        EXPECT_GT(by_clock ? Idle::timed_slices : Idle::repeatable_slices, 0) << by_clock;
        EXPECT_EQ(by_clock ? Idle::repeatable_slices : Idle::timed_slices, 0) << by_clock;
      }
    }
  }
}

TEST(MethodTable, is_shown_row_by_row_on_the_page_of_the_architecture) {
  std::string rows;
  for (const MethodRow& row : search_methods()) {
    rows += fmt::format("| {} | {} | {} | {} |", row.name, to_string(row.phase), to_string(row.threads),
                        row.least_evaluations);
    rows += "\n";
  }
  std::string shown;
  bool in_table = false;
  const std::string page = testing::content_of(testing::source_dir() / "docs/architecture.md");
  for (std::size_t at = 0; at < page.size();) {
    const std::size_t end = std::min(page.find('\n', at), page.size());
    const std::string line = page.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("| method | phase | threads | least evaluations |"))
      in_table = true;
    else if (!line.starts_with("|"))
      in_table = false;
    else if (in_table && !line.starts_with("| ---")) {
      std::size_t column = 0;
      for (int i = 0; i < 4; ++i) column = line.find('|', column + 1);
      shown += line.substr(0, column + 1) + "\n";
    }
  }
  EXPECT_EQ(shown, rows) << "docs/architecture.md, \"Methods of a search for the makespan\"";
}

}  // namespace
}  // namespace opweave
