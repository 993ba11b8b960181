// The page in headless Chromium: no complaint on the console, nothing loaded, every control does what it says.
#include <gtest/gtest.h>

#include "opweave/report.h"
#include "report/python_check.h"
#include "report/sample_plans.h"
#include "support/tiny_diamond.h"

namespace opweave::testing {
namespace {

/// Opens the report of a plan; the first picture must be there within `milliseconds`.
void check_in_browser(const std::string& name, const SamplePlan& sample, const std::vector<ComparisonRow>& comparison,
                      int milliseconds) {
  const TemporaryFolder folder("browser-" + name);
  folder.write(name + ".html", report_html(sample.problem, sample.plan, comparison));
  std::vector<std::string> arguments = {folder.path(name + ".html"), std::to_string(milliseconds)};
  if (const char* pictures = std::getenv("OPWEAVE_PICTURES")) arguments.emplace_back(pictures);
  run_python_check("browser_check.py", arguments);
}

std::vector<ComparisonRow> some_experts(const Plan& plan) {
  const std::int64_t makespan = plan.statistics.makespan.value();
  return {{"opweave", Duration(makespan), 0.2, Bytes(30'000'000'000), 1, true, 0.1},
          {"1F1B", Duration(makespan * 6 / 5), 0.3, Bytes(31'000'000'000), 1, true, 0.25},
          {"GPipe", Duration(makespan * 9 / 10), 0.1, Bytes(99'000'000'000), 1, false, std::nullopt}};
}

TEST(ReportInBrowser, small_plan_works) {
  SamplePlan sample = sample_pipeline({2, 1, 4});
  const std::int64_t makespan = sample.plan.statistics.makespan.value();
  sample.plan.bounds = {{"load", Duration(makespan * 9 / 10), "gpu0, compute"},
                        {"critical-path", Duration(makespan / 2), ""}};
  sample.plan.provenance.seconds = 12;
  sample.plan.provenance.trajectory = {{0.01, Duration(makespan * 5 / 4), "list scheduling"},
                                       {0.3, Duration(makespan * 11 / 10), "local search"},
                                       {9, Duration(makespan), "local search"}};
  check_in_browser("small", sample, some_experts(sample.plan), 2000);
}

TEST(ReportInBrowser, plan_without_phases_stages_and_limits_works) {
  const Problem problem = Problem::create(tiny_diamond_graph(), tiny_cluster());
  check_in_browser("diamond", make_sample(problem, 1), {}, 2000);
}

TEST(ReportInBrowser, hostile_names_stay_text) {
  check_in_browser("hostile", sample_pipeline({2, 1, 3, "</script><b id=\"injected\">&amp;'"}), {}, 2000);
}

// The names begin with what alone would fill the room beside the picture.
TEST(ReportInBrowser, long_names_are_whole_but_for_what_all_begin_with) {
  check_in_browser("long", sample_pipeline({3, 1, 3, "eu-west-1.datacentre-17.rack-4."}), {}, 2000);
}

TEST(ReportInBrowser, pipeline_of_6400_tasks_opens_within_two_seconds) {
  const SamplePlan sample = sample_pipeline({8, 4, 20});
  ASSERT_GT(sample.plan.tasks.size(), 6'400U);
  check_in_browser("main", sample, some_experts(sample.plan), 2000);
}

TEST(ReportInBrowser, plan_of_100000_tasks_opens_within_five_seconds) {
  const SamplePlan sample = sample_pipeline({64, 4, 40});
  ASSERT_GT(sample.plan.tasks.size(), 100'000U);
  check_in_browser("large", sample, {}, 5000);
}

}  // namespace
}  // namespace opweave::testing
