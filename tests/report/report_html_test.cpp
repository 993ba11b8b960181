#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "opweave/report.h"
#include "report/page.h"
#include "report/sample_plans.h"
#include "support/tiny_diamond.h"

namespace opweave::testing {
namespace {

using Json = nlohmann::json;

Json data_of(const std::string& page) {
  const std::size_t start = std::string(kPageBeforePlan).size();
  return Json::parse(page.substr(start, page.size() - start - std::string(kPageAfterPlan).size()));
}

std::vector<std::int64_t> running(const Json& differences) {
  std::vector<std::int64_t> values;
  std::int64_t value = 0;
  for (const Json& difference : differences) values.push_back(value += difference.get<std::int64_t>());
  return values;
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

TEST(ReportHtml, page_holds_every_task_and_transfer_exactly) {
  const SamplePlan sample = sample_pipeline({4, 2, 6});
  const Json data = data_of(report_html(sample.problem, sample.plan, {}));

  ASSERT_EQ(data["tasks"]["copy"].size(), sample.plan.tasks.size());
  const auto ops = running(data["tasks"]["op"]);
  const auto starts = running(data["tasks"]["start"]);
  for (std::size_t t = 0; t < sample.plan.tasks.size(); ++t) {
    const PlannedTask& task = sample.plan.tasks[t];
    ASSERT_EQ(ops[t], task.op.index());
    ASSERT_EQ(data["operators"]["name"][task.op.index()], sample.problem.graph().at(task.op).name);
    ASSERT_EQ(data["tasks"]["copy"][t], task.copy);
    ASSERT_EQ(starts[t], task.start.value());
    ASSERT_EQ(starts[t] + data["tasks"]["duration"][t].get<std::int64_t>(), task.end.value());
    const Json& devices = data["device_sets"][data["tasks"]["devices"][t].get<std::size_t>()];
    ASSERT_EQ(devices.size(), task.devices.size());
    for (std::size_t d = 0; d < devices.size(); ++d) ASSERT_EQ(devices[d], task.devices[d].index());
  }

  ASSERT_GT(sample.plan.transfers.size(), 0U);
  ASSERT_EQ(data["transfers"]["copy"].size(), sample.plan.transfers.size());
  const auto sent = running(data["transfers"]["start"]);
  for (std::size_t t = 0; t < sample.plan.transfers.size(); ++t) {
    const PlannedTransfer& transfer = sample.plan.transfers[t];
    const auto tensor = data["transfers"]["tensor"][t].get<std::size_t>();
    ASSERT_EQ(data["tensors"]["name"][tensor], sample.problem.graph().at(transfer.tensor).name);
    ASSERT_EQ(data["tensors"]["producer"][tensor], sample.problem.graph().at(transfer.tensor).producer->index());
    ASSERT_EQ(sent[t], transfer.start.value());
    ASSERT_EQ(sent[t] + data["transfers"]["duration"][t].get<std::int64_t>(), transfer.end.value());
    ASSERT_EQ(data["transfers"]["source"][t], transfer.source.index());
    ASSERT_EQ(data["transfers"]["destination"][t], transfer.destination.index());
  }
}

TEST(ReportHtml, page_holds_the_memory_curves_and_figures) {
  const SamplePlan sample = sample_pipeline({3, 1, 5});
  const Json data = data_of(report_html(sample.problem, sample.plan, {}));
  const auto curves = memory_curves(sample.problem, sample.schedule);
  for (std::size_t d = 0; d < curves.size(); ++d) {
    const Json& device = data["devices"][d];
    const auto times = running(device["memory"]["time"]);
    const auto bytes = running(device["memory"]["bytes"]);
    ASSERT_EQ(times.size(), curves[d].size());
    for (std::size_t i = 0; i < times.size(); ++i) {
      ASSERT_EQ(times[i], curves[d][i].time.value());
      ASSERT_EQ(bytes[i], curves[d][i].bytes.value());
    }
    EXPECT_EQ(*std::max_element(bytes.begin(), bytes.end()), sample.plan.statistics.devices[d].peak_memory.value());
    EXPECT_EQ(device["capacity"], std::int64_t{80} << 30);
    std::int64_t held = 0;
    for (const std::int64_t parameter : running(device["parameters"])) {
      const auto index = static_cast<std::size_t>(parameter);
      EXPECT_EQ(data["parameters"]["name"][index], sample.problem.graph().parameters()[index].name);
      held += data["parameters"]["bytes"][index].get<std::int64_t>();
    }
    EXPECT_GT(held, 0);
    EXPECT_EQ(held, sample.plan.statistics.devices[d].persistent_memory.value());
    EXPECT_EQ(device["statistics"]["compute_busy"], sample.plan.statistics.devices[d].compute_busy.value());
  }
  EXPECT_EQ(data["statistics"]["makespan"], sample.plan.statistics.makespan.value());
  EXPECT_EQ(data["provenance"]["seed"], "18446744073709551615");  // 2^64 - 1: no double holds it
  EXPECT_EQ(data["provenance"]["command"], "opweave plan graph.json cluster.json --time-limit 60");
}

// Two operators of 1e9 operations in bf16 and one of 1e6 in fp32, and an optimizer that does not count; 3 microbatches.
// Two devices of 1e12 in bf16. One operator has a duration, the others the peak rates.
TEST(ReportHtml, page_holds_what_is_computed_against_what_the_devices_could) {
  const auto op = [](const char* name, double flops, const char* dtype) {
    Operator result;
    result.name = name;
    result.phase = Phase::kForward;
    result.flops = flops;
    result.dtype = dtype;
    return result;
  };
  std::vector<Operator> operators = {op("a", 1e9, "bf16"), op("b", 1e9, "bf16"), op("c", 1e6, "fp32"),
                                     op("o", 1e9, "bf16")};
  operators[0].durations = {{"", Duration(5)}};
  operators[3].phase = Phase::kOptimizer;
  Training training;
  training.microbatches = 3;
  ClusterParts parts;
  parts.types = {{"t", {{"bf16", 1e12}, {"fp32", 1e11}}, std::nullopt}};
  for (const char* name : {"d0", "d1"}) {
    Device device;
    device.name = name;
    device.type = "t";
    parts.devices.push_back(device);
  }
  const Problem problem =
      Problem::create(ComputationGraph::create("g", operators, {}, {}, training), Cluster::create(parts));
  const SamplePlan sample = make_sample(problem, 3);
  const Json work = data_of(report_html(problem, sample.plan, {}, {512, "measured"}))["work"];
  EXPECT_DOUBLE_EQ(work["flops"].get<double>(), 3 * (2e9 + 1e6));
  EXPECT_EQ(work["dtype"], "bf16");
  EXPECT_EQ(work["peak_flops_per_s"], 2e12);
  EXPECT_EQ(work["tokens"], 3 * 512);
  EXPECT_EQ(work["given"], 1);
  EXPECT_EQ(work["from_peak_rates"], 3);
  EXPECT_EQ(work["times"], "measured");
  EXPECT_TRUE(data_of(report_html(problem, sample.plan, {}))["work"]["tokens"].is_null());
}

TEST(ReportHtml, comparison_bounds_and_trajectory_are_shown_as_given) {
  SamplePlan sample = sample_pipeline({2, 1, 2});
  sample.plan.bounds = {{"load", Duration(70), "gpu0"}, {"critical-path", Duration(60), ""}};
  sample.plan.provenance.seconds = 1.5;
  sample.plan.provenance.trajectory = {{0.25, Duration(90), "list scheduling"}};
  const std::vector<ComparisonRow> rows = {{"opweave", Duration(80), 0.25, Bytes(1000), 1, true, 0.125},
                                           {"GPipe", Duration(75), 0.2, Bytes(5000), 1, false, std::nullopt}};
  const Json data = data_of(report_html(sample.problem, sample.plan, rows));
  EXPECT_EQ(data["comparison"], Json::parse(R"([
    {"name":"opweave","makespan":80,"bubble_ratio":0.25,"peak_memory":1000,"parameter_copies":1,"fits_memory":true,"gap":0.125},
    {"name":"GPipe","makespan":75,"bubble_ratio":0.2,"peak_memory":5000,"parameter_copies":1,"fits_memory":false,"gap":null}])"));
  EXPECT_EQ(data["bounds"], Json::parse(R"([{"name":"load","value":70,"detail":"gpu0"},
                                            {"name":"critical-path","value":60,"detail":""}])"));
  EXPECT_EQ(data["provenance"]["trajectory"],
            Json::parse(R"([{"seconds":0.25,"makespan":90,"method":"list scheduling"}])"));
}

TEST(ReportHtml, names_cannot_become_markup) {
  const std::string hostile = "</script><b id=\"injected\">&amp;<!--'\\";
  const SamplePlan sample = sample_pipeline({2, 1, 2, hostile});
  const std::string page = report_html(sample.problem, sample.plan, {{hostile, Duration(1), 0, Bytes(), 1, true, 0.5}});
  // The two ends of the page's own scripts and nothing else; no "<" of a name survives as such.
  EXPECT_EQ(occurrences(page, "</script"), 2U);
  EXPECT_EQ(occurrences(page, "<b id"), 0U);
  EXPECT_EQ(occurrences(page, "<!--"), 0U);
  const Json data = data_of(page);
  EXPECT_EQ(data["graph"], hostile + "pipeline");
  EXPECT_EQ(data["devices"][1]["name"], hostile + "gpu1");
  EXPECT_EQ(data["comparison"][0]["name"], hostile);
}

TEST(ReportHtml, bytes_that_are_no_utf8_become_the_replacement_character) {
  const SamplePlan sample = sample_pipeline({2, 1, 2, "\xff\xc3("});
  const Json data = data_of(report_html(sample.problem, sample.plan, {}));
  EXPECT_EQ(data["graph"], "\xef\xbf\xbd\xef\xbf\xbd(pipeline");
}

TEST(ReportHtml, unlimited_memory_and_a_plan_of_no_duration_are_shown) {
  Operator op;
  op.name = "nothing";
  op.durations = {{"", Duration(0)}};
  const Problem problem = Problem::create(ComputationGraph::create("instant", {op}, {}, {}), tiny_cluster());
  const Json data = data_of(report_html(problem, make_sample(problem, 1).plan, {}));
  EXPECT_EQ(data["statistics"]["makespan"], 0);
  EXPECT_TRUE(data["devices"][0]["capacity"].is_null());
}

TEST(ReportHtml, same_plan_gives_the_same_bytes) {
  const SamplePlan sample = sample_pipeline({2, 2, 4});
  EXPECT_EQ(report_html(sample.problem, sample.plan, {}), report_html(sample.problem, sample.plan, {}));
}

TEST(ReportHtml, size_follows_the_number_of_tasks) {
  const SamplePlan main = sample_pipeline({8, 4, 20});
  ASSERT_EQ(main.plan.tasks.size(), 6'408U);  // 8 x 4 layers x 10 operators x 20 microbatches + 8 optimizers
  EXPECT_LT(report_html(main.problem, main.plan, {}).size(), 600'000U);
}

}  // namespace
}  // namespace opweave::testing
