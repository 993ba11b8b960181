#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "opweave/report.h"
#include "report/sample_plans.h"
#include "support/tiny_diamond.h"

namespace opweave::testing {
namespace {

using Json = nlohmann::json;
using Track = std::pair<std::int64_t, std::int64_t>;  // process, thread

/// Nanoseconds of a time in microseconds, from its text: a double would hide a lost digit.
std::int64_t nanoseconds(const std::string& text) {
  const std::size_t point = text.find('.');
  EXPECT_EQ(text.size() - point, 4U) << text;
  return std::stoll(text.substr(0, point)) * 1000 + std::stoll(text.substr(point + 1));
}

struct Slice {
  std::int64_t start;
  std::int64_t end;
  std::string name;
  auto operator<=>(const Slice&) const = default;
};

struct Flow {
  Track track;
  std::int64_t time;
};

/// A trace as a viewer reads it.
struct Trace {
  std::map<std::int64_t, std::string> processes;
  std::map<Track, std::string> threads;
  std::map<std::int64_t, std::int64_t> process_order;
  std::map<Track, std::vector<Slice>> slices;
  std::map<std::int64_t, Flow> flow_starts, flow_ends;
  std::map<std::int64_t, std::vector<std::pair<std::int64_t, std::int64_t>>> memory, memory_limit;
};

/// Times stay text: "ts":12.345 becomes "ts":"12.345" before parsing.
std::string with_times_quoted(const std::string& json) {
  std::string result;
  for (std::size_t at = 0; at < json.size();) {
    bool is_time = false;
    for (const std::string key : {"\"ts\":", "\"dur\":"}) {
      if (json.compare(at, key.size(), key) != 0) continue;
      const std::size_t number = at + key.size();
      const std::size_t end = json.find_first_not_of("0123456789.", number);
      result += key + '"' + json.substr(number, end - number) + '"';
      at = end;
      is_time = true;
    }
    if (!is_time) result += json[at++];
  }
  return result;
}

Trace read(const std::string& json) {
  Trace trace;
  const Json document = Json::parse(with_times_quoted(json));
  for (const Json& event : document["traceEvents"]) {
    const std::string kind = event["ph"];
    const Track track = {event["pid"], event.value("tid", 0)};
    const std::int64_t time = event.contains("ts") ? nanoseconds(event["ts"]) : 0;
    if (kind == "M") {
      const std::string name = event["name"];
      if (name == "process_name") trace.processes[track.first] = event["args"]["name"];
      if (name == "thread_name") trace.threads[track] = event["args"]["name"];
      if (name == "process_sort_index") trace.process_order[track.first] = event["args"]["sort_index"];
    } else if (kind == "X") {
      trace.slices[track].push_back({time, time + nanoseconds(event["dur"]), event["name"]});
    } else if (kind == "s") {
      EXPECT_TRUE(trace.flow_starts.emplace(event["id"], Flow{track, time}).second);
    } else if (kind == "f") {
      EXPECT_EQ(event["bp"], "e");
      EXPECT_TRUE(trace.flow_ends.emplace(event["id"], Flow{track, time}).second);
    } else if (kind == "C") {
      auto& counters = event["name"] == "memory limit" ? trace.memory_limit : trace.memory;
      counters[track.first].emplace_back(time, event["args"]["bytes"]);
    } else {
      ADD_FAILURE() << "unknown event " << event;
    }
  }
  return trace;
}

/// Busy time per device and stream, from the plan.
std::map<std::pair<std::string, std::string>, std::int64_t> busy_times(const Problem& problem, const Plan& plan) {
  std::map<std::pair<std::string, std::string>, std::int64_t> busy;
  for (const PlannedTask& task : plan.tasks) {
    for (const DeviceId device : task.devices) {
      for (const std::string& stream : problem.graph().at(task.op).streams) {
        busy[{problem.cluster().at(device).name, stream}] += (task.end - task.start).value();
      }
    }
  }
  return busy;
}

const Slice* slice_at(const Trace& trace, const Flow& flow) {
  for (const Slice& slice : trace.slices.at(flow.track)) {
    if (slice.start <= flow.time && (flow.time < slice.end || slice.start == slice.end)) return &slice;
  }
  return nullptr;
}

TEST(PerfettoTrace, busy_time_per_stream_is_that_of_the_plan_and_slices_do_not_overlap) {
  const SamplePlan sample = sample_pipeline({4, 2, 6});
  const Trace trace = read(perfetto_trace(sample.problem, sample.plan));
  std::map<std::pair<std::string, std::string>, std::int64_t> busy;
  for (auto [track, slices] : trace.slices) {
    std::sort(slices.begin(), slices.end());
    for (std::size_t i = 0; i < slices.size(); ++i) {
      if (i > 0) {
        EXPECT_LE(slices[i - 1].end, slices[i].start);
      }
      busy[{trace.processes.at(track.first), trace.threads.at(track)}] += slices[i].end - slices[i].start;
    }
  }
  EXPECT_EQ(busy.size(), 8U);
  EXPECT_EQ(busy, busy_times(sample.problem, sample.plan));
}

TEST(PerfettoTrace, every_transfer_is_a_flow_from_its_producer_to_a_consumer) {
  const SamplePlan sample = sample_pipeline({4, 1, 3});
  const Trace trace = read(perfetto_trace(sample.problem, sample.plan));
  ASSERT_GT(sample.plan.transfers.size(), 0U);
  ASSERT_EQ(trace.flow_starts.size(), sample.plan.transfers.size());
  ASSERT_EQ(trace.flow_ends.size(), sample.plan.transfers.size());
  for (std::size_t t = 0; t < sample.plan.transfers.size(); ++t) {
    const PlannedTransfer& transfer = sample.plan.transfers[t];
    const Tensor& tensor = sample.problem.graph().at(transfer.tensor);
    const Flow& start = trace.flow_starts.at(static_cast<std::int64_t>(t));
    const Flow& end = trace.flow_ends.at(static_cast<std::int64_t>(t));
    EXPECT_EQ(trace.processes.at(start.track.first), sample.problem.cluster().at(transfer.source).name);
    EXPECT_EQ(trace.processes.at(end.track.first), sample.problem.cluster().at(transfer.destination).name);
    const Slice* from = slice_at(trace, start);
    const Slice* to = slice_at(trace, end);
    ASSERT_NE(from, nullptr);
    ASSERT_NE(to, nullptr);
    EXPECT_EQ(from->name, fmt::format("{}#{}", sample.problem.graph().at(*tensor.producer).name, transfer.copy));
    std::set<std::string> consumers;
    for (const OperatorId op : tensor.consumers) {
      consumers.insert(fmt::format("{}#{}", sample.problem.graph().at(op).name, transfer.copy));
    }
    EXPECT_EQ(consumers.count(to->name), 1U) << to->name;
    EXPECT_LE(from->end, to->start);
  }
}

TEST(PerfettoTrace, memory_counters_are_the_memory_curves) {
  const SamplePlan sample = sample_pipeline({2, 1, 3});
  const Trace trace = read(perfetto_trace(sample.problem, sample.plan));
  const auto curves = memory_curves(sample.problem, sample.schedule);
  for (std::size_t d = 0; d < curves.size(); ++d) {
    const auto& counters = trace.memory.at(static_cast<std::int64_t>(d) + 1);
    ASSERT_EQ(counters.size(), curves[d].size());
    for (std::size_t i = 0; i < counters.size(); ++i) {
      EXPECT_EQ(counters[i].first, curves[d][i].time.value());
      EXPECT_EQ(counters[i].second, curves[d][i].bytes.value());
    }
    const std::vector<std::pair<std::int64_t, std::int64_t>> limit = {{0, std::int64_t{80} << 30}};
    EXPECT_EQ(trace.memory_limit.at(static_cast<std::int64_t>(d) + 1), limit);
  }
}

TEST(PerfettoTrace, devices_keep_the_order_of_the_cluster_and_names_survive) {
  const SamplePlan sample = sample_pipeline({12, 1, 2, "\"quoted\\\n"});
  const Trace trace = read(perfetto_trace(sample.problem, sample.plan));
  ASSERT_EQ(trace.processes.size(), 12U);
  for (const auto& [process, order] : trace.process_order) {
    EXPECT_EQ(trace.processes.at(process), sample.problem.cluster().devices()[static_cast<std::size_t>(order)].name);
  }
}

// Perfetto takes a thread of the number of a process for that process's main thread.
TEST(PerfettoTrace, no_stream_has_the_number_of_a_device_or_of_another_stream) {
  const SamplePlan sample = sample_pipeline({128, 1, 1});
  const Trace trace = read(perfetto_trace(sample.problem, sample.plan));
  std::set<std::int64_t> threads;
  for (const auto& [track, name] : trace.threads) {
    EXPECT_EQ(trace.processes.count(track.second), 0U) << track.second;
    threads.insert(track.second);
  }
  EXPECT_EQ(threads.size(), trace.threads.size());
}

// An operator on a gang of two devices that holds two streams is drawn on all four tracks.
TEST(PerfettoTrace, gangs_and_collectives_are_drawn_on_each_of_their_tracks) {
  Operator op;
  op.name = "all_reduce";
  op.streams = {"compute", "comm"};
  op.modes = {{{"d0", "d1"}, Duration(7), Bytes(0)}};
  ClusterParts parts;
  parts.name = "pair";
  parts.devices = {{"d0", "", std::nullopt, {"compute", "comm"}}, {"d1", "", std::nullopt, {"compute", "comm"}}};
  const Problem problem =
      Problem::create(ComputationGraph::create("gang", {op}, {}, {}), Cluster::create(std::move(parts)));
  Schedule schedule;
  schedule.tasks = {{0, Duration(1'234)}};
  const Plan plan = make_plan(problem, schedule, {}, sample_provenance());
  const Trace trace = read(perfetto_trace(problem, plan));
  EXPECT_EQ(trace.slices.size(), 4U);
  for (const auto& [track, slices] : trace.slices) {
    EXPECT_EQ(slices, (std::vector<Slice>{{1'234, 1'241, "all_reduce"}}));
  }
  // The page draws the same four lanes.
  EXPECT_NE(report_html(problem, plan, {}).find("\"device_sets\":[[0,1]]"), std::string::npos);
}

// d0 makes the value and sends it to d1; a second transfer takes it from d1 on to d2. Both arrows start at the
// producer.
TEST(PerfettoTrace, value_that_is_sent_on_starts_at_its_producer) {
  const auto on = [](const char* name, const char* device) {
    Operator op;
    op.name = name;
    op.durations = {{"", Duration(10)}};
    op.devices = {{device}};
    return op;
  };
  Operator make = on("make", "d0"), first = on("first", "d1"), second = on("second", "d2");
  make.outputs = {TensorId(0)};
  first.inputs = second.inputs = {TensorId(0)};
  ClusterParts parts;
  parts.name = "line";
  for (const char* name : {"d0", "d1", "d2"}) parts.devices.push_back({name, "", std::nullopt, {"compute"}});
  parts.default_link = Link{"", "", "", Duration(5), std::nullopt, true};
  const Problem problem =
      Problem::create(ComputationGraph::create("relay", {make, first, second}, {{"t", Bytes(1), {}, {}}}, {}),
                      Cluster::create(std::move(parts)));
  Schedule schedule;
  schedule.tasks.resize(3);
  for (std::size_t t = 0; t < 3; ++t) {
    const TaskId task = problem.task_of(OperatorId(t), 0);
    schedule.tasks[task.index()] = {0, Duration(std::int64_t{20} * static_cast<std::int64_t>(t))};
  }
  schedule.transfers = {{ValueId(0), DeviceId(0), DeviceId(1), Duration(10), Duration(15)},
                        {ValueId(0), DeviceId(1), DeviceId(2), Duration(15), Duration(20)}};
  const Trace trace = read(perfetto_trace(problem, make_plan(problem, schedule, {}, sample_provenance())));
  ASSERT_EQ(trace.flow_starts.size(), 2U);
  for (const auto& [id, flow] : trace.flow_starts) EXPECT_EQ(slice_at(trace, flow)->name, "make");
  EXPECT_EQ(slice_at(trace, trace.flow_ends.at(1))->name, "second");
}

}  // namespace
}  // namespace opweave::testing
