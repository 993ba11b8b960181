#include "opweave/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "opweave/error.h"
#include "planner/side_by_side.h"
#include "planner/sweep_file.h"

namespace opweave {

namespace {

/// What tells clusters of one device type apart, beside the nodes.
struct Facet {
  std::string_view name;
  std::string_view unit;
  double (*of)(const Machines&);
};
constexpr Facet kFacets[] = {
    {"devices a node", "", [](const Machines& m) { return static_cast<double>(m.devices_per_node); }},
    {"memory", " GB", [](const Machines& m) { return static_cast<double>(m.device.memory.value()) * 1e-9; }},
    {"memory bandwidth", " GB/s", [](const Machines& m) { return m.device.memory_bandwidth * 1e-9; }},
    {"node bandwidth", " GB/s", [](const Machines& m) { return m.device.node_bandwidth * 1e-9; }},
    {"fabric bandwidth", " GB/s", [](const Machines& m) { return m.fabric_bandwidth * 1e-9; }},
    {"host bandwidth", " GB/s", [](const Machines& m) { return m.device.host_bandwidth * 1e-9; }},
    {"host memory", " GB", [](const Machines& m) { return static_cast<double>(m.device.host_memory.value()) * 1e-9; }},
};

/// Hosts other than those of the type. Journals of versions that did not tell hosts apart go on.
std::string own_host(const Machines& one) {
  const auto type =
      std::ranges::find_if(known_machines(), [&](const Machines& m) { return m.device.name == one.device.name; });
  const bool is_known = type != known_machines().end() && type->device.host_bandwidth == one.device.host_bandwidth &&
                        type->device.host_memory == one.device.host_memory;
  return is_known ? "" : fmt::format(" {} {}", one.device.host_bandwidth, one.device.host_memory.value());
}

}  // namespace

std::string SweepQuestion::cluster_name(std::size_t point) const {
  const Machines& own = machines_of(point);
  std::string text;
  for (const Facet& facet : kFacets) {
    const bool differs = std::ranges::any_of(machines, [&](const Machines& other) {
      return other.device.name == own.device.name && facet.of(other) != facet.of(own);
    });
    if (differs) text += fmt::format("{}{} {:g}{}", text.empty() ? "" : ", ", facet.name, facet.of(own), facet.unit);
  }
  return text.empty() ? own.device.name : fmt::format("{} ({})", own.device.name, text);
}

std::string SweepQuestion::hash() const {
  std::string text = content_hash(model);
  for (const Machines& one : machines) {
    text += fmt::format("|{} {} {} {} {} {} {} {} {}", one.device.name, one.device.memory.value(),
                        one.device.bf16_flops, one.device.fp8_flops, one.device.memory_bandwidth,
                        one.device.node_bandwidth, one.nodes, one.devices_per_node, one.fabric_bandwidth);
    text += own_host(one);
  }
  text += fmt::format("|{}|{}|{}|{}|{}", fmt::join(global_batches, ","), fmt::join(sequences, ","),
                      to_string(precision), to_string(target), seconds_per_point);
  for (const FittedProfile& profile : profiles) text += "|" + profile_to_json(profile);
  return text_hash(text);
}

void SweepQuestion::add_profile(FittedProfile profile, const std::string& source) {
  const auto is_for = [&](const Machines& one) { return one.device.name == profile.device; };
  const auto found = std::ranges::find_if(machines, is_for);
  if (found == machines.end()) {
    throw InputError(
        fmt::format("{}: /device: value is \"{}\", expected a device type of the sweep", source, profile.device));
  }
  require_profile_for(profile, source + ": ", *found, precision);
  if (std::ranges::find(profiles, profile.device, &FittedProfile::device) != profiles.end()) {
    throw InputError(
        fmt::format("{}: /device: a second profile of \"{}\", expected one per device type", source, profile.device));
  }
  profiles.push_back(std::move(profile));
}

double SweepRow::device_hours() const {
  if (tokens_per_second <= 0) return 0;
  return static_cast<double>(devices) / tokens_per_second * 1e6 / 3600;
}

const Machines& SweepQuestion::machines_of(std::size_t point) const {
  return machines.at(point / (sequences.size() * global_batches.size()));
}

CalibrationProfile SweepQuestion::profile_of(std::size_t point) const {
  const Machines& where = machines_of(point);
  const auto own = std::ranges::find(profiles, where.device.name, &FittedProfile::device);
  if (own != profiles.end()) return own->constants_for(model);
  return profile_for(model, where, precision, target);
}

SweepRow SweepQuestion::asked(std::size_t point) const {
  const Machines& where = machines_of(point);
  SweepRow row;
  row.point = point;
  row.device = cluster_name(point);
  row.nodes = where.nodes;
  row.devices = where.devices();
  row.global_batch = global_batches[point / sequences.size() % global_batches.size()];
  row.sequence = sequences[point % sequences.size()];
  row.profile = profile_of(point).name;
  return row;
}

std::optional<SweepRow> answer_point(const SweepQuestion& question, std::size_t point, const std::atomic<bool>* stop) {
  const Machines& machines = question.machines_of(point);
  SweepRow row = question.asked(point);
  const TrainingRun run{row.global_batch, row.sequence, question.precision};
  const CalibrationProfile profile = question.profile_of(point);
  Budget budget(question.seconds_per_point, std::nullopt);
  budget.watch(stop);
  try {
    const StrategySearchResult result =
        search_strategies(question.model, machines, run, profile, question.target, {}, 1, budget);
    if (budget.stopped()) return std::nullopt;
    if (result.ranked.empty()) {
      row.failure = result.least_memory ? "no strategy fits in memory" : "no strategy was valued within the time limit";
      return row;
    }
    const RankedStrategy& best = result.ranked.front();
    row.is_whole_space = result.is_complete;
    row.strategy = best.strategy;
    row.step = best.value.time.step;
    row.tokens_per_second = best.value.tokens_per_second;
    row.mfu = best.value.mfu;
    row.memory = best.value.memory.total();
  } catch (const InputError& error) {
    row.failure = error.what();
  }
  return row;
}

SweepJournal run_sweep(const SweepQuestion& question, const std::filesystem::path& path, std::size_t shard,
                       std::size_t shards, unsigned workers, const std::atomic<bool>* stop,
                       const std::function<void(const SweepRow&)>& on_row) {
  SweepFile file(question, path);
  const std::vector<std::size_t> open = file.open_points(shard, shards);
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  side_by_side(std::min<std::size_t>(workers, std::max<std::size_t>(1, open.size())), [&](std::size_t) {
    for (std::size_t i = next++; i < open.size(); i = next++) {
      if (stop != nullptr && stop->load()) return;
      const auto row = answer_point(question, open[i], stop);
      if (!row) return;
      const std::scoped_lock lock(mutex);
      file.append(*row);
      if (on_row) on_row(*row);
    }
  });
  return file.journal();
}

}  // namespace opweave
