#include "partition/period_bound.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/infinity.h"

namespace opweave::partition {
namespace {

/// Beyond this the set of works alone would be too large, and no proof of the cover is in reach anyway.
constexpr std::size_t kMostCoverEntries = 4'000'000;
constexpr std::size_t kMostCoverVertices = 400;
/// Shares of the stream's work in the relaxations under endpoint contention.
constexpr double kShares[] = {1, 0.7, 0.4};

/// Work of a group on a stream of each device, if it is among the devices that run it.
std::vector<double> work_of(const Problem& problem, GroupId group, std::size_t stream) {
  std::vector<double> sum(problem.cluster().device_count());
  for (const TaskId task : problem.tasks_of(group)) {
    std::vector<double> least(sum.size(), kInfinity);
    for (ModeIndex m = 0; m < problem.mode_count(task); ++m) {
      const Mode mode = problem.mode(task, m);
      const double duration =
          (problem.streams(task) >> stream & 1U) != 0 ? static_cast<double>(mode.duration.value()) : 0.0;
      for (const DeviceId device : mode.devices) least[device.index()] = std::min(least[device.index()], duration);
    }
    for (std::size_t device = 0; device < sum.size(); ++device) sum[device] += least[device];
  }
  return sum;
}

bool needs_one_device(const Problem& problem, TaskId task) {
  for (ModeIndex m = 0; m < problem.mode_count(task); ++m) {
    if (problem.mode(task, m).devices.size() != 1) return false;
  }
  return true;
}

void add_nets(const Problem& problem, double factor, CutModel& model) {
  const FastestWay fastest(problem.cluster());
  std::map<std::vector<Vertex>, double> cost_of_pins;
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const auto producer = problem.producer(ValueId(v));
    if (!producer || !needs_one_device(problem, *producer)) continue;
    std::vector<Vertex> pins{static_cast<Vertex>(problem.group_of(*producer).index())};
    for (const TaskId consumer : problem.consumers(ValueId(v))) {
      if (needs_one_device(problem, consumer)) pins.push_back(static_cast<Vertex>(problem.group_of(consumer).index()));
    }
    std::sort(pins.begin(), pins.end());
    pins.erase(std::unique(pins.begin(), pins.end()), pins.end());
    const double cost =
        pins.size() > 1 ? factor * static_cast<double>(fastest.time(problem.size(ValueId(v))).value()) : 0;
    if (cost > 0) cost_of_pins[std::move(pins)] += cost;
  }
  for (const auto& [pins, cost] : cost_of_pins) model.nets.push_back({pins, cost});
}

}  // namespace

CutModel period_relaxation(const Problem& problem, std::size_t stream, double share) {
  const std::size_t devices = problem.cluster().device_count();
  CutModel model;
  model.bytes.assign(problem.group_count(), 0);
  std::vector<std::vector<double>> work(devices);  // by device, then group
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    const std::vector<double> column = work_of(problem, GroupId(g), stream);
    for (std::size_t device = 0; device < devices; ++device) work[device].push_back(share * column[device]);
  }
  std::map<std::vector<double>, std::size_t> kind_of_work;
  for (std::size_t device = 0; device < devices; ++device) {
    const auto [place, is_new] = kind_of_work.emplace(std::move(work[device]), model.kinds.size());
    if (is_new) model.kinds.push_back({0, share < 1, kInfinity, place->first});
    ++model.kinds[place->second].count;
  }
  if (share < 1) add_nets(problem, (1 - share) / 2, model);
  return model;
}

LoadBound period_load_bound(const Problem& problem, double upper, const Budget& budget) {
  LoadBound best;
  if (problem.group_count() * problem.cluster().device_count() > kMostCoverEntries) return best;
  const std::size_t streams = problem.cluster().stream_names().size();
  const bool endpoints = problem.settings().contention == Contention::kEndpoint;
  const bool covers = upper < kInfinity && problem.group_count() <= kMostCoverVertices;
  const std::size_t shares = endpoints && covers ? std::size(kShares) : 1;
  for (std::size_t stream = 0; stream < streams; ++stream) {
    for (std::size_t s = 0; s < shares && best.value < upper; ++s) {
      const CutModel model = period_relaxation(problem, stream, kShares[s]);
      LoadBound bound = simple_bound(model);
      if (covers && bound.value < upper && !budget.expired()) {
        CoverOptions cover;
        cover.upper = upper;
        const double left = static_cast<double>((streams - stream) * shares - s);
        bound = cover_bound(model, cover, budget.share(1 / left));
      }
      if (bound.value > best.value) best = bound;
    }
  }
  return best;
}

Duration period_of(const Problem& problem, double load) {
  // Loads are whole nanoseconds; what the bounds' arithmetic may have lost of one is given back.
  const auto whole = static_cast<std::int64_t>(std::ceil(load * (1 - 1e-10) - 1e-6));
  const std::int64_t microbatches = problem.settings().training.microbatches;
  return Duration((whole + microbatches - 1) / microbatches);
}

}  // namespace opweave::partition
