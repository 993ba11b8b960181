#include "planner/infeasibility_cause.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace opweave {
namespace {

/// More memories or exclusions than this are not looked at one by one.
constexpr std::size_t kMostGrounds = 12;

/// What may keep a problem from having a plan, apart from the operators themselves.
struct Grounds {
  std::set<DeviceId> memories;
  std::set<std::string> exclusions;
  bool missing_routes = false;
};

Grounds all_grounds(const Problem& problem) {
  Grounds grounds;
  const std::size_t devices = problem.cluster().device_count();
  for (std::size_t d = 0; d < devices; ++d) {
    if (problem.capacity(DeviceId(d))) grounds.memories.emplace(d);
    for (std::size_t other = 0; other < devices; ++other) {
      grounds.missing_routes |= d != other && !problem.cluster().route(DeviceId(d), DeviceId(other));
    }
  }
  for (const Operator& op : problem.graph().operators()) {
    grounds.exclusions.insert(op.anti_colocation.begin(), op.anti_colocation.end());
  }
  return grounds;
}

/// The problem with these grounds alone.
Problem with(const Problem& problem, const Grounds& grounds) {
  ClusterParts parts = problem.cluster().parts();
  ProblemSettings settings = problem.settings();
  settings.memory_limit = std::nullopt;
  for (std::size_t d = 0; d < parts.devices.size(); ++d) {
    parts.devices[d].memory = grounds.memories.contains(DeviceId(d)) ? problem.capacity(DeviceId(d)) : std::nullopt;
  }
  if (!grounds.missing_routes && !parts.default_link) parts.default_link = Link{};
  const ComputationGraph& graph = problem.graph();
  std::vector<Operator> operators = graph.operators();
  for (Operator& op : operators) {
    std::erase_if(op.anti_colocation, [&](const std::string& label) { return !grounds.exclusions.contains(label); });
  }
  return Problem::create(ComputationGraph::create(graph.name(), std::move(operators), graph.tensors(),
                                                  graph.parameters(), graph.training()),
                         Cluster::create(std::move(parts)), std::move(settings));
}

class CauseSearch {
 public:
  CauseSearch(const Problem& problem, const std::function<bool(const Problem& problem)>& has_no_plan)
      : problem_(problem), has_no_plan_(has_no_plan), needed_(all_grounds(problem)) {}

  std::string run() {
    // Kinds first: often all memories, or all exclusions, have nothing to do with it.
    try_without([](Grounds& grounds) { grounds.memories.clear(); });
    try_without([](Grounds& grounds) { grounds.exclusions.clear(); });
    try_without([](Grounds& grounds) { grounds.missing_routes = false; });
    thin_out(std::vector(needed_.memories.begin(), needed_.memories.end()),
             [](Grounds& grounds, DeviceId device) { grounds.memories.erase(device); });
    thin_out(std::vector(needed_.exclusions.begin(), needed_.exclusions.end()),
             [](Grounds& grounds, const std::string& label) { grounds.exclusions.erase(label); });
    return described();
  }

 private:
  template <class Change>
  void try_without(Change change) {
    Grounds fewer = needed_;
    change(fewer);
    if (has_no_plan_(with(problem_, fewer))) needed_ = std::move(fewer);
  }

  template <class Ground, class LeaveOut>
  void thin_out(const std::vector<Ground>& grounds, LeaveOut leave_out) {
    if (grounds.size() < 2 || grounds.size() > kMostGrounds) return;
    for (const Ground& ground : grounds) {
      try_without([&](Grounds& fewer) { leave_out(fewer, ground); });
    }
  }

  [[nodiscard]] std::string described() const {
    std::vector<std::string> parts;
    if (needed_.memories.size() > kMostGrounds) {
      parts.push_back(fmt::format("the memory of {} devices", needed_.memories.size()));
    } else {
      for (const DeviceId device : needed_.memories) {
        parts.push_back(fmt::format("the memory of \"{}\" ({} bytes)", problem_.cluster().at(device).name,
                                    problem_.capacity(device)->value()));
      }
    }
    if (needed_.exclusions.size() > kMostGrounds) {
      parts.push_back(fmt::format("{} anti-colocation groups", needed_.exclusions.size()));
    } else {
      for (const std::string& label : needed_.exclusions) parts.push_back(fmt::format("anti-colocation \"{}\"", label));
    }
    if (needed_.missing_routes) parts.emplace_back("the routes that there are");
    if (parts.empty()) return "operators that share their devices have no mode in common";
    if (parts.size() == 1) return parts.front();
    const std::string last = std::move(parts.back());
    parts.pop_back();
    return fmt::format("{} and {}", fmt::join(parts, ", "), last);
  }

  const Problem& problem_;
  const std::function<bool(const Problem& problem)>& has_no_plan_;
  Grounds needed_;
};

}  // namespace

std::string infeasibility_cause(const Problem& problem,
                                const std::function<bool(const Problem& problem)>& has_no_plan) {
  return CauseSearch(problem, has_no_plan).run();
}

}  // namespace opweave
